"""Takes a signed webhook in: on disk first, then 200."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import DatabaseError, connection

from . import inbound
from .models import WebhookEvent


class Busy(Exception):
    """The database did not take the event in time; Meta is to send it again."""


_turn = threading.Lock()
"""SQLite has one writer, and its waiting threads back off at random; here they queue instead."""


def accept(body: bytes) -> None:
    """Commit `body`; when this returns, no crash can lose it. Raises Busy after three seconds."""
    deadline = time.monotonic() + settings.DATABASE_WAIT
    try:
        with _one_writer(deadline):
            WebhookEvent.objects.create(body=body)
    except DatabaseError as exc:
        raise Busy(str(exc)) from exc
    inbound.process.hint()


@contextmanager
def _one_writer(deadline: float) -> Iterator[None]:
    if not settings.IS_SQLITE:
        yield
        return
    if not _turn.acquire(timeout=settings.DATABASE_WAIT):
        raise Busy("other webhooks are still being written")
    try:
        # Other processes write too; wait for them only as long as Meta waits for us.
        left = max(0, int((deadline - time.monotonic()) * 1000))
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {left}")
        yield
    finally:
        _turn.release()
