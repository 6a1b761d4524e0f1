"""Reactions of the account, its typing, and that it has read: queued, then told to Instagram."""

import logging
import re
import time
from collections import Counter
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone

from accounts import instagram_messages
from accounts.instagram import InstagramClient
from accounts.instagram_errors import (
    InstagramError,
    NoAnswer,
    NotSent,
    Passing,
    RateLimited,
)
from accounts.models import Account, TokenUnreadable

from . import budgets, crm_events, sending
from .calls import Calls
from .events import UNSTORABLE
from .models import Conversation, EventType, Message, SenderAction
from .outbox import Reason, ReplyRefused, check_account
from .queues import TURN, Drain, rest

logger = logging.getLogger(__name__)

Kind = SenderAction.Kind

PASSES = timedelta(seconds=15)
"""After so long nobody is told any more that somebody types; Instagram shows it for 20 s."""

SIDE_BY_SIDE = 16
OF_ONE = 4
"""Calls at a time, and those of an account after which others come first: it may be slow."""

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
    now = timezone.now()
    values = {
        "conversation": conversation, "emoji": emoji, "attempts": 0, "error": "", "created_at": now,
    }  # fmt: skip
    action, is_new = SenderAction.objects.update_or_create(
        message=message, kind=Kind.REACTION, defaults=values
    )
    if not is_new:  # While it is under way, the other comes after it.
        SenderAction.objects.filter(pk=action.pk, lease=None).update(due_at=now)
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
    """Tell Instagram of what is due, for a turn; returns how much there was.

    Others wait for Instagram, this thread alone writes. Only what is called at once is taken: a
    lease lasts longer than a call.
    """
    until, count = time.monotonic() + TURN, 0
    busy: Counter[int] = Counter()
    with Calls(SIDE_BY_SIDE) as calls:
        while True:
            claimed = _claim(busy) if time.monotonic() < until else []
            for action in claimed:
                _begin(action, calls, busy)
            count += len(claimed)
            if not (claimed or calls.under_way):
                return count
            for (action, client), result in calls.ended(0.1):
                busy[action.conversation.account_id] -= 1
                _end(action, client, result)
            rest()


def _is_emoji(text: str) -> bool:
    """Whether it may be one, or none at all: which ones there are, Instagram knows."""
    is_short = len(text) <= LONGEST_EMOJI and not UNSTORABLE.search(text)
    return is_short and not re.search(r"[\x00-\x7f\s]", text)


def _claim(busy: Counter[int]) -> list[SenderAction]:
    """The next few, of accounts that do not keep many threads busy already."""
    if not (places := SIDE_BY_SIDE - busy.total()):
        return []
    many = [account for account, calls in busy.items() if calls >= OF_ONE]
    free = SenderAction.objects.exclude(conversation__account__in=many)
    return free.claim(min(OF_ONE, places))


def _begin(action: SenderAction, calls: Calls, busy: Counter[int]) -> None:
    """Let a thread tell Instagram, if it is still worth it."""
    try:
        age = timezone.now() - action.created_at
        if action.kind != Kind.REACTION and age > PASSES:
            _done(action)
            return
        if age > sending.GIVE_UP:
            _not_done(action, "Given up: it waited more than 24 hours.")
            return
        conversation = action.conversation
        client = conversation.account.client()
        account = conversation.account
        moment, call = budgets.book(account), partial(client.act, conversation.igsid, _body(action))
        calls.start((action, client), budgets.make_at, moment, account, call)
        busy[conversation.account_id] += 1
    except TokenUnreadable as exc:
        _not_done(action, str(exc))
    except Exception:  # One must not keep the others; its lease says when it is tried again.
        logger.exception("sender action %s: not performed", action.pk)


def _end(action: SenderAction, client: InstagramClient, result: object) -> None:
    """Write down what came of the call: `result` is the exception that it raised, or None."""
    account = action.conversation.account
    try:
        budgets.heed(account, result, client.usage)
        if isinstance(result, InstagramError):
            _refused(action, account, result)
        elif isinstance(result, Exception):
            raise result
        else:
            _done(action)
    except Exception:  # As above.
        logger.exception("sender action %s: its outcome is not written", action.pk)


def _body(action: SenderAction) -> instagram_messages.Body:
    if action.message:
        return instagram_messages.reaction(action.message.mid, action.emoji)
    return instagram_messages.action(action.kind)


def _refused(action: SenderAction, account: Account, exc: InstagramError) -> None:
    logger.warning(
        "sender action %s: %s (code %s/%s, trace %s)",
        action.pk, type(exc).__name__, exc.code, exc.subcode, exc.trace,
    )  # fmt: skip
    account.note_error(exc)
    # Doing it twice is doing it once, so an unclear answer is no reason to stop.
    may_pass = isinstance(exc, NotSent | NoAnswer | Passing | RateLimited)
    if may_pass and action.kind == Kind.REACTION and action.attempts < TRIES:
        action.retry_later(timedelta(seconds=2 * 4**action.attempts))
    else:
        _not_done(action, str(exc))


def _done(action: SenderAction) -> None:
    """Instagram has it."""
    with transaction.atomic():
        mine = SenderAction.objects.filter(pk=action.pk, lease=action.lease)
        is_mine = _goes_on(action) or mine.delete()[0]
        if is_mine and action.message and action.kind == Kind.REACTION:
            _show_reaction(action)


def _goes_on(action: SenderAction) -> bool:
    """Whether another emoji was asked for meanwhile: that is due now."""
    mine = SenderAction.objects.filter(pk=action.pk, lease=action.lease)
    return bool(mine.exclude(emoji=action.emoji).update(lease=None, due_at=timezone.now()))


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
        if _goes_on(action):
            return
        change = action.conversation.next_change()
        if action.settle(error=f"The reaction was not sent. {why}"):
            Message.objects.filter(pk=action.message_id).update(change=change)
