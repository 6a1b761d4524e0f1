"""From stored webhooks to what conversations show: split, projected, and settled row by row."""

import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import Account

from . import erasure, projection, wire
from .board import Told
from .events import BRING, LATER, Event, Kind, key_of, mid_digest
from .models import InboundEvent, State, Tally, WebhookEvent
from .queues import LEASE, Drain, rest

logger = logging.getLogger(__name__)

BODIES = 200
"""Claimed at once."""

AT_ONCE = 200
"""Events in one transaction, while nobody waits for it."""

AT_ONCE_BESIDE_WEBHOOKS = 25
"""On SQLite a webhook waits for the transaction (the benchmark `accept` shows how long)."""

QUIET = timedelta(seconds=1)
"""After so long without a webhook, none is expected."""

ATTEMPTS = 5
"""How often an event, or the split of a body, is tried before its row says that it failed."""

NOT_SPLIT = "Its webhook could not be split into events; the log says why."


class Todo(NamedTuple):
    """A claimed row and what it tells. `is_alone` when its webhook holds no other."""

    row: InboundEvent
    told: Told
    is_alone: bool = False


@Drain
def process() -> int:
    """Project the events of a batch of webhooks, and those to be tried again; returns how many."""
    todo = _split(WebhookEvent.objects.claim(BODIES))
    todo += _again(InboundEvent.objects.claim(BODIES))
    _project_all(todo)
    return len(todo)


def route(event: Event, accounts: dict[str, str]) -> tuple[str, str]:
    """The Instagram account that an event belongs to, and who is on the other side.

    `entry.id` routes; where it is unknown, the side that is an account of ours does. An event
    is never given to an account that it does not name.
    """
    own_side = event.sender if event.kind in (Kind.ECHO, Kind.SELF) else event.recipient
    own = event.entry if event.entry in accounts or own_side not in accounts else own_side
    own = own or own_side
    return own, event.recipient if event.sender == own else event.sender


def _split(webhooks: list[WebhookEvent]) -> list[Todo]:
    """Write the events of the webhooks down, as claimed by this worker."""
    if not webhooks:
        return []
    found = {}
    for webhook in webhooks:
        try:
            found[webhook] = wire.read(bytes(webhook.body))
        except Exception:
            _not_split(webhook)
    accounts = _accounts(event for events in found.values() for event in events)
    groups: list[list[WebhookEvent]] = [[]]
    for webhook, events in found.items():
        if groups[-1] and sum(len(found[one]) for one in groups[-1]) + len(events) > AT_ONCE:
            groups.append([])
        groups[-1].append(webhook)
    return [one for group in groups if group for one in _written(group, found, accounts)]


def _written(
    group: list[WebhookEvent], found: dict[WebhookEvent, list[Event]], accounts: dict[str, str]
) -> list[Todo]:
    """The events of these webhooks, as rows; written one webhook at a time where that fails."""
    mine = [
        _todo(webhook, position, event, accounts, is_alone=len(found[webhook]) == 1)
        for webhook in group
        for position, event in enumerate(found[webhook])
    ]
    try:
        _write(group, [one.row for one in mine])
    except Exception:
        if len(group) > 1:  # One may be at fault; the others are not to wait for it.
            return [one for webhook in group for one in _written([webhook], found, accounts)]
        _not_split(group[0])
        return []
    return mine


def _not_split(webhook: WebhookEvent) -> None:
    """Its lease says when it is tried again, until that was often enough."""
    logger.exception("webhook %s: not split", webhook.pk)
    if webhook.attempts < ATTEMPTS:
        return
    with transaction.atomic():
        if not webhook.settle(state=State.FAILED):
            return
        InboundEvent.objects.filter(webhook=webhook).delete()
        InboundEvent.objects.create(
            webhook=webhook,
            position=0,
            kind=Kind.UNKNOWN,
            dedupe_key=key_of(Event(Kind.UNKNOWN)),
            state=State.FAILED,
            reason=NOT_SPLIT,
            due_at=None,
            attempts=webhook.attempts,
        )
        Tally.objects.add("event", {State.FAILED: 1})


def _write(webhooks: list[WebhookEvent], rows: list[InboundEvent]) -> None:
    """In one transaction, unless a single body holds so many that others would wait for it."""
    pks = [webhook.pk for webhook in webhooks]
    is_long = len(rows) > AT_ONCE
    with nullcontext() if is_long else transaction.atomic():
        # Those of an earlier reading; how a body is read may have changed since.
        InboundEvent.objects.filter(webhook__in=pks).delete()
        for start in range(0, len(rows), AT_ONCE):
            InboundEvent.objects.bulk_create(rows[start : start + AT_ONCE])
            if is_long:
                rest()
        WebhookEvent.objects.filter(pk__in=pks).update(due_at=None, lease=None)


def _todo(
    webhook: WebhookEvent, position: int, event: Event, accounts: dict[str, str], *, is_alone: bool
) -> Todo:
    own, other = route(event, accounts)
    account_id = accounts.get(own, "")
    digest = mid_digest(own, event.mid) if event.mid else None
    row = InboundEvent(
        webhook=webhook,
        position=position,
        account_id=account_id or None,
        instagram_account_id=own,
        igsid=other,
        kind=event.kind,
        mid_digest=digest,
        dedupe_key=key_of(event),
        due_at=timezone.now() + LEASE,
        lease=webhook.lease,
        attempts=1,
    )
    told = Told(event, account_id, other, digest, webhook.received_at)
    return Todo(row, told, is_alone)


