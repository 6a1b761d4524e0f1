"""Forwarding: deliveries signed and posted to the owners' CRMs, in order and at least once.

One thread leases endpoints, reads what is due and writes down what came of it, a batch at a time;
the threads of a pool post (`lanes`), and know no database. A worker that dies between a post and
its record leaves a row that is posted once more, under the same id.
"""

import atexit
import logging
import time
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Min, Q, QuerySet
from django.utils import timezone

from .calls import Calls
from .delivery_outcomes import settle
from .lanes import IN_FLIGHT, Lane
from .models import CrmEndpoint, Delivery
from .posting import Outcome
from .pruning import delete
from .queues import LEASE, TURN, Drain, rest

logger = logging.getLogger(__name__)

State = Delivery.State

LANES = 50
"""Endpoints that one worker posts to at a time."""

LANE_TURN = 5.0
"""Seconds after which an endpoint makes room, when all lanes are taken."""

RECORDED = 50
RECORDED_AFTER = 0.05
"""Outcomes in one transaction, and how long (in seconds) the first of them may wait for others."""

MOMENT = 0.02
LOOK_AGAIN = 1.0
SWEEP = timedelta(minutes=1)
HALF_A_LEASE = LEASE.total_seconds() / 2

PATIENCE = 15.0
"""Seconds: no post takes longer."""


@Drain
def forward() -> int:
    """Post whatever is due, for a turn; returns 0 once nothing is, since it looked again itself.

    So a worker that is told to stop can. A post may outlast the turn: the next one goes on with it,
    and a receiver that hangs holds up nobody else.
    """
    return _office.work()


def old() -> QuerySet[Delivery]:
    """What was forwarded before WEBHOOK_RETENTION_DAYS.

    Also what waits for an endpoint that is switched off. What waits for one that is not may still
    be wanted.
    """
    oldest = timezone.now() - timedelta(days=settings.WEBHOOK_RETENTION_DAYS)
    rows = Delivery.objects.filter(created_at__lt=oldest)
    may_go_out = Q(state=State.WAITING, due_at__isnull=False, endpoint__is_enabled=True)
    return rows.exclude(may_go_out)


def prune() -> int:
    """Delete what is `old`; returns how many deliveries went."""
    return delete(old())


@Drain
def clear() -> int:
    """Delete endpoints that are to go, their deliveries first; returns how many went."""
    gone = list(CrmEndpoint.objects.exclude(deleted_at=None))
    for endpoint in gone:
        delete(endpoint.deliveries.all())
        endpoint.delete()
    return len(gone)


