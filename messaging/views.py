"""The webhook, the inbox, and what its pages ask for."""

import hmac
import logging
from uuid import uuid4

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpResponse, HttpResponseForbidden
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.models import Account
from crypto import workers

from . import (
    automation,
    inbound,
    ledger,
    outbox,
    outcomes,
    sender_actions,
    sightings,
    signatures,
)
from .events import mid_digest
from .forms import ReplyForm
from .models import Conversation, Message, SenderAction, Sighting

logger = logging.getLogger(__name__)

PAGE = 50
NEWS = 2 * inbound.AT_ONCE
"""Messages in one answer: those of one batch share a change number, and come together."""
MOST = 1_000_000
EMOJI = ("❤️", "👍", "😂", "😮", "😢", "👏")
"""Offered for reactions; Instagram takes any."""


@csrf_exempt
@require_http_methods(["GET", "POST"])
def webhook(request):
    return _verify(request) if request.method == "GET" else _receive(request)


def _verify(request):
    """Meta's handshake: its challenge comes back, as text, to whoever knows the verify token."""
    expected = settings.INSTAGRAM_VERIFY_TOKEN
    given = request.GET.get("hub.verify_token", "")
    is_ours = hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))
    if not (expected and is_ours and request.GET.get("hub.mode") == "subscribe"):
        if given:
            sightings.note(Sighting.Kind.OTHER_TOKEN)
        return HttpResponseForbidden("The verify token does not match.", content_type="text/plain")
    sightings.note(Sighting.Kind.HANDSHAKE)
    return HttpResponse(request.GET.get("hub.challenge", ""), content_type="text/plain")


def _receive(request):
    try:
        body = _read_body(request)
    except RequestDataTooBig:
        return HttpResponse("Too large.", status=413, content_type="text/plain")
    signature = request.headers.get("X-Hub-Signature-256", "")
    signer = signatures.signer(body, signature)
    if signer is None:
        if signature:
            sightings.note(Sighting.Kind.OTHER_SIGNATURE)
        logger.warning("webhook refused: bad or missing signature (%d bytes)", len(body))
        return HttpResponseForbidden("Bad signature.", content_type="text/plain")
    try:
        ledger.accept(body)
    except ledger.Busy as exc:
        logger.error("webhook not stored, Meta will send it again: %s", exc)
        return HttpResponse("Try again.", status=503, headers={"Retry-After": "5"})
    sightings.note(Sighting.Kind.SIGNED, signatures.fingerprint(signer))
    return HttpResponse("EVENT_RECEIVED", content_type="text/plain")


def _read_body(request):
    """The body, whichever way its length is told; at most 16 MiB of it are read."""
    if "CONTENT_LENGTH" in request.META or "chunked" not in request.headers.get(
        "Transfer-Encoding", ""
    ):
        return request.body
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    body = request.META["wsgi.input"].read(limit + 1)
    if len(body) > limit:
        raise RequestDataTooBig
    return body


@never_cache
@login_required
@require_GET
def inbox(request):
    return render(request, "messaging/inbox.html", _list_context(request))


@never_cache
@login_required
@require_GET
def conversation(request, pk):
    conversation = get_object_or_404(
        Conversation.objects.for_user(request.user).select_related("account"), pk=pk
    )
    if "before" not in request.GET:
        _mark_read(conversation)
    initial = {"submission": uuid4(), "text": _again(request, conversation)}
    return _conversation_page(request, conversation, ReplyForm(initial=initial))


@never_cache
@login_required
@require_POST
def reply(request, pk):
    conversation = get_object_or_404(
        Conversation.objects.for_user(request.user).select_related("account"), pk=pk
    )
    form = ReplyForm(request.POST, request.FILES)
    if form.is_valid():
        try:
            _queue(conversation, request.user, **form.cleaned_data)
        except outbox.ReplyRefused as exc:
            form.add_error("text", str(exc))
        else:
            return redirect(conversation)
    return _conversation_page(request, conversation, form, status=422)


def _queue(conversation, user, *, text, files, **more):
    more |= {"by": user, "is_by_person": True}
    if files:
        outbox.queue_files(conversation, files, text, **more)
    else:
        outbox.queue_reply(conversation, text, **more)


@login_required
@require_POST
def react(request, public_id):
    message = get_object_or_404(
        Message.objects.for_user(request.user).select_related("conversation__account"),
        public_id=public_id,
    )
    try:
        sender_actions.react(message, request.POST.get("emoji", ""))
    except outbox.ReplyRefused as exc:
        messages.error(request, str(exc))
    return redirect(message.conversation)


@login_required
@require_POST
def typing(request, pk):
    """The script says now and then that somebody is writing an answer."""
    conversations = Conversation.objects.for_user(request.user).select_related("account")
    sender_actions.show(get_object_or_404(conversations, pk=pk), SenderAction.Kind.TYPING_ON)
    return HttpResponse(status=204)


