"""From stored events to conversations: the same rows in whatever order and number they come."""

import logging
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from accounts.models import Account

from . import media, participants, wire
from .models import Attachment, Conversation, Message, WebhookEvent
from .queues import LEASE, Drain, rest
from .wire import MessageEvent, Unknown

logger = logging.getLogger(__name__)

Status = Message.Status

BODIES = 20
"""Claimed at once."""

EVENTS = 50
TURN = 0.01
"""A transaction takes up to so many events of one conversation, and then further ones until so
many seconds have passed."""

ATTEMPTS = 5
"""How often a body is tried before its row says that it failed."""

ECHO_TOLERANCE = timedelta(minutes=15)
"""How far the echo of a send whose answer we missed may lie from the moment of the call."""

Key = tuple[str, str]  # account id, igsid
Part = tuple[Key, list[tuple[int, MessageEvent]]]  # each event with the pk of its row


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

    parts = [
        (key, found[start : start + EVENTS])
        # In one order everywhere, so that no two workers wait for each other's conversation.
        for key, found in sorted(by_conversation.items())
        for start in range(0, len(found), EVENTS)
    ]
    broken = _project_all(parts, {row.pk: row for row in rows})
    with transaction.atomic():
        for row in rows:
            _settle(row, notes[row.pk], is_broken=row.pk in broken)
    return len(rows)


def _project_all(parts: list[Part], rows: dict[int, WebhookEvent]) -> set[int]:
    """Project the parts in short transactions; returns the rows of which something failed."""
    broken: set[int] = set()
    waiting = deque(parts)
    half_lease = LEASE.total_seconds() / 2
    renew_at = time.monotonic() + half_lease
    while waiting:
        if time.monotonic() > renew_at:  # A long batch must not outlive its lease.
            WebhookEvent.objects.renew(rows.values())
            renew_at = time.monotonic() + half_lease
        tried: list[Part] = []
        try:
            with transaction.atomic():
                end = time.monotonic() + TURN
                while waiting and (not tried or time.monotonic() < end):
                    tried.append(waiting.popleft())
                    _project(*tried[-1], rows)
        except Exception:
            singles = [(key, [one]) for key, found in tried for one in found]
            if len(singles) > 1:  # The good ones are not to wait for the bad one.
                waiting.extendleft(reversed(singles))
            else:
                pk, _ = tried[0][1][0]
                broken.add(pk)
                logger.exception("event %s: not projected", pk)
        rest()
    return broken


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
    wanted, known = sorted(ids - {""}), {}
    for start in range(0, len(wanted), 500):  # SQLite limits how much one query may name.
        found = Account.objects.filter(instagram_account_id__in=wanted[start : start + 500])
        known |= dict(found.values_list("instagram_account_id", "pk"))
    return known


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


def _project(
    key: Key, found: list[tuple[int, MessageEvent]], rows: dict[int, WebhookEvent]
) -> None:
    """Write events of one conversation; call it inside a transaction."""
    account_id, igsid = key
    conversation, is_new = Conversation.objects.get_or_create(account_id=account_id, igsid=igsid)
    change = conversation.next_change()
    mids = [event.mid for _, event in found]
    known = {m.mid: m for m in Message.objects.filter(account_id=account_id, mid__in=mids)}
    heard_at = None
    for pk, event in found:
        moment = _moment(event, rows[pk].received_at)
        message = known.get(event.mid) or _our_own(conversation, event, moment)
        if message is None:
            known[event.mid] = _store(conversation, event, moment, change)
            heard_at = heard_at if event.is_echo else change
        elif message.is_from_here and event.is_echo:
            known[event.mid] = _confirm(message, event, moment, change)
    _note_times(conversation, known.values(), heard_at)
    if is_new:
        participants.ask.hint()


def _moment(event: MessageEvent, received_at: datetime) -> datetime:
    """When it was written by Instagram's clock, unless that says tomorrow."""
    if event.timestamp is None or event.timestamp > received_at + timedelta(days=1):
        return received_at
    return event.timestamp


def _our_own(conversation: Conversation, event: MessageEvent, moment: datetime) -> Message | None:
    """The send that this echo belongs to, when Instagram's answer to it has not been seen (yet).

    The echo may overtake the answer, or be all that comes after a crash, even after a person has
    settled the message. It carries no mark of ours, so the text and the time have to tell.
    """
    if not event.is_echo or not event.text:
        return None
    waiting = Message.objects.filter(
        Q(status__in=[Status.SENDING, Status.UNCONFIRMED, Status.SENT])
        | Q(status=Status.FAILED, error=Message.NOT_ARRIVED),
        conversation=conversation,
        is_from_here=True,
        mid="",
        called_at__range=(moment - ECHO_TOLERANCE, moment + ECHO_TOLERANCE),
    )
    equal = [message for message in waiting if message.text.strip() == event.text.strip()]
    # The one under way rather than one of before, and then the nearest.
    return min(
        equal,
        key=lambda m: (m.status != Status.SENDING, abs(m.called_at - moment)),
        default=None,
    )


def _confirm(message: Message, event: MessageEvent, moment: datetime, change: int) -> Message:
    """Our own message as Instagram has it: sent, under this id, at this time."""
    changes = {
        "mid": event.mid,
        "status": Status.SENT,
        "timestamp": moment,
        "error": "",
        "change": change,
        "due_at": None,
        "lease": None,
    }
    for name, value in changes.items():
        setattr(message, name, value)
    message.save(update_fields=list(changes))
    return message


def _store(
    conversation: Conversation, event: MessageEvent, moment: datetime, change: int
) -> Message:
    message = Message.objects.create(
        account_id=conversation.account_id,
        conversation=conversation,
        direction=Message.Direction.OUT if event.is_echo else Message.Direction.IN,
        status=Status.SENT if event.is_echo else Status.RECEIVED,
        mid=event.mid,
        text=event.text,
        timestamp=moment,
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


def _note_times(
    conversation: Conversation, messages: Iterable[Message], heard_at: int | None
) -> None:
    """Times only move forward; an echo never opens the window.

    `heard_at` is the change number of what the customer newly said, if anything.
    """
    fields = ["last_message_at", "last_inbound_at", "last_inbound_change"]
    conversation.refresh_from_db(fields=fields)
    for message in messages:
        conversation.last_message_at = _later(conversation.last_message_at, message.timestamp)
        if not message.is_out:
            conversation.last_inbound_at = _later(conversation.last_inbound_at, message.timestamp)
    conversation.last_inbound_change = heard_at or conversation.last_inbound_change
    conversation.save(update_fields=fields)


def _later(a: datetime | None, b: datetime) -> datetime:
    return b if a is None or b > a else a
