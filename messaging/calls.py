"""Calls to others, side by side: threads of a pool make them, the thread that asked has the rest.

So one thread alone speaks with the database, a batch at a time, however long others take.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Self


class Calls:
    """A pool of threads, for as long as the `with` or the process lasts; they use no database."""

    def __init__(self, threads: int, on_end: Callable[[], None] = lambda: None):
        self.on_end = on_end
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self.over: SimpleQueue[tuple[int, list[tuple[Any, Any]]]] = SimpleQueue()
        """How many threads are free again, and what they found."""
        self.under_way = 0
        """Threads that are taken, as far as `ended` has said."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def start(self, what: Any, call: Callable[..., Any], *args: Any) -> None:
        """Make the call as soon as a thread is free; `what` says later which one it was."""
        self.under_way += 1
        self.pool.submit(self._make, what, call, args)

    def start_several(self, what: Any, calls: Iterator[Any]) -> None:
        """Have one thread make one call after the other, for as long as `calls` gives results."""
        self.under_way += 1
        self.pool.submit(self._make_several, what, calls)

    def ended(self, patience: float) -> list[tuple[Any, Any]]:
        """What was started and is over, with its result, or the exception that it raised.

        Waits up to `patience` seconds for the first.
        """
        found = []
        try:
            free, news = self.over.get(timeout=patience) if self.under_way else (0, [])
            while True:
                self.under_way -= free
                found += news
                free, news = self.over.get_nowait()
        except Empty:
            return found

    def _make(self, what: Any, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result = call(*args)
        except Exception as exc:
            result = exc
        self.over.put((1, [(what, result)]))
        self.on_end()

    def _make_several(self, what: Any, calls: Iterator[Any]) -> None:
        end: list[tuple[Any, Any]] = []
        try:
            for result in calls:
                self.over.put((0, [(what, result)]))
        except Exception as exc:
            end = [(what, exc)]
        self.over.put((1, end))
        self.on_end()
