"""Keeps signed webhooks: on disk first, then 200; read again when asked; gone when old."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts.models import Account

from . import inbound
from .models import InboundEvent, State, WebhookEvent
from .pruning import delete
from .queues import rest

BATCH = 200


INSERT = "INSERT INTO webhook_events (body, received_at, due_at, state, attempts) VALUES "
VALUES = "(%s, %s, %s, 'pending', 0)"
"""By hand: the ORM takes longer to write this than either database to do it."""


class Busy(Exception):
    """The database did not take the event in time; Meta is to send it again."""


class Letter:
    """A body on its way into the ledger."""

    def __init__(self, body: bytes):
        self.body, self.received_at = body, timezone.now()
        self.is_stored = False


_waiting: deque[Letter] = deque()
_turn = threading.Lock()
"""SQLite has one writer, for whom threads queue here. Whoever's turn it is takes all that wait
along: one commit for all of them."""

_last_busy = 0.0
"""When (monotonic) a thread last waited in vain. Those behind it do not wait as long again."""


def accept(body: bytes) -> None:
    """Commit `body`; when this returns, no crash can lose it. Raises Busy after three seconds."""
    global _last_busy
    start = time.monotonic()
    is_busy = start - _last_busy < 1
    deadline = start + (0.2 if is_busy else settings.DATABASE_WAIT)
    insert = _insert_into_sqlite if settings.IS_SQLITE else _insert_into_postgresql
    letter = Letter(body)
    try:
        insert(letter, deadline)
    except (DatabaseError, Busy) as exc:
        if not letter.is_stored:
            _last_busy = time.monotonic()
            raise Busy(str(exc)) from exc
    inbound.process.hint()


def chosen(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    state: str = "",
    account: str = "",
    kind: str = "",
) -> QuerySet[WebhookEvent]:
    """The webhooks that came in this time and hold an event of this state, account and kind.

    `account` is ours (acc_…) or Instagram's id of one, connected here or not.
    """
    webhooks = WebhookEvent.objects.order_by("pk")
    if since:
        webhooks = webhooks.filter(received_at__gte=since)
    if until:
        webhooks = webhooks.filter(received_at__lt=until)
    events = InboundEvent.objects.filter(webhook=OuterRef("pk"))
    if state:
        events = events.filter(state=state)
    if account:
        events = events.filter(Q(account=account) | Q(instagram_account_id=account))
    if kind:
        events = events.filter(kind=kind)
    return webhooks.filter(Exists(events)) if state or account or kind else webhooks


def replay(webhooks: QuerySet[WebhookEvent]) -> Iterator[int]:
    """Have these read again, as if they had just come; yields how many, batch by batch.

    What they made stays: told again, the same changes nothing. What was taken back is gone from
    its webhook too, and stays taken back.
    """
    in_turn, last = webhooks.order_by("pk"), 0
    while pks := list(in_turn.filter(pk__gt=last).values_list("pk", flat=True)[:BATCH]):
        rows = WebhookEvent.objects.filter(pk__in=pks)
        rows.update(state=State.PENDING, due_at=timezone.now(), lease=None, attempts=0)
        inbound.process.hint()
        yield len(pks)
        last = pks[-1]
        rest()


def route_again(account: Account, **signal: object) -> None:
    """The account is connected now: what came for it before may be shown."""
    unrouted = InboundEvent.objects.filter(
        account=None, instagram_account_id=account.instagram_account_id
    )
    webhooks = WebhookEvent.objects.filter(pk__in=unrouted.values("webhook"))
    sum(replay(webhooks))


def old() -> QuerySet[WebhookEvent]:
    """What is older than WEBHOOK_RETENTION_DAYS and was read."""
    oldest = timezone.now() - timedelta(days=settings.WEBHOOK_RETENTION_DAYS)
    return WebhookEvent.objects.filter(received_at__lt=oldest).exclude(state=State.PENDING)


def prune() -> int:
    """Delete what is `old`; returns how many."""
    return delete(old())


def _insert_into_postgresql(letter: Letter, deadline: float) -> None:
    """One round trip: statements sent together are one transaction."""
    connection.ensure_connection()  # Which may have to wait for one; the rest of the time counts.
    limit = f"SET LOCAL statement_timeout = {_milliseconds(deadline)}; "
    _insert([letter], limit)


def _insert_into_sqlite(letter: Letter, deadline: float) -> None:
    _waiting.append(letter)
    try:
        with _one_of_us(deadline):
            if not letter.is_stored:  # By somebody whose turn came before.
                _insert_all(deadline)
    finally:
        if not letter.is_stored:  # Whoever sent it will send it again.
            _take_away([letter])


def _insert_all(deadline: float) -> None:
    """Store all that wait, this thread's own among them, as soon as the database is free.

    Until they are stored they go on waiting: when this fails, the next turn is for them too.
    """
    letters = list(_waiting)
    with _no_longer_than(deadline):
        _insert(letters)
    for letter in letters:
        letter.is_stored = True
    _take_away(letters)


def _take_away(letters: list[Letter]) -> None:
    for letter in letters:
        with suppress(ValueError):  # Whoever sent it has given up meanwhile.
            _waiting.remove(letter)


def _insert(letters: list[Letter], before: str = "") -> None:
    adapt = connection.ops.adapt_datetimefield_value
    params = []
    for letter in letters:
        params += [connection.Database.Binary(letter.body), *[adapt(letter.received_at)] * 2]
    with connection.cursor() as cursor:
        cursor.execute(before + INSERT + ", ".join([VALUES] * len(letters)), params)


@contextmanager
def _no_longer_than(deadline: float) -> Iterator[None]:
    usual = connection.patience
    connection.patience = deadline - time.monotonic()
    try:
        yield
    finally:  # Whoever has the connection next waits as usual.
        connection.patience = usual


@contextmanager
def _one_of_us(deadline: float) -> Iterator[None]:
    if not _turn.acquire(timeout=_milliseconds(deadline) / 1000):
        raise Busy("other webhooks are still being written")
    try:
        yield
    finally:
        _turn.release()


def _milliseconds(deadline: float) -> int:
    return max(1, int((deadline - time.monotonic()) * 1000))