class _Office:
    """The lanes of this worker, and the one thread that keeps their books."""

    def __init__(self, calls: Calls):
        self.calls = calls
        self.lanes: dict[int, Lane] = {}
        self.served: set[int] = set()
        self.outcomes: list[Outcome] = []
        self.first_at = 0.0
        self.look_at = 0.0
        self.renew_at = time.monotonic() + HALF_A_LEASE

    def work(self) -> int:
        """Post for a turn; returns 1 if there may be more, 0 once nothing is due or under way."""
        until = time.monotonic() + TURN
        self.served = set(self.lanes)
        self.look_at = 0.0  # Somebody asked, else there were no turn.
        try:
            while time.monotonic() < until and not forward.is_ending:
                self._look()
                if not (self.lanes or self.calls.under_way):
                    self._come_back()
                    return 0
                for lane in self.lanes.values():
                    lane.read()
                    lane.start(self.calls)
                self._collect()
                self._record()
                self._let_go(lane for lane in self.lanes.values() if lane.is_idle)
        except Exception:
            # Nobody may look again for a while, and nobody else knows what came of them.
            connection.close_if_unusable_or_obsolete()
            self.pause(PATIENCE)
            raise
        self.pause()
        self._come_back()
        return 1

    def pause(self, patience: float = 0.0) -> None:
        """Write down what is over, and let go of every endpoint to which nothing is under way.

        Waits up to `patience` seconds for what is.
        """
        until = time.monotonic() + patience
        for lane in self.lanes.values():
            lane.stop()
        while self.calls.under_way and time.monotonic() < until:
            self._collect()
        self._record(at_once=True)
        self._let_go(lane for lane in self.lanes.values() if lane.is_at_rest)

    def _look(self) -> None:
        """Lease what has something due, when somebody asked or a while has passed."""
        now = time.monotonic()
        if now > self.renew_at:
            leases = [lane.lease for lane in self.lanes.values()]
            until = timezone.now() + LEASE
            CrmEndpoint.objects.filter(lease__in=leases).update(leased_until=until)
            self.renew_at = now + HALF_A_LEASE
        is_asked = forward.was_asked()
        if self.lanes and not is_asked and now < self.look_at:
            return
        self.look_at = now + LOOK_AGAIN
        for lane in self.lanes.values():
            lane.may_have_more = True
        if len(self.lanes) == LANES:  # Others may wait: whoever had its turn comes again later.
            for lane in self.lanes.values():
                lane.is_over |= now - lane.began > LANE_TURN
        for endpoint in CrmEndpoint.objects.claim(LANES - len(self.lanes)):
            self.lanes[endpoint.pk] = Lane(endpoint)
            self.served.add(endpoint.pk)

    def _collect(self) -> None:
        for lane, outcome in self.calls.ended(MOMENT):
            if isinstance(outcome, Exception):  # A fault of ours: it must not stop the others.
                logger.error("endpoint %s: not posted to", lane.endpoint.pk, exc_info=outcome)
                self._abandon(lane.endpoint.pk)
                continue
            if not self.outcomes:
                self.first_at = time.monotonic()
            self.outcomes.append(outcome)

    def _record(self, *, at_once: bool = False) -> None:
        """Write down what is over, once there is enough of it or nothing else to do."""
        if not self.outcomes:
            return
        is_enough = len(self.outcomes) >= RECORDED
        is_late = time.monotonic() - self.first_at > RECORDED_AFTER
        if not (at_once or is_enough or is_late or not self.calls.under_way):
            return
        try:
            settle(self.outcomes)
        except DatabaseError as exc:  # Nobody else knows it: it is kept, and tried again.
            logger.warning("outcomes of forwarding are not written yet: %s", type(exc).__name__)
            connection.close_if_unusable_or_obsolete()
            time.sleep(0.2)
            return
        except Exception:  # A fault of ours.
            for one in self.outcomes:
                self._abandon(one.delivery.endpoint_id)
            self.outcomes = []
            raise
        for lane in self.lanes.values():
            lane.written([one for one in self.outcomes if one.delivery.pk in lane.taken])
        self.outcomes = []
        rest()

    def _abandon(self, endpoint: int) -> None:
        """Its lease says when it is tried again."""
        if lane := self.lanes.pop(endpoint, None):
            lane.stop()

    def _let_go(self, lanes: Iterable[Lane]) -> None:
        for lane in (lanes := list(lanes)):
            for line in lane.lines:
                line.close()
        if leases := [lane.lease for lane in lanes]:
            # Claimed together, several have the same lease.
            pks = [lane.endpoint.pk for lane in lanes]
            mine = CrmEndpoint.objects.filter(pk__in=pks, lease__in=leases)
            # Whoever was served last is served again last.
            mine.update(lease=None, leased_until=timezone.now())
        for lane in lanes:
            del self.lanes[lane.endpoint.pk]

    def _come_back(self) -> None:
        """A first retry is due after seconds: the sweep would come late for it."""
        now = timezone.now()
        soon = Delivery.objects.waiting().filter(
            endpoint__in=self.served, due_at__range=(now, now + SWEEP)
        )
        if moment := soon.aggregate(first=Min("due_at"))["first"]:
            forward.start_at(moment)


def _go_on() -> None:
    """A post ended after the turn in which it began: this process alone knows what came of it."""
    if not forward.running.locked():
        forward.ask_here()


_office = _Office(Calls(LANES * IN_FLIGHT, on_end=_go_on))
"""Of this process. The thread that runs the drain alone touches it."""


def _settle_all() -> None:
    """Wait for the posts under way, and write down what became of them."""
    if _office.lanes or _office.calls.under_way:
        _office.pause(PATIENCE)


atexit.register(lambda: forward.end(_settle_all))
