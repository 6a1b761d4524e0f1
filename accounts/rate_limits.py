"""How many requests a caller has made this minute, counted where all processes see it.

The task queue's storage counts: it adds atomically on every backend, and waits for no disk. A
process takes a hundredth of the limit at a time and counts that by itself: asking the storage each
time was a twentieth of a request. When it cannot count, nobody is refused.
"""

import logging
import threading
import time
from collections.abc import Iterator

from django.conf import settings
from huey.contrib.djhuey import HUEY

logger = logging.getLogger(__name__)

WINDOW = 60

REST = 5
"""Seconds without counting after it failed: the threads share one connection, so that each would
wait for those before it."""

_resting_until = 0.0

_taken: dict[tuple[str, int], Iterator[int]] = {}
"""By caller and minute, what this process has taken of the count, and not used."""

_taking = threading.Lock()


class LimitReached(Exception):
    """Try again when `headers["Retry-After"]` seconds have passed."""

    def __init__(self, headers: dict[str, str]):
        super().__init__(f"More than {settings.API_RATE_LIMIT:,} requests within a minute.")
        self.headers = headers


def count(caller: str) -> dict[str, str]:
    """Count one request of `caller`; returns the headers that tell how many are left.

    Raises LimitReached for each above API_RATE_LIMIT in a minute.
    """
    limit = settings.API_RATE_LIMIT
    if not limit:
        return {}
    window, passed = divmod(int(time.time()), WINDOW)
    used = _add_one(caller, window, max(limit // 100, 1))
    left = WINDOW - passed
    headers = {
        "RateLimit-Policy": f'"requests";q={limit};w={WINDOW}',
        "RateLimit": f'"requests";r={max(limit - used, 0)};t={left}',
    }
    if used > limit:
        raise LimitReached({**headers, "Retry-After": str(left)})
    return headers


def forget() -> None:
    """Drop all counters, for those of callers who have not come back."""
    HUEY.storage.flush_counters()
    _taken.clear()


def _add_one(caller: str, window: int, block: int) -> int:
    global _resting_until
    if time.monotonic() < _resting_until:
        return 0
    try:
        with _taking:
            used = next(_taken.get((caller, window), iter(())), None)
            return _take(caller, window, block) if used is None else used
    except Exception as exc:  # Each backend raises its own.
        logger.warning("API requests are not counted for %s s: %s", REST, exc)
        _resting_until = time.monotonic() + REST
        return 0


def _take(caller: str, window: int, block: int) -> int:
    """The first of a `block` that is this process's now."""
    last = HUEY.storage.incr(f"api:{caller}:{window}", block)
    if last == block:
        HUEY.storage.delete_counter(f"api:{caller}:{window - 1}")
    for old in [one for one in _taken if one[1] != window]:
        del _taken[old]
    _taken[caller, window] = iter(range(last - block + 2, last + 1))
    return last - block + 1
