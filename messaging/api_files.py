"""The files of the API: what came with messages, and customers' pictures."""

from django.shortcuts import get_object_or_404
from ninja import Router, Status

from accounts.api_access import access
from accounts.models import Scope
from accounts.problems import Kind, Problem

from . import file_responses, media
from .models import Attachment, Conversation

router = Router(tags=["files"])

NOT_AGAIN = Kind(409, "not-to-be-fetched", "The file cannot be asked for again")
NO_SUCH_PART = Kind(416, "no-such-part", "The file has no such part")

PARTS = {
    "in": "header",
    "name": "Range",
    "required": False,
    "schema": {"type": "string"},
    "description": "One range of bytes, such as `bytes=0-1023`.",
}
FILE = {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}


def _file_access() -> dict:
    arguments = access(Scope.READ, NO_SUCH_PART)
    arguments["openapi_extra"] |= {
        "parameters": [PARTS],
        "responses": {
            200: FILE | {"description": "The file."},
            206: FILE | {"description": "The part of it that was asked for."},
            304: {"description": "It is what If-None-Match names."},
        },
    }
    return arguments


@router.get(
    "/attachments/{attachment_id}",
    operation_id="get_attachment",
    **_file_access(),
)
def attachment(request, attachment_id: str):
    """The file itself; 404 while it is not kept here."""
    one = get_object_or_404(
        Attachment.objects.for_user(request.user),
        public_id=attachment_id,
        state=Attachment.State.STORED,
    )
    title = f"{one.kind}-{one.public_id[:8]}"
    return _answer(request, one.file.name, one.content_type, title)


@router.post(
    "/attachments/{attachment_id}/again",
    response={202: None},
    operation_id="fetch_attachment_again",
    **access(Scope.SEND, NOT_AGAIN),
)
def again(request, attachment_id: str):
    """Ask Instagram once more for a file that could not be fetched."""
    mine = Attachment.objects.for_user(request.user).select_related("message__conversation")
    if not media.try_again(get_object_or_404(mine, public_id=attachment_id)):
        text = "It is here, on its way, or none that is kept: the attachment's state tells."
        raise Problem(NOT_AGAIN, text)
    return Status(202, None)


@router.get(
    "/conversations/{conversation_id}/picture",
    operation_id="get_picture",
    **_file_access(),
)
def picture(request, conversation_id: int):
    """The customer's picture."""
    mine = Conversation.objects.for_user(request.user).exclude(picture="")
    one = get_object_or_404(mine, pk=conversation_id)
    return _answer(request, one.picture.name, one.picture_type, f"person-{one.pk}")


def _answer(request, name: str, content_type: str, title: str):
    # Asked for each time: what was taken back is not shown again.
    cache = "private, no-cache"
    response = file_responses.answer(request, name, content_type, title=title, cache=cache)
    if response.status_code == 416:
        headers = {"Content-Range": response.headers["Content-Range"]}
        raise Problem(NO_SUCH_PART, "Content-Range says how long the file is.", headers=headers)
    return response