def _again(rows: list[InboundEvent]) -> list[Todo]:
    """What a worker left behind, and what could not be projected the last time."""
    webhooks = WebhookEvent.objects.in_bulk({row.webhook_id for row in rows})
    events = {pk: wire.read(bytes(webhook.body)) for pk, webhook in webhooks.items()}
    todo = []
    for row in rows:
        digest = bytes(row.mid_digest) if row.mid_digest else None
        try:
            event = events[row.webhook_id][row.position]
        except LookupError:  # Read anew meanwhile, and it has no such event any more.
            _put_back(row)
            continue
        received_at = webhooks[row.webhook_id].received_at
        told = Told(event, row.account_id or "", row.igsid, digest, received_at)
        todo.append(Todo(row, told))
    return todo


def _accounts(events: Iterable[Event]) -> dict[str, str]:
    """Our id for each Instagram account id that the events name."""
    ids = {i for event in events for i in (event.entry, event.sender, event.recipient)}
    wanted, known = sorted(ids - {""}), {}
    for start in range(0, len(wanted), 500):  # SQLite limits how much one query may name.
        found = Account.objects.filter(instagram_account_id__in=wanted[start : start + 500])
        known |= dict(found.values_list("instagram_account_id", "pk"))
    return known


def _project_all(todo: list[Todo]) -> None:
    """Project and settle in short transactions, one row failing alone."""
    waiting = deque(todo)
    is_waited_for = settings.IS_SQLITE and bool(todo) and _webhooks_are_coming()
    size = AT_ONCE_BESIDE_WEBHOOKS if is_waited_for else AT_ONCE
    renew_at = time.monotonic() + LEASE.total_seconds() / 2
    while waiting:
        if time.monotonic() > renew_at:  # A long batch must not outlive its lease.
            InboundEvent.objects.renew([one.row for one in waiting])
            renew_at = time.monotonic() + LEASE.total_seconds() / 2
        turn = [waiting.popleft() for _ in range(min(size, len(waiting)))]
        try:
            with transaction.atomic():
                _settle(turn, _project(turn))
        except Exception:
            _one_by_one(turn)
        if is_waited_for:
            rest()


def _webhooks_are_coming() -> bool:
    return WebhookEvent.objects.filter(received_at__gt=timezone.now() - QUIET).exists()


def _project(turn: list[Todo]) -> list[str]:
    """Why each is not shown, or ""."""
    reasons = [_hindrance(one) for one in turn]
    _forget_unshown(turn, reasons)
    able = [n for n, reason in enumerate(reasons) if not reason]
    for n, reason in zip(able, projection.project([turn[n].told for n in able]), strict=True):
        reasons[n] = reason
    return reasons


def _forget_unshown(turn: list[Todo], reasons: list[str]) -> None:
    """What is taken back goes from the ledger also where no message was made of it."""
    kept = {
        t.told.digest: t.told.event.kind for t, reason in zip(turn, reasons, strict=True) if reason
    }
    unsent = {digest for digest, kind in kept.items() if kind == Kind.UNSEND and digest}
    brought = [digest for digest, kind in kept.items() if kind in BRING and digest]
    if brought:
        before = InboundEvent.objects.filter(mid_digest__in=brought, kind=Kind.UNSEND)
        unsent |= {bytes(d) for d in before.values_list("mid_digest", flat=True)}
    if unsent:
        erasure.forget_content(unsent)


def _hindrance(one: Todo) -> str:
    """What keeps an event from any conversation."""
    event, told = one.told.event, one.told
    if event.note:
        return event.note
    if not told.account_id:
        return f"unknown account {one.row.instagram_account_id or '(none)'}"
    if not told.igsid and event.kind in projection.NEED_A_PARTICIPANT:
        return f"{event.kind} without a participant"
    if told.digest is None and event.kind in LATER:
        return f"{event.kind} without a mid"
    return ""


def _settle(turn: list[Todo], reasons: list[str]) -> None:
    rows: dict[str, list[int]] = defaultdict(list)
    webhooks: dict[State, list[int]] = defaultdict(list)
    shared: set[int] = set()
    for one, reason in zip(turn, reasons, strict=True):
        rows[reason].append(one.row.pk)
        if one.is_alone:
            webhooks[_state(reason)].append(one.row.webhook_id)
        else:
            shared.add(one.row.webhook_id)
    for reason, pks in rows.items():
        InboundEvent.objects.filter(pk__in=pks).update(
            state=_state(reason), reason=reason, due_at=None, lease=None
        )
    for state, pks in webhooks.items():
        WebhookEvent.objects.filter(pk__in=pks).update(state=state)
    if shared:
        WebhookEvent.objects.filter(pk__in=shared).sum_up()
    Tally.objects.add("event", Counter(_state(reason) for reason in reasons))


def _state(reason: str) -> State:
    return State.UNHANDLED if reason else State.PROCESSED


def _one_by_one(turn: list[Todo]) -> None:
    """The good ones are not to wait for the bad one."""
    for one in turn:
        try:
            with transaction.atomic():
                _settle([one], _project([one]))
        except Exception:
            logger.exception("event %s: not projected", one.row.pk)
            _put_back(one.row)
        rest()


def _put_back(row: InboundEvent) -> None:
    if row.attempts < ATTEMPTS:
        row.retry_later(timedelta(seconds=2**row.attempts))
        return
    with transaction.atomic():
        row.settle(state=State.FAILED, reason="Could not be projected; the log says why.")
        WebhookEvent.objects.filter(pk=row.webhook_id).sum_up()
        Tally.objects.add("event", {State.FAILED: 1})
