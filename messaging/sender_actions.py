"""Reactions of the account, its typing, and that it has read: queued, then told to Instagram."""

import logging
import re
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts import instagram_messages
from accounts.instagram_errors import (
    InstagramError,
    NoAnswer,
    NotSent,
    Passing,
    RateLimited,
    TokenRejected,
    Withheld,
)
from accounts.models import Account, TokenUnreadable

from . import budgets, crm_events, wire
from .models import Conversation, EventType, Message, SenderAction
from .outbox import Reason, ReplyRefused, check_account
from .queues import Drain

logger = logging.getLogger(__name__)

Kind = SenderAction.Kind

PASSES = timedelta(seconds=15)
"""After so long nobody is told any more that somebody types; Instagram shows it for 20 s."""

TRIES = 4
LONGEST_EMOJI = 16


def react(message: Message, emoji: str) -> None:
    """Let the account react to a message; an empty `emoji` takes its reaction back.

    Raises ReplyRefused.
    """
    conversation = message.conversation
    check_account(conversation.account)
    if not message.mid or message.unsent_at:
        raise ReplyRefused(Reason.REACTION, "Only to a message that Instagram has can be reacted.")
    if not conversation.is_open:
        text = "The 24-hour window is closed: Instagram takes no reaction now."
        raise ReplyRefused(Reason.WINDOW_CLOSED, text)
    if not _is_emoji(emoji):
        raise ReplyRefused(Reason.REACTION, "React with one emoji.")
    values = {
        "conversation": conversation, "emoji": emoji, "due_at": timezone.now(), "lease": None,
        "attempts": 0, "error": "", "created_at": timezone.now(),
    }  # fmt: skip
    SenderAction.objects.update_or_create(message=message, kind=Kind.REACTION, defaults=values)
    perform.hint()


def show(conversation: Conversation, kind: SenderAction.Kind) -> None:
    """Let the customer see that somebody types, or that their messages were read.

    Does nothing where Instagram would not take it: it is a courtesy.
    """
    if not conversation.is_open or not conversation.account.can_send:
        return
    values = {"due_at": timezone.now(), "lease": None, "attempts": 0, "created_at": timezone.now()}
    SenderAction.objects.update_or_create(
        conversation=conversation, kind=kind, message=None, defaults=values
    )
    perform.hint()


@Drain
def perform() -> int:
    """Tell Instagram of the next few; returns how many there were."""
    claimed = SenderAction.objects.claim(10)
    for action in claimed:
        try:
            _perform(action)
        except Exception:  # One must not keep the others; its lease says when it is tried again.
            logger.exception("sender action %s: not performed", action.pk)
    return len(claimed)


def _is_emoji(text: str) -> bool:
    """Whether it may be one, or none at all: which ones there are, Instagram knows."""
    is_short = len(text) <= LONGEST_EMOJI and not wire.UNSTORABLE.search(text)
    return is_short and not re.search(r"[\x00-\x7f\s]", text)


def _perform(action: SenderAction) -> None:
    if action.kind != Kind.REACTION and timezone.now() - action.created_at > PASSES:
        _done(action)
        return
    account = action.conversation.account
    try:
        client = account.client()
        client.act(action.conversation.igsid, _body(action))
    except TokenUnreadable as exc:
        _not_done(action, str(exc))
    except InstagramError as exc:
        _refused(action, account, exc)
    else:
        budgets.note(account, client.usage)
        _done(action)


def _body(action: SenderAction) -> instagram_messages.Body:
    if action.message:
        return instagram_messages.reaction(action.message.mid, action.emoji)
    return instagram_messages.action(action.kind)


def _refused(action: SenderAction, account: Account, exc: InstagramError) -> None:
    logger.warning(
        "sender action %s: %s (code %s/%s, trace %s)",
        action.pk, type(exc).__name__, exc.code, exc.subcode, exc.trace,
    )  # fmt: skip
    match exc:
        case TokenRejected():
            account.note_problem(Account.Problem.REVOKED, str(exc))
        case Withheld():
            account.note_problem(Account.Problem.HELD, str(exc))
        case RateLimited():
            budgets.pause(account, exc.wait)
    # Doing it twice is doing it once, so an unclear answer is no reason to stop.
    may_pass = isinstance(exc, NotSent | NoAnswer | Passing | RateLimited)
    if may_pass and action.kind == Kind.REACTION and action.attempts < TRIES:
        action.retry_later(timedelta(seconds=2 * 4**action.attempts))
    else:
        _not_done(action, str(exc))


def _done(action: SenderAction) -> None:
    """Instagram has it. Another that was asked for meanwhile stays."""
    with transaction.atomic():
        mine = SenderAction.objects.filter(pk=action.pk, lease=action.lease)
        if mine.delete()[0] and action.message and action.kind == Kind.REACTION:
            _show_reaction(action)


def _show_reaction(action: SenderAction) -> None:
    change = action.conversation.next_change()
    message = Message.objects.select_for_update().get(pk=action.message_id)
    if message.unsent_at:
        return
    own = action.conversation.account.instagram_account_id
    at = int(timezone.now().timestamp() * 1000)
    message.reactions[own] = {"emoji": action.emoji, "at": at}
    message.change = change
    message.save(update_fields=["reactions", "change"])
    # No webhook tells of our own reactions (3.9).
    told = {"reaction": {"emoji": action.emoji, "by": "account"}}
    crm_events.tell([crm_events.News(EventType.REACTION, action.conversation, message, more=told)])


def _not_done(action: SenderAction, why: str) -> None:
    if action.kind != Kind.REACTION:
        _done(action)
        return
    with transaction.atomic():
        change = action.conversation.next_change()
        if action.settle(error=f"The reaction was not sent. {why}"):
            Message.objects.filter(pk=action.message_id).update(change=change)