@login_required
@require_POST
def mark(request, public_id, outcome):
    message = get_object_or_404(Message.objects.for_user(request.user), public_id=public_id)
    outcomes.mark(message, arrived=outcome == "arrived")
    return redirect(message.conversation)


@never_cache
@require_GET
def conversation_updates(request, pk):
    """What changed in a thread after change number `after`; 204 when nothing did."""
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    conversation = get_object_or_404(
        Conversation.objects.for_user(request.user).select_related("account"), pk=pk
    )
    after = _number(request, "after")
    if conversation.change <= after:
        return HttpResponse(status=204)
    changed = conversation.messages.for_thread().filter(change__gt=after)
    thread = list(changed.order_by("change", "pk")[:NEWS])
    _attach(conversation, thread)
    context = {
        "conversation": conversation,
        "thread": thread,
        "emoji": EMOJI,
        "has_automation": automation.is_used_by(conversation),
    }
    response = render(request, "messaging/_updates.html", context)
    # After a long absence the rest comes with the next question.
    is_all = len(thread) < NEWS
    if is_all:
        _mark_read(conversation)
    response.headers["X-Change"] = str(conversation.change if is_all else thread[-1].change - 1)
    return response


@never_cache
@require_GET
def inbox_updates(request):
    """The list of conversations, when it is not the one that the page knows; else 204.

    Either tells whether a worker runs: an open page would not learn it otherwise.
    """
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    # Asked by every open page every few seconds, and mostly in vain: nothing else until then.
    if request.GET.get("after") == _news(request)["list_change"]:
        response = HttpResponse(status=204)
    else:
        context = _list_context(request)
        response = render(request, "messaging/_conversations.html", context)
        response.headers["X-Change"] = context["list_change"]
    response.headers["X-Worker"] = "away" if workers.are_away() else "here"
    return response


def _mark_read(conversation):
    """For the team, and for the customer to see."""
    if conversation.is_unread:
        conversation.mark_read()
        sender_actions.show(conversation, SenderAction.Kind.MARK_SEEN)


def _again(request, conversation):
    """The text of a message that is to be written once more."""
    wanted = request.GET.get("again", "")
    if not wanted or not wanted.isprintable():  # PostgreSQL takes no NUL.
        return None
    return conversation.messages.filter(public_id=wanted).values_list("text", flat=True).first()


def _conversation_page(request, conversation, form, status=200):
    thread = conversation.messages.for_thread()
    if before := _number(request, "before"):
        first = get_object_or_404(conversation.messages, pk=before)
        thread = thread.before(first)
    latest = list(thread.order_by("-timestamp", "-pk")[: PAGE + 1])
    _attach(conversation, latest)
    context = _list_context(request) | {
        "conversation": conversation,
        "form": form,
        "thread": latest[PAGE - 1 :: -1] if len(latest) > PAGE else latest[::-1],
        "emoji": EMOJI,
        "has_earlier": len(latest) > PAGE,
        "is_latest": not before,
        "has_automation": automation.is_used_by(conversation),
    }
    return render(request, "messaging/conversation.html", context, status=status)


def _attach(conversation, thread):
    """Give each message its account, and if it answers another that one, if that is here."""
    own = conversation.account.instagram_account_id
    for message in thread:
        message.account = conversation.account
    digests = {
        message: mid_digest(own, message.context["reply_to"])
        for message in thread
        if "reply_to" in message.context
    }
    if digests:
        found = conversation.messages.for_thread().filter(mid_digest__in=digests.values())
        by_digest = {bytes(message.mid_digest): message for message in found}
        for message, digest in digests.items():
            message.quoted = by_digest.get(digest)


def _list_context(request):
    """One page of the list of conversations, and what tells it from a later one."""
    accounts = Account.objects.for_user(request.user)
    conversations = Conversation.objects.for_user(request.user).begun()
    news = _news(request)
    chosen = request.GET.get("account")
    if chosen:
        conversations = conversations.filter(account=get_object_or_404(accounts, pk=chosen))
    page = min(max(1, _number(request, "page")), MOST)
    return {
        "conversations": conversations.for_inbox()[(page - 1) * PAGE : page * PAGE],
        "accounts": accounts,
        "chosen_account": chosen,
        "page": page,
        "has_more": page * PAGE < news["count"],
        **news,
    }


def _news(request):
    """How many conversations the list has, how many are unread, and what tells it from a later
    list."""
    chosen = request.GET.get("account", "")
    if not chosen.isprintable():
        raise Http404
    count, changes, unread = Conversation.objects.news(request.user, chosen)
    return {"count": count, "unread": unread, "list_change": f"{count}-{changes}-{unread}"}


def _number(request, name):
    value = request.GET.get(name, "")
    return int(value) if value.isdecimal() and len(value) < 19 else 0
