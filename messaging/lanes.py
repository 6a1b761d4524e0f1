"""What waits for one endpoint, and the posts to it: two at a time, and none before its turn.

The thread that keeps the books reads and writes down; the threads that post take one delivery
after the other from here, and wait for no database between an answer and the next post.
"""

import time
from collections import deque
from collections.abc import Iterator
from threading import Lock

from django.db.models import Q
from django.utils import timezone

from .calls import Calls
from .models import CrmEndpoint, Delivery, SecretUnreadable
from .posting import KeptLine, Outcome, attempt
from .queues import LEASE

IN_FLIGHT = 2
"""Posts to one endpoint at a time."""

BATCH = 100
FRESH = 2.0
"""Seconds: what was read longer ago is read again before it is posted. It may have been taken
back since, and the endpoint changed or switched off."""


class Lane:
    """An endpoint that this worker has leased: what waits for it, and what is under way to it.

    The thread that keeps the books calls everything but `posts`. Under `lock` is what both
    change; no query is made under it.
    """

    def __init__(self, endpoint: CrmEndpoint):
        self.endpoint = endpoint
        self.lease = endpoint.lease
        self.keys: list[str] = []
        self.lock = Lock()
        self.lines = [KeptLine() for _ in range(IN_FLIGHT)]
        """Those over which nothing is under way."""
        self.waiting: deque[Delivery] = deque()
        self.read_at = 0.0
        self.taken: set[int] = set()
        """Under way, or over and not yet written down."""
        self.busy: set[int] = set()
        """Conversations of which one is under way, or has failed."""
        self.must_rest = False
        """The receiver asked for it, or is gone; the database is yet to be told."""
        self.may_have_more = True
        self.began, self.is_over = time.monotonic(), False

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way, or still to be written down."""
        return not self.taken and len(self.lines) == IN_FLIGHT

    @property
    def is_idle(self) -> bool:
        return self.is_at_rest and (self.is_over or not (self.waiting or self.may_have_more))

    def read(self) -> None:
        """What is due, unless what was read is enough, and fresh."""
        if self.is_over:
            self.stop()
            return
        is_old = time.monotonic() - self.read_at > FRESH
        is_enough = len(self.waiting) > BATCH // 2 or not self.may_have_more
        if (is_enough and not is_old) or not (self.waiting or self.may_have_more):
            return
        with self.lock:
            self.may_have_more = False
            if is_old:
                self.waiting.clear()
        if not self._look_at_endpoint():
            self.stop()
            return
        read_at, taken = time.monotonic(), set(self.taken)
        due = list(self.endpoint.deliveries.due().exclude(pk__in=taken).in_turn()[:BATCH])
        with self.lock:  # Some of these were perhaps taken during the query.
            self.waiting = deque(one for one in due if one.pk not in self.taken)
            self.may_have_more |= len(due) == BATCH
            self.read_at = read_at

    def start(self, calls: Calls) -> None:
        """Have as many post as may, if one can now."""
        while line := self._free_line():
            try:
                calls.start_several(self, self.posts(line))
            except RuntimeError:
                with self.lock:
                    self.lines.append(line)
                raise

    def stop(self) -> None:
        """Begin no other post."""
        with self.lock:
            self.waiting.clear()

    def posts(self, line: KeptLine) -> Iterator[Outcome]:
        """Post one after the other over `line`, until none may go out now: of a thread that posts.

        Knows no database.
        """
        while one := self._next(line):
            outcome = attempt(line, self.endpoint, self.keys, one)
            self._heed(outcome)
            yield outcome

    def written(self, outcomes: list[Outcome]) -> None:
        """These are written down."""
        with self.lock:
            for one in outcomes:
                self.taken.discard(one.delivery.pk)
                if not one.is_success:
                    key = one.delivery.order_key
                    self.busy.discard(key)
                    self.waiting = deque(w for w in self.waiting if w.order_key != key)
                    self.may_have_more = True
                if _asks_for_rest(one):
                    self.must_rest = False
                    self.waiting.clear()
            self.may_have_more |= bool(outcomes) and not self.waiting

    def _free_line(self) -> KeptLine | None:
        with self.lock:
            can_start = self.lines and not self.must_rest
            if can_start and any(one.order_key not in self.busy for one in self.waiting):
                return self.lines.pop()
            return None

    def _next(self, line: KeptLine) -> Delivery | None:
        """The first that may go out now; `line` is free again when there is none."""
        with self.lock:
            if not self.must_rest and time.monotonic() - self.read_at <= FRESH:
                for place, one in enumerate(self.waiting):
                    if one.order_key not in self.busy:
                        del self.waiting[place]
                        self.busy.add(one.order_key)
                        self.taken.add(one.pk)
                        return one
            self.lines.append(line)
            return None

    def _heed(self, outcome: Outcome) -> None:
        with self.lock:
            if outcome.is_success:  # Else what comes after it may have to wait: the database says.
                self.busy.discard(outcome.delivery.order_key)
            elif _asks_for_rest(outcome):
                self.must_rest = True

    def _look_at_endpoint(self) -> bool:
        """Whether it may still be posted to, as it is now."""
        rows = CrmEndpoint.objects.listening().filter(pk=self.endpoint.pk, lease=self.lease)
        rows = rows.filter(Q(paused_until=None) | Q(paused_until__lte=timezone.now()))
        found = rows.first()
        if found is None:
            return False
        try:
            self.keys = found.secrets()
        except SecretUnreadable as exc:
            pause = {"paused_until": timezone.now() + LEASE, "problem": str(exc)}
            CrmEndpoint.objects.filter(pk=found.pk).update(**pause)
            return False
        if found.problem:  # A key opens it again.
            CrmEndpoint.objects.filter(pk=found.pk).update(problem="")
        self.endpoint = found
        return True


def _asks_for_rest(outcome: Outcome) -> bool:
    return not outcome.is_success and (outcome.rest is not None or outcome.is_gone)
