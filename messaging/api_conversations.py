"""The conversations of the API: lists for readers and pollers, and what shows in Instagram."""

from typing import Literal

from django.db.models import OuterRef, Subquery
from django.shortcuts import get_object_or_404
from ninja import Field, Query, Router, Schema, Status

from accounts import paging, problems
from accounts.api_access import access
from accounts.api_bodies import Input
from accounts.models import Account, Scope

from . import automation, sender_actions
from .api_schemas import ConversationList, ConversationOut, MessageList, Moment
from .models import Conversation, Message, SenderAction

router = Router(tags=["conversations"])

LARGEST = 2**63 - 1


class Wanted(paging.PageQuery):
    account_id: str | None = Field(None, description="Of this account alone.", max_length=32)
    unread: bool = Field(False, description="Only those that nobody of the team has read.")
    open: bool = Field(False, description="Only those that the account may answer now.")
    active_since: Moment | None = Field(
        None, description="Only those with a message since then, the moment included."
    )


class WantedMessages(paging.PageQuery):
    after: int | None = Field(
        None,
        ge=0,
        le=LARGEST,
        description="Only what has changed after this change number, the oldest change first.",
    )


class Read(Schema):
    up_to: int | None = Field(
        None,
        ge=0,
        le=LARGEST,
        description="The `change` of what was read; what came later stays unread.",
    )


class ConversationChange(Input):
    automation: Literal["on", "paused"] = Field(description="Automatic replies in it.")


@router.get(
    "/conversations",
    response=ConversationList,
    operation_id="list_conversations",
    **access(Scope.READ, problems.NOT_FOUND),
)
def conversations(request, wanted: Query[Wanted]):
    """Conversations, the latest first."""
    rows = Conversation.objects.for_user(request.user).begun()
    if wanted.account_id is not None:
        mine = Account.objects.for_user(request.user)
        rows = rows.filter(account=get_object_or_404(mine, pk=wanted.account_id))
    if wanted.unread:
        rows = rows.unread()
    if wanted.open:
        rows = rows.open()
    if wanted.active_since:
        rows = rows.filter(last_message_at__gte=wanted.active_since)
    page = paging.page(rows.for_api(), wanted, by=("-last_message_at", "-pk"))
    _attach_latest(page.items)
    return {"conversations": page.items, "next": page.next}


@router.get(
    "/conversations/{conversation_id}",
    response=ConversationOut,
    operation_id="get_conversation",
    **access(Scope.READ),
)
def conversation(request, conversation_id: int):
    one = _conversation(request, conversation_id)
    _attach_latest([one])
    return one


@router.patch(
    "/conversations/{conversation_id}",
    response=ConversationOut,
    operation_id="change_conversation",
    **access(Scope.SEND),
)
def change_conversation(request, conversation_id: int, payload: ConversationChange):
    """Pause automatic replies in one conversation, or let them go on."""
    automation.switch(_conversation(request, conversation_id), payload.automation)
    return conversation(request, conversation_id)


@router.get(
    "/conversations/{conversation_id}/messages",
    response=MessageList,
    operation_id="list_messages",
    **access(Scope.READ),
)
def messages(request, conversation_id: int, wanted: Query[WantedMessages]):
    """Messages, the newest first; with `after`, what has changed since, for pollers.

    Reading marks nothing as read.
    """
    # Its change number is read first: what changes meanwhile comes again with the next question.
    conversation = _conversation(request, conversation_id)
    rows, by = conversation.messages.for_api(), ("-timestamp", "-pk")
    if wanted.after is not None:
        rows, by = rows.filter(change__gt=wanted.after), ("change", "pk")
    page = paging.page(rows, wanted, by=by)
    for message in page.items:
        message.conversation = conversation
    return {"messages": page.items, "next": page.next, "change": conversation.change}


@router.post(
    "/conversations/{conversation_id}/read",
    response={204: None},
    operation_id="mark_conversation_read",
    **access(Scope.SEND),
)
def mark_read(request, conversation_id: int, read: Query[Read]):
    """Mark it as read for the whole team. The customer is told nothing of it."""
    _conversation(request, conversation_id).mark_read(read.up_to)
    return Status(204, None)


@router.post(
    "/conversations/{conversation_id}/seen",
    response={202: None},
    operation_id="show_seen",
    **access(Scope.SEND),
)
def show_seen(request, conversation_id: int):
    """Let the customer see that their messages were read, if Instagram takes that now."""
    return _show(request, conversation_id, SenderAction.Kind.MARK_SEEN)


@router.put(
    "/conversations/{conversation_id}/typing",
    response={202: None},
    operation_id="show_typing",
    **access(Scope.SEND),
)
def show_typing(request, conversation_id: int):
    """Let the customer see that somebody types: for 20 seconds, if Instagram takes that now."""
    return _show(request, conversation_id, SenderAction.Kind.TYPING_ON)


@router.delete(
    "/conversations/{conversation_id}/typing",
    response={202: None},
    operation_id="end_typing",
    **access(Scope.SEND),
)
def end_typing(request, conversation_id: int):
    return _show(request, conversation_id, SenderAction.Kind.TYPING_OFF)


def _show(request, conversation_id: int, kind: SenderAction.Kind) -> Status:
    sender_actions.show(_conversation(request, conversation_id), kind)
    return Status(202, None)


def _conversation(request, pk: int) -> Conversation:
    return get_object_or_404(Conversation.objects.for_user(request.user).begun().for_api(), pk=pk)


def _attach_latest(conversations: list[Conversation]) -> None:
    """Give each the latest of its messages, all by one question."""
    latest = Message.objects.filter(conversation=OuterRef("pk")).order_by("-timestamp", "-pk")
    pks = Conversation.objects.filter(pk__in=[one.pk for one in conversations]).values_list(
        Subquery(latest.values("pk")[:1]), flat=True
    )
    found = {one.conversation_id: one for one in Message.objects.for_api().filter(pk__in=list(pks))}
    for conversation in conversations:
        conversation.last_message = message = found.get(conversation.pk)
        if message:
            message.conversation = conversation
