"""From stored events to conversations: the same rows in whatever order and number they come."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction

from accounts.models import Account

from . import media, participants, wire
from .models import Attachment, Conversation, Message, WebhookEvent
from .queues import Drain, rest
from .wire import MessageEvent, Unknown

logger = logging.getLogger(__name__)

BODIES = 20
"""Claimed at once."""

EVENTS = 50
"""Written in one transaction: about 10 ms on SQLite."""

ATTEMPTS = 5
"""How often a body is tried before its row says that it failed."""

ECHO_TOLERANCE = timedelta(minutes=15)
"""How far the echo of a send whose answer we missed may lie from the moment of the call."""

Key = tuple[str, str]  # account id, igsid


@Drain
def process() -> int:
    """Project a batch of pending bodies; returns how many."""
    rows = WebhookEvent.objects.claim(BODIES)
    events = {row.pk: wire.read(bytes(row.body)) for row in rows}
    accounts = _accounts(event for found in events.values() for event in found)
    notes: dict[int, list[str]] = defaultdict(list)
    by_conversation: dict[Key, list[tuple[int, MessageEvent]]] = defaultdict(list)
    for row in rows:
        for event in events[row.pk]:
            place = _place(event, accounts)
            if isinstance(place, str):
                notes[row.pk].append(place)
            else:
                by_conversation[place].append((row.pk, event))

    broken: set[int] = set()
    received = {row.pk: row.received_at for row in rows}
    for key, found in by_conversation.items():
        for start in range(0, len(found), EVENTS):
            part = found[start : start + EVENTS]
            try:
                _project(key, [(event, received[pk]) for pk, event in part])
            except Exception:
                broken |= {pk for pk, _ in part}
                logger.exception("events %s: not projected", sorted({pk for pk, _ in part}))
            rest()

    with transaction.atomic():
        for row in rows:
            _settle(row, notes[row.pk], is_broken=row.pk in broken)
    return len(rows)


def _settle(row: WebhookEvent, notes: list[str], *, is_broken: bool) -> None:
    state, reason = WebhookEvent.State.PROCESSED, ""
    if is_broken and row.attempts < ATTEMPTS:
        row.retry_later(timedelta(seconds=2**row.attempts))
        return
    if is_broken:
        state, reason = WebhookEvent.State.FAILED, "Could not be projected; the log says why."
    elif notes:
        state, reason = WebhookEvent.State.UNHANDLED, ", ".join(sorted(set(notes)))
    row.settle(state=state, reason=reason)


def _accounts(events: Iterable[MessageEvent | Unknown]) -> dict[str, str]:
    """Our id for each Instagram account id that the events name."""
    ids = {
        i for e in events if isinstance(e, MessageEvent) for i in (e.entry, e.sender, e.recipient)
    }
    found = Account.objects.filter(instagram_account_id__in=ids - {""})
    return dict(found.values_list("instagram_account_id", "pk"))


def _place(event: MessageEvent | Unknown, accounts: dict[str, str]) -> Key | str:
    """Which conversation an event belongs to, or why to none.

    `entry.id` routes; where it is unknown, the side that is an account of ours does. An event
    is never given to an account that it does not name.
    """
    if isinstance(event, Unknown):
        return event.what
    own_side = event.sender if event.is_echo else event.recipient
    instagram_id = event.entry if event.entry in accounts else own_side
    if instagram_id not in accounts:
        return f"unknown account {event.entry or own_side or '(none)'}"
    other = event.recipient if event.sender == instagram_id else event.sender
    return (accounts[instagram_id], other) if other else "message without a participant"


def _project(key: Key, events: list[tuple[MessageEvent, datetime]]) -> None:
    """Write one conversation's events, each with when it was received, in one transaction."""
    account_id, igsid = key
    with transaction.atomic():
        conversation, is_new = Conversation.objects.get_or_create(
            account_id=account_id, igsid=igsid
        )
        change = conversation.next_change()
        mids = [event.mid for event, _ in events]
        known = {m.mid: m for m in Message.objects.filter(account_id=account_id, mid__in=mids)}
        for event, received_at in events:
            message = known.get(event.mid) or _our_own(conversation, event, received_at)
            if message is None:
                known[event.mid] = _store(conversation, event, received_at, change)
            elif message.is_from_here and event.is_echo:
                known[event.mid] = _confirm(message, event, received_at, change)
        _note_times(conversation, known.values())
    if is_new:
        participants.ask.hint()


def _our_own(
    conversation: Conversation, event: MessageEvent, received_at: datetime
) -> Message | None:
    """The send that this echo belongs to, when Instagram's answer to it has not been seen (yet).

    The echo may overtake the answer, or be all that comes after a crash. It carries no mark of
    ours, so the text and the time have to tell.
    """
    if not event.is_echo or not event.text:
        return None
    moment = event.timestamp or received_at
    waiting = Message.objects.filter(
        conversation=conversation,
        mid="",
        status__in=[Message.Status.SENDING, Message.Status.UNCONFIRMED],
        called_at__range=(moment - ECHO_TOLERANCE, moment + ECHO_TOLERANCE),
    )
    for message in waiting.order_by("pk"):
        if message.text.strip() == event.text.strip():
            return message
    return None


def _confirm(message: Message, event: MessageEvent, received_at: datetime, change: int) -> Message:
    """Our own message as Instagram has it: sent, under this id, at this time."""
    message.mid = event.mid
    message.status = Message.Status.SENT
    message.timestamp = event.timestamp or received_at
    message.error, message.change = "", change
    message.due_at = message.lease = None
    message.save(update_fields=["mid", "status", "timestamp", "error", "change", "due_at", "lease"])
    return message


def _store(
    conversation: Conversation, event: MessageEvent, received_at: datetime, change: int
) -> Message:
    message = Message.objects.create(
        account_id=conversation.account_id,
        conversation=conversation,
        direction=Message.Direction.OUT if event.is_echo else Message.Direction.IN,
        status=Message.Status.SENT if event.is_echo else Message.Status.RECEIVED,
        mid=event.mid,
        text=event.text,
        timestamp=event.timestamp or received_at,
        change=change,
        due_at=None,
    )
    Attachment.objects.bulk_create(
        media.attachment(message, position, item.kind, item.url)
        for position, item in enumerate(event.attachments)
    )
    if event.attachments:
        media.fetch.hint()
    return message


def _note_times(conversation: Conversation, messages: Iterable[Message]) -> None:
    """Both times only move forward; an echo never opens the window."""
    conversation.refresh_from_db(fields=["last_message_at", "last_inbound_at"])
    for message in messages:
        conversation.last_message_at = _later(conversation.last_message_at, message.timestamp)
        if not message.is_out:
            conversation.last_inbound_at = _later(conversation.last_inbound_at, message.timestamp)
    conversation.save(update_fields=["last_message_at", "last_inbound_at"])


def _later(a: datetime | None, b: datetime) -> datetime:
    return b if a is None or b > a else a
