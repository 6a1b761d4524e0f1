"""Calls to others, side by side: threads of a pool make them, the thread that asked has the rest.

So one thread alone speaks with the database, a batch at a time, however long others take.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Self


class Calls:
    """A pool of threads, for as long as the `with` or the process lasts; they use no database."""

    def __init__(self, threads: int, on_end: Callable[[], None] = lambda: None):
        self.on_end = on_end
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self.over: SimpleQueue[tuple[Any, Future]] = SimpleQueue()
        self.under_way = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def start(self, what: Any, call: Callable[..., Any], *args: Any) -> None:
        """Make the call as soon as a thread is free; `what` says later which one it was."""
        future = self.pool.submit(call, *args)
        self.under_way += 1
        future.add_done_callback(partial(self._note, what))

    def ended(self, patience: float) -> list[tuple[Any, Any]]:
        """What was started and is over, with its result, or the exception that it raised.

        Waits up to `patience` seconds for the first.
        """
        found = []
        try:
            found.append(self.over.get(timeout=patience) if self.under_way else None)
            while True:
                found.append(self.over.get_nowait())
        except Empty:
            pass
        found = [one for one in found if one]
        self.under_way -= len(found)
        return [(what, future.exception() or future.result()) for what, future in found]

    def _note(self, what: Any, future: Future) -> None:
        self.over.put((what, future))
        self.on_end()
