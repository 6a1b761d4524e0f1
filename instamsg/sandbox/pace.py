"""How many calls a second: counted for each account, by the wall clock."""

from __future__ import annotations

import time
from collections import defaultdict, deque


class Pace:
    def __init__(self) -> None:
        self._calls: defaultdict[str, deque[float]] = defaultdict(deque)

    def allows(self, who: str, rate: float) -> bool:
        """Whether one more call of `who` stays within `rate` a second. 0 is without a limit."""
        if not rate:
            return True
        calls, now = self._calls[who], time.monotonic()
        while calls and now - calls[0] >= 1:
            calls.popleft()
        if len(calls) >= rate:
            return False
        calls.append(now)
        return True
