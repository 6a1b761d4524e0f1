"""How many requests a caller has made this minute, counted where all processes see it.

The task queue's storage counts: it adds one atomically on every backend, and waits for no disk.
When it cannot count, nobody is refused.
"""

import logging
import time

from django.conf import settings
from huey.contrib.djhuey import HUEY

logger = logging.getLogger(__name__)

WINDOW = 60

REST = 5
"""Seconds without counting after it failed: the threads share one connection, so that each would
wait for those before it."""

_resting_until = 0.0


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
    used = _add_one(caller, window)
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


def _add_one(caller: str, window: int) -> int:
    global _resting_until
    if time.monotonic() < _resting_until:
        return 0
    try:
        used = HUEY.storage.incr(f"api:{caller}:{window}")
        if used == 1:
            HUEY.storage.delete_counter(f"api:{caller}:{window - 1}")
    except Exception as exc:  # Each backend raises its own.
        logger.warning("API requests are not counted for %s s: %s", REST, exc)
        _resting_until = time.monotonic() + REST
        return 0
    return used
