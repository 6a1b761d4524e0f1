"""The messages' part of the API: all that the inbox can do."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from ninja import Field, Router, Status
from pydantic import BaseModel, field_validator
from pydantic_core import PydanticCustomError

from accounts import api_bodies, idempotency, problems
from accounts.api_access import access
from accounts.api_bodies import Input, Text
from accounts.api_middleware import answer_headers
from accounts.models import Account, Scope
from accounts.problems import Kind, Problem

from . import (
    api_accounts,
    api_conversations,
    api_deliveries,
    api_endpoints,
    api_files,
    outbox,
    outcomes,
    sender_actions,
)
from .api_schemas import STATES, MessageOut, MessageStatus, QuickReply, State, path
from .models import Conversation, Message
from .outbox import Kept, Reason

router = Router(tags=["messages"])

FILE_FIELDS = ("file", "attachment")

KINDS = {
    Reason.WINDOW_CLOSED: Kind(409, "window-closed", "Instagram takes no answer at this time"),
    Reason.NOT_WRITTEN: Kind(409, "customer-has-not-written", "The customer has not written yet"),
    Reason.DISCONNECTED: Kind(409, "account-disconnected", "The account is disconnected"),
    Reason.NO_TEXT: Kind(422, "text-not-sendable", "The text cannot be sent"),
    Reason.TOO_LONG: Kind(422, "text-too-long", "The text is too long for Instagram"),
    Reason.QUICK_REPLIES: Kind(422, "quick-replies-not-taken", "Instagram takes no such choices"),
    Reason.FILE: Kind(422, "file-not-taken", "Instagram takes no such file"),
    Reason.REACTION: Kind(422, "reaction-not-taken", "Instagram takes no such reaction"),
}
"""The problem that each refusal of the outbox is."""

REACTION_REFUSALS = [
    KINDS[reason] for reason in (Reason.DISCONNECTED, Reason.WINDOW_CLOSED, Reason.REACTION)
]

_turn = threading.Lock()
"""SQLite has one writer. Threads that wait for it all look again and again; these queue instead."""

SETTLED = Kind(409, "already-settled", "What became of the message is known")


class NewMessage(Input):
    account_id: Text = Field(max_length=32, examples=["acc_5f0c2a9e41b7"])
    recipient_id: Text = Field(
        max_length=64,
        examples=["1184527390664218"],
        description="The customer: the recipient_id of a conversation.",
    )
    message: Text | None = Field(
        None, description="At most 1,000 bytes of UTF-8.", examples=["Yes, it is still here."]
    )
    quick_replies: list[QuickReply] = Field(
        [],
        max_length=outbox.MAX_QUICK_REPLIES,
        description="Under the text, for the customer to tap. In a form: as JSON.",
    )
    human_agent: bool = Field(
        False,
        description="Declares that a person wrote it, so it may go out until 7 days after the "
        "customer wrote. Never set it for what a program wrote: Instagram forbids that.",
    )
    metadata: Text | None = Field(None, description="Taken, and not kept.")
    attachment: None = Field(
        None, description="A file goes as multipart/form-data, as `file` or `attachment`."
    )

    @field_validator("quick_replies", mode="before")
    @classmethod
    def from_form(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise PydanticCustomError("json", "It is no JSON.") from None

    @field_validator("attachment", mode="before")
    @classmethod
    def not_in_json(cls, value: Any) -> None:
        if value is not None:
            text = "A file is not taken by its address: send itself, as multipart/form-data."
            raise PydanticCustomError("attachment", text)


class Queued(BaseModel):
    message_id: str = Field(examples=["msg_019ac2f4d1e83fb09a6d51c2e07a"])
    status: State = Field(description="`pending`: it is sent within moments, or waits.")
    created_at: datetime
    account_id: str
    account_status: Account.Status = Field(
        description="In all but connected and expiring, it waits until the account is mended."
    )
    message_ids: list[str] = Field(
        description="All that it has become, in the order in which they are sent: files, then text."
    )


class Outcome(Input):
    arrived: bool = Field(description="Whether somebody saw it in the Instagram app.")


class Emoji(Input):
    emoji: Text = Field(min_length=1, max_length=16, examples=["❤️"])


def _send_access() -> dict[str, Any]:
    refusals = [kind for reason, kind in KINDS.items() if reason is not Reason.REACTION]
    arguments = access(
        Scope.SEND,
        problems.NOT_FOUND,
        problems.STILL_RUNNING,
        problems.KEY_REUSED,
        *refusals,
    )
    arguments["openapi_extra"] |= api_bodies.documented(NewMessage, *FILE_FIELDS)
    arguments["openapi_extra"]["parameters"] = [idempotency.PARAMETER]
    return arguments


@router.post(
    "/messages/send",
    response={202: Queued},
    operation_id="send_message",
    **_send_access(),
)
def send(request):
    """Send a text, files, or both, as JSON or as a form; answers at once.

    Instagram takes a text and a file as two messages: the file goes first.
    """
    wanted = api_bodies.read(request, NewMessage)
    files = [file for name in FILE_FIELDS for file in request.FILES.getlist(name)]
    if not files and not (wanted.message and wanted.message.strip()):
        raise problems.invalid("message", "Give a text, a file, or both.")
    conversation = _conversation(request, wanted)
    with _refusals(), outbox.keep(files) as kept, _in_turn():
        return idempotency.once(request, lambda: _queue(request, conversation, wanted, kept))


@router.get(
    "/messages/{message_id}",
    response=MessageOut,
    operation_id="get_message",
    **access(Scope.READ),
)
def message(request, message_id: str):
    return _message(request, message_id)


@router.get(
    "/messages/{message_id}/status",
    response=MessageStatus,
    operation_id="get_message_status",
    **access(Scope.READ),
)
def status(request, message_id: str):
    """What has become of a message; null for what nobody knows."""
    return _message(request, message_id)


@router.post(
    "/messages/{message_id}/settle",
    response=MessageStatus,
    operation_id="settle_message",
    **access(Scope.SEND, SETTLED),
)
def settle(request, message_id: str, payload: Outcome):
    """Say whether an `unconfirmed` message arrived: somebody looked in the Instagram app."""
    if not outcomes.mark(_message(request, message_id), arrived=payload.arrived):
        text = "It is not unconfirmed, or no longer: its status says what became of it."
        raise Problem(SETTLED, text)
    return _message(request, message_id)


@router.put(
    "/messages/{message_id}/reaction",
    response={202: None},
    operation_id="react_to_message",
    **access(Scope.SEND, *REACTION_REFUSALS),
)
def react(request, message_id: str, payload: Emoji):
    """Let the account react with one emoji, in place of its reaction before."""
    with _refusals():
        sender_actions.react(_message(request, message_id), payload.emoji)
    return Status(202, None)


@router.delete(
    "/messages/{message_id}/reaction",
    response={202: None},
    operation_id="take_reaction_back",
    **access(Scope.SEND, *REACTION_REFUSALS),
)
def take_reaction_back(request, message_id: str):
    with _refusals():
        sender_actions.react(_message(request, message_id), "")
    return Status(202, None)


for _part in (api_conversations, api_files, api_accounts, api_endpoints, api_deliveries):
    router.add_router("", _part.router)


def _conversation(request, wanted: NewMessage) -> Conversation:
    found = Conversation.objects.to_send(request.user, wanted.account_id, wanted.recipient_id)
    if found:
        return found
    if not Account.objects.for_user(request.user).filter(pk=wanted.account_id).exists():
        raise Problem(problems.NOT_FOUND, "The account_id is none of an account that you reach.")
    text = (
        "The account has no conversation with this recipient_id. Instagram lets an account write "
        "only to customers who have written to it."
    )
    raise Problem(KINDS[Reason.NOT_WRITTEN], text)


def _queue(request, conversation: Conversation, wanted: NewMessage, kept: Kept) -> HttpResponse:
    messages = outbox.queue_kept(
        conversation,
        kept,
        wanted.message or "",
        by=request.user,
        quick_replies=[choice.model_dump() for choice in wanted.quick_replies],
        is_by_person=wanted.human_agent,
    )
    first = messages[0]
    answer_headers(request)["Location"] = path("message", first.public_id)
    return api_bodies.answer(
        202,
        Queued(
            message_id=first.public_id,
            status=STATES[first.status],
            created_at=first.created_at,
            account_id=conversation.account_id,
            account_status=conversation.account.status,
            message_ids=[message.public_id for message in messages],
        ),
    )


def _message(request, public_id: str) -> Message:
    mine = Message.objects.for_user(request.user).for_api()
    mine = mine.select_related("conversation__account").defer("conversation__account__access_token")
    return get_object_or_404(mine, public_id=public_id)


@contextmanager
def _in_turn() -> Iterator[None]:
    """Alone in this process on SQLite, and for no longer than it is waited for."""
    if not settings.IS_SQLITE:
        yield
        return
    if not _turn.acquire(timeout=settings.DATABASE_WAIT):
        raise Problem(problems.UNAVAILABLE)
    try:
        yield
    finally:
        _turn.release()


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except outbox.ReplyRefused as exc:
        raise Problem(KINDS[exc.reason], str(exc)) from None
