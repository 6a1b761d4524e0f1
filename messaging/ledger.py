"""Takes a signed webhook in: on disk first, then 200."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import OperationalError, connection, transaction

from . import inbound
from .models import WebhookEvent


class Busy(Exception):
    """The database did not take the event in time; Meta is to send it again."""


_turn = threading.Lock()
"""SQLite has one writer, and its waiting threads back off at random; here they queue instead."""

_last_busy = 0.0
"""When (monotonic) a thread last waited in vain. Those behind it do not wait as long again."""


def accept(body: bytes) -> None:
    """Commit `body`; when this returns, no crash can lose it. Raises Busy after three seconds."""
    global _last_busy
    start = time.monotonic()
    is_busy = start - _last_busy < 1
    deadline = start + (0.2 if is_busy else settings.DATABASE_WAIT)
    insert = _insert_into_sqlite if settings.IS_SQLITE else _insert_into_postgresql
    try:
        insert(body, deadline)
    except (DatabaseError, Busy) as exc:
        _last_busy = time.monotonic()
        raise Busy(str(exc)) from exc
    inbound.process.hint()


def _insert_into_postgresql(body: bytes, deadline: float) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {_milliseconds(deadline)}")
        WebhookEvent.objects.create(body=body)


def _insert_into_sqlite(body: bytes, deadline: float) -> None:
    with _one_of_us(deadline), connection.cursor() as cursor:
        # SQLite's own wait sleeps in growing steps and misses the rests of the worker.
        cursor.execute("PRAGMA busy_timeout = 0")
        while True:
            try:
                WebhookEvent.objects.create(body=body)
                return
            except OperationalError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.001)


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
