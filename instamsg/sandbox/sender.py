"""The queue of webhooks: in order within a conversation, retried until the site says 200."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from . import webhooks
from .settings import Settings

# One slow answer holds one worker; the others carry on.
WORKERS = 16
# How long an event waits for others to share its POST, or to be overtaken.
GATHERING = 0.1


# Compared by identity: two copies of an event are equal and are still two.
@dataclass(eq=False)
class Delivery:
    lane: str
    notice: webhooks.Notice
    on_settled: Callable[[bool], None]
    group: int  # copies of one event share it
    overtaken: bool = False
    under_way: bool = False
    dropped: bool = False
    attempts: int = 0
    started: float = field(default_factory=time.monotonic)
    tried: threading.Event = field(default_factory=threading.Event)


class Sender:
    """A pool that posts deliveries. A lane is one conversation: its next waits for its first."""

    def __init__(
        self,
        url: Callable[[], str],
        secret: str,
        settings: Callable[[], Settings],
        on_attempt: Callable[[bool], None],
    ) -> None:
        self._url, self._secret, self._settings = url, secret, settings
        self._on_attempt = on_attempt
        # Workers and those who wait for silence share a lock, but must not take each other's calls.
        self._lock = threading.Lock()
        self._wake, self._idle = threading.Condition(self._lock), threading.Condition(self._lock)
        self._stopped = False
        self._lanes: dict[str, deque[Delivery]] = {}
        self._due: list[tuple[float, int, str]] = []
        self._serial = self._promised = self._counted = self._posting = 0
        self.delivered = self.failed = self.lost = 0

    def start(self) -> None:
        for number in range(WORKERS):
            threading.Thread(target=self._work, name=f"webhook-{number}", daemon=True).start()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._wake.notify_all()

    def clear(self) -> None:
        """Forget what is waiting; an attempt under way ends without a consequence."""
        with self._lock:
            self._drop_all()
            self.delivered = self.failed = self.lost = self._counted = 0

    def abandon(self) -> None:
        """Give up what is waiting: none of it was taken, and each learns it."""
        with self._lock:
            waiting = self._drop_all()
            self.failed += len(waiting)
        for delivery in waiting:
            delivery.on_settled(False)
            delivery.tried.set()

    def count_anew(self) -> None:
        """The next event is the first of those of which every nth is lost."""
        with self._lock:
            self._counted = 0

    @property
    def pending(self) -> int:
        with self._lock:
            return sum(len(lane) for lane in self._lanes.values())

    def wait_until_idle(self, timeout: float) -> bool:
        """Whether it comes to that: nothing waits or is under way, not even what was forgotten."""

        def is_idle() -> bool:
            return not (self._lanes or self._promised or self._posting)

        with self._lock:
            return self._idle.wait_for(is_idle, timeout)

    def promise(self) -> Callable[[], None]:
        """Count as not idle until the returned function is called: an echo is still to come."""

        def kept() -> None:
            with self._lock:
                self._promised -= 1
                self._idle.notify_all()

        with self._lock:
            self._promised += 1
        return kept

    def send(
        self, lane: str, notice: webhooks.Notice, on_settled: Callable[[bool], None]
    ) -> Delivery | None:
        """Queue an event, with copies when the settings ask for them; None when it is lost."""
        settings = self._settings()
        with self._lock:
            if self._is_lost(settings):
                return None
            self._serial += 1
            group = self._serial
            copies = [
                Delivery(lane, notice, on_settled, group) for _ in range(1 + settings.duplicates)
            ]
            if lane not in self._lanes:
                self._lanes[lane] = deque()
                self._schedule(lane, _hold(settings))
            place = _overtake if settings.reorder == "pairs" else deque.extend
            place(self._lanes[lane], copies)
        return copies[0]

    def _is_lost(self, settings: Settings) -> bool:
        if not settings.lose:
            return False
        self._counted += 1
        lost = self._counted % settings.lose == 0
        self.lost += lost
        return lost

    def _schedule(self, lane: str, delay: float) -> None:
        self._serial += 1
        heapq.heappush(self._due, (time.monotonic() + delay, self._serial, lane))
        self._wake.notify()

    def _work(self) -> None:
        while taken := self._next():
            settings = self._settings()
            body = webhooks.body_of([delivery.notice for delivery in taken])
            headers = webhooks.signature_headers(self._secret, body)
            answer = webhooks.post(self._url(), body, headers, settings.timeout)
            self._on_attempt(answer.status == 200)
            self._settle(taken, answer.status == 200, settings)

    def _next(self) -> list[Delivery]:
        """Wait for the next lane that is due; nothing when it is time to stop."""
        with self._lock:
            while not self._stopped:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._posting += 1
                    return self._take(heapq.heappop(self._due)[2])
                self._wake.wait(wait)
        return []

    def _take(self, lane: str) -> list[Delivery]:
        """The first of this lane, and with it what may share its POST. Hold the lock."""
        taken = [self._lanes[lane][0]]
        room = 1 if taken[0].attempts else self._settings().batch
        if room == 1:
            taken[0].under_way = True
            return taken
        # A lane whose first was refused before waits for its own turn.
        others = [name for _, _, name in sorted(self._due) if not self._lanes[name][0].attempts]
        waiting = [each for name in (lane, *others) for each in self._lanes[name]]
        taken += [each for each in waiting[1:] if not each.attempts][: room - 1]
        for delivery in taken:
            delivery.under_way = True
        lanes = {delivery.lane for delivery in taken}
        self._due = [each for each in self._due if each[2] not in lanes]
        heapq.heapify(self._due)
        return taken

    def _settle(self, taken: list[Delivery], accepted: bool, settings: Settings) -> None:
        final = []
        for delivery in taken:
            delivery.attempts += 1
            delivery.under_way = False
            gone = time.monotonic() - delivery.started > settings.give_up_after
            if (accepted or gone) and not delivery.dropped:
                final.append(delivery)
                # Without the lock: it takes the world's, and those who hold that one send.
                delivery.on_settled(accepted)
        with self._lock:
            self._posting -= 1
            self._idle.notify_all()
            final = [delivery for delivery in final if not delivery.dropped]
            for delivery in final:
                self._lanes[delivery.lane].remove(delivery)
            self.delivered += len(final) if accepted else 0
            self.failed += 0 if accepted else len(final)
            for lane in {delivery.lane for delivery in taken if not delivery.dropped}:
                self._carry_on(lane, settings)
        for delivery in taken:
            delivery.tried.set()

    def _carry_on(self, lane: str, settings: Settings) -> None:
        """The next of this lane, or its end. Hold the lock."""
        if self._lanes[lane]:
            attempts = self._lanes[lane][0].attempts
            self._schedule(lane, _pause(settings, attempts) if attempts else _hold(settings))
        else:
            del self._lanes[lane]

    def _drop_all(self) -> list[Delivery]:
        dropped = [delivery for lane in self._lanes.values() for delivery in lane]
        for delivery in dropped:
            delivery.dropped = True
        self._lanes, self._due = {}, []
        self._idle.notify_all()
        return dropped


def _overtake(lane: deque[Delivery], copies: Iterable[Delivery]) -> None:
    """Put these before the last event of the lane, if that one still stands untouched."""
    last = [delivery for delivery in lane if delivery.group == lane[-1].group]
    if not last or any(each.overtaken or each.under_way or each.attempts for each in last):
        lane.extend(copies)
        return
    at = len(lane) - len(last)
    for delivery in copies:
        lane.insert(at, delivery)
    for delivery in (*last, *copies):
        delivery.overtaken = True


def _hold(settings: Settings) -> float:
    gathers = settings.batch > 1 or settings.reorder != "none"
    return max(settings.delay, GATHERING if gathers else 0)


def _pause(settings: Settings, attempts: int) -> float:
    """The pauses of the settings in turn, then the last one again and again."""
    pauses = settings.retries or [30]
    return pauses[min(attempts, len(pauses)) - 1]
