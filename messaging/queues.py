"""Rows that are jobs: due, claimed by one worker for a while, and settled.

The row is the only truth. The task queue only says when to look: a commit gives a hint, a sweep
every minute looks again, so a lost hint costs a minute and nothing else.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Self
from uuid import UUID, uuid4

from django.conf import settings
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone
from huey.contrib.djhuey import HUEY, db_task

LEASE = timedelta(seconds=60)
"""How long a worker may be silent before its rows are anybody's again."""


class QueuedQuerySet(models.QuerySet):
    def due(self) -> Self:
        """Rows that may be worked on now. Each kind of job adds what else it waits for."""
        return self.filter(due_at__lte=timezone.now())

    def claim(self, size: int) -> list["Queued"]:
        """Lease up to `size` due rows to this worker, the oldest first."""
        lease: UUID = uuid4()
        chosen = self.due().order_by("pk").values("pk")[:size]
        # The condition stands outside as well: whoever comes second finds the row taken.
        self.filter(pk__in=chosen).due().update(
            lease=lease, due_at=timezone.now() + LEASE, attempts=F("attempts") + 1
        )
        return list(self.filter(lease=lease).order_by("pk"))


class Queued(models.Model):
    """`due_at` is when the row is looked at (again); NULL once nothing is left to do."""

    due_at = models.DateTimeField(null=True, default=timezone.now, editable=False)
    lease = models.UUIDField(null=True, editable=False)
    attempts = models.PositiveIntegerField(default=0, editable=False)

    objects = QueuedQuerySet.as_manager()

    class Meta:
        abstract = True

    def retry_later(self, delay: timedelta, **changes: object) -> None:
        """Give the row back, due after `delay`, with `changes` to its fields."""
        self.settle(due_at=timezone.now() + delay, **changes)

    def settle(self, *, due_at=None, **changes: object) -> bool:
        """Record an outcome, if the row is still this worker's. False when the lease was lost."""
        changes |= {"due_at": due_at, "lease": None}
        mine = type(self)._base_manager.filter(pk=self.pk, lease=self.lease)
        if not mine.update(**changes):
            return False
        for name, value in changes.items():
            setattr(self, name, value)
        return True


class Drain:
    """A queue's batch function as a task of the workers.

    Decorates a function that handles one batch of due rows and returns how many it found.
    """

    def __init__(self, work: Callable[[], int]):
        self.work = work
        self.waiting = f"waiting:{work.__module__}".encode()
        self.task = db_task(name=work.__module__)(self.run)

    def hint(self) -> None:
        """Once the transaction is committed, ask a worker to look, unless one is asked already."""
        transaction.on_commit(self._enqueue, robust=True)

    def start(self) -> None:
        """Ask a worker to look, whatever was asked before."""
        HUEY.storage.put_data(self.waiting, b"1")
        self.task()

    def run(self) -> None:
        """Work until no row is due."""
        # Forgotten before looking: a row that comes meanwhile gives a hint of its own.
        HUEY.storage.delete_data(self.waiting)
        while self.work():
            rest()

    def _enqueue(self) -> None:
        if HUEY.storage.put_if_empty(self.waiting, b"1"):
            self.task()


def rest() -> None:
    """Let others write: SQLite has one writer, and the webhook waits for it at most 3 s."""
    if settings.IS_SQLITE:
        time.sleep(0.01)
