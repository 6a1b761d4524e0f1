"""Calls to others, side by side: threads of a pool make them, the thread that asked has the rest.

So one thread alone speaks with the database, a batch at a time, however long others take.
"""

import logging
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Self

logger = logging.getLogger(__name__)


class Calls:
    """Threads for as long as the `with` or the process lasts; they use no database.

    Not an executor of the standard library: that takes a call, and then fails to start a thread for
    it, so nobody knows whether it is made; and it refuses all work before what runs at exit.
    """

    def __init__(self, threads: int, on_end: Callable[[], None] = lambda: None):
        self.most, self.threads = threads, 0
        self.on_end = on_end
        self.work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.over: SimpleQueue[tuple[int, list[tuple[Any, Any]]]] = SimpleQueue()
        """How many threads are free again, and what they found."""
        self.under_way = 0
        """Threads that are taken, as far as `ended` has said."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for _ in range(self.threads):
            self.work.put(None)

    def start(self, what: Any, call: Callable[..., Any], *args: Any) -> None:
        """Make the call as soon as a thread is free; `what` says later which one it was.

        Raises RuntimeError when there is no thread, nor can be one; it is not made then.
        """
        self._hand_over(lambda: self._make(what, call, args))

    def start_several(self, what: Any, calls: Iterator[Any]) -> None:
        """Have one thread make one call after the other, for as long as `calls` gives results.

        Raises as `start` does.
        """
        self._hand_over(lambda: self._make_several(what, calls))

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

    def _hand_over(self, job: Callable[[], None]) -> None:
        if self.under_way >= self.threads and self.threads < self.most:
            self._add_thread()
        self.under_way += 1
        self.work.put(job)

    def _add_thread(self) -> None:
        try:
            Thread(target=self._run, daemon=True, name=f"call-{self.threads}").start()
        except RuntimeError:  # The system gives no more: those that are there have more to do.
            if not self.threads:
                raise
        else:
            self.threads += 1

    def _run(self) -> None:
        while job := self.work.get():
            try:
                job()
            except Exception:
                logger.exception("after a call: nobody was asked to look at what came of it")

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
