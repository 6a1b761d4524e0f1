"""Files: what members see of them, and what Instagram fetches."""

from django.contrib.auth.decorators import login_required
from django.http import Http404
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from . import file_responses, media, uploads
from .models import Attachment, Conversation


@login_required
@require_safe
def attachment(request, public_id):
    one = get_object_or_404(
        Attachment.objects.for_user(request.user),
        public_id=public_id,
        state=Attachment.State.STORED,
    )
    return file_responses.answer(
        request,
        one.file.name,
        one.content_type,
        title=f"{one.kind}-{one.public_id[:8]}",
        # The browser keeps it and asks each time: what was taken back is not shown again.
        cache="private, no-cache",
    )


@require_safe
def offered(request, token):
    """A file that is being sent, for Instagram, which bears no login but the address."""
    one = uploads.offered(token)
    if one is None:
        raise Http404
    title = f"{one.kind}-{one.public_id[:8]}"
    return file_responses.answer(
        request, one.file.name, one.content_type, title=title, cache="private, no-store"
    )


@login_required
@require_POST
def try_again(request, public_id):
    one = get_object_or_404(
        Attachment.objects.for_user(request.user).select_related("message__conversation"),
        public_id=public_id,
    )
    media.try_again(one)
    return redirect(one.message.conversation)


@login_required
@require_safe
def picture(request, pk):
    conversations = Conversation.objects.for_user(request.user).exclude(picture="")
    conversation = get_object_or_404(conversations, pk=pk)
    return file_responses.answer(
        request,
        conversation.picture.name,
        conversation.picture_type,
        title=f"person-{conversation.pk}",
        cache="private, max-age=86400",  # Each picture has an address of its own.
    )
