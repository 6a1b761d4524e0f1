"""Rows that are jobs: due, claimed by one worker for a while, and settled.

The row is the only truth. The task queue only says when to look: a commit gives a hint, a sweep
every minute looks again, so a lost hint costs a minute and nothing else.
"""

import logging
import multiprocessing.util
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import ClassVar, Self
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connections, models, transaction
from django.db.models import F
from django.utils import timezone
from huey.contrib.djhuey import HUEY, db_task

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
"""How long a worker may be silent before its rows are anybody's again."""


MOMENT = 0.05
"""Seconds between hints that are passed on: those that come meanwhile are one."""

TURN = 5
"""Seconds after which a drain asks anew: a worker that is told to stop waits no longer."""


class QueuedQuerySet(models.QuerySet):
    def due(self) -> Self:
        """Rows that may be worked on now. Each kind of job adds what else it waits for."""
        return self.filter(due_at__lte=timezone.now())

    def claim(self, size: int) -> list["Queued"]:
        """Lease up to `size` due rows to this worker, the oldest first."""
        lease: UUID = uuid4()
        if not self.due().exists():  # Most looks find nothing; they take no lock.
            return []
        with transaction.atomic():
            # SQLite has one writer; PostgreSQL passes over what another worker is taking.
            free = self.due().select_for_update(skip_locked=True, of=("self",))
            chosen = list(free.order_by("due_at", "pk").values_list("pk", flat=True)[:size])
            self.filter(pk__in=chosen).update(
                lease=lease, due_at=timezone.now() + LEASE, attempts=F("attempts") + 1
            )
        return list(self.filter(pk__in=chosen, lease=lease).order_by("pk"))

    def renew(self, rows: Iterable["Queued"]) -> None:
        """Keep claimed rows for another lease."""
        leases = {row.pk: row.lease for row in rows}
        mine = self.filter(pk__in=leases, lease__in=set(leases.values()))
        mine.update(due_at=timezone.now() + LEASE)


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

    Decorates a function that handles one batch of due rows and returns how many it found. One
    worker thread of a process runs it at a time, so no queue takes the threads of another, and
    the rests that it takes are rests.
    """

    all: ClassVar[list["Drain"]] = []

    def __init__(self, work: Callable[[], int]):
        self.all.append(self)
        self.work = work
        self.__doc__ = work.__doc__
        self.name = f"{work.__module__}.{work.__name__}"
        self.waiting = f"waiting:{self.name}".encode()
        self.task = db_task(name=self.name)(self.run)
        self.is_asked = False
        self.later: datetime | None = None
        self.running = threading.Lock()
        self.is_ending = False
        """The process ends: work that takes long begins nothing new."""

    def hint(self) -> None:
        """Once the transaction is committed, ask a worker to look; returns at once.

        Another thread does the asking: the task queue may be slow, and whoever holds the promise
        of a webhook must not wait for it.
        """
        transaction.on_commit(lambda: _messenger.pass_on(self), robust=True)

    def start(self) -> None:
        """Ask a worker to look, whatever was asked before."""
        HUEY.storage.put_data(self.waiting, b"1")
        self.task()

    def start_at(self, moment: datetime) -> None:
        """Ask a worker to look then: a row of which that is known comes due before the sweep."""
        if moment != self.later:
            self.later = moment
            self.task.schedule(eta=moment)

    def run(self) -> None:
        """Work until no row is due."""
        # Forgotten before looking: a row that comes meanwhile gives a hint of its own.
        HUEY.storage.delete_data(self.waiting)
        self.is_asked = True
        # Whoever finds it running leaves the question behind for that one to see.
        while self.is_asked and not self.is_ending and self.running.acquire(blocking=False):
            try:
                self.is_asked = False
                self._take_turn()
            except Exception:
                # A question that came meanwhile is still there to be seen.
                logger.exception("%s: stopped; the rows are looked at again", self.name)
            finally:
                self.running.release()

    def run_dry(self) -> None:
        with self.running:
            while self.work():
                rest()

    def _take_turn(self) -> None:
        until = time.monotonic() + TURN
        while self.work():
            if self.is_ending or time.monotonic() > until:  # Others may go on.
                self.start_unless_waiting()
                return
            rest()

    def was_asked(self) -> bool:
        """Whether somebody asked since this was last said: for work that takes long to end."""
        was_asked, self.is_asked = self.is_asked, False
        return was_asked

    def ask_here(self) -> None:
        """Have this very process look: for what no other one can know."""
        self.is_asked = True  # Whoever runs it at this moment sees that before it ends.
        if not self.running.locked():
            threading.Thread(target=self._run_here, daemon=True, name=self.name).start()

    def end(self, settle: Callable[[], None]) -> None:
        """The process ends: let `settle` write down what is under way, and nobody begin more."""
        self.is_ending = True
        self.running.acquire(timeout=TURN)  # Kept: whoever asks from now on finds it taken.
        settle()

    def _run_here(self) -> None:
        try:
            self.run()
        finally:
            connections.close_all()

    def start_unless_waiting(self) -> None:
        """Ask a worker to look, if none has been asked who has not begun yet."""
        if HUEY.storage.put_if_empty(self.waiting, b"1"):
            self.task()


@HUEY.on_startup()
def go_on() -> None:
    """A thread of the worker begins, perhaps in place of one that died: nobody was told to stop."""
    for drain in Drain.all:
        drain.is_ending = False


@HUEY.on_shutdown()
def end_soon() -> None:
    """A thread of the worker was told to stop: those that are at work begin nothing new."""
    for drain in Drain.all:
        drain.is_ending = True


class _Messenger:
    """One thread per process that passes hints on to the task queue."""

    def __init__(self):
        self.drains: set[Drain] = set()
        self.is_asked = threading.Event()
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()
        self.passing = threading.Lock()
        # Not atexit: what that knows is left out where Granian forked the process.
        multiprocessing.util.Finalize(None, self._end, exitpriority=0)

    def pass_on(self, drain: Drain) -> None:
        self.drains.add(drain)
        self.is_asked.set()
        with self.lock:
            # None yet, or left behind in the process that forked this one.
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self._run, daemon=True, name="hints")
                self.thread.start()

    def _run(self) -> None:
        while True:
            self.is_asked.wait()
            self.is_asked.clear()
            with self.passing:
                self._pass_on_all()
            time.sleep(MOMENT)  # Many webhooks at once are few questions.

    def _pass_on_all(self) -> None:
        for drain in list(self.drains):
            self.drains.discard(drain)  # Before: who gives a hint meanwhile is heard next time.
            try:
                drain.start_unless_waiting()
            except Exception:
                logger.warning("a hint was lost; the sweep will look", exc_info=True)

    def _end(self) -> None:
        """Pass on what is left. A hint that is marked as given and was not would keep all others
        silent for a minute, so none is begun from now on."""
        if self.passing.acquire(timeout=TURN):  # Kept. Else the task queue is out of reach.
            self._pass_on_all()


_messenger = _Messenger()


def ask_storage() -> int:
    """How many hints wait in the task queue; raises whatever its storage does when out of reach."""
    return HUEY.storage.queue_size()


def prepare() -> None:
    """Make the tables of the task queue, where it keeps some: a hint needs them."""
    if hasattr(HUEY.storage, "initialize_schema"):
        HUEY.storage.initialize_schema()


def rest() -> None:
    """Let others write: SQLite has one writer, and the webhook waits for it at most 3 s."""
    if settings.IS_SQLITE:
        time.sleep(0.01)
