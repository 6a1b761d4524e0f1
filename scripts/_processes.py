"""The processes of one start, and their end: however the launcher ends, none stays behind.

A second program, the guardian, holds the other end of a pipe from the launcher. When that
closes, by kill -9 too, the guardian ends what the launcher left running.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

PATIENCE = 16
"""Seconds until a process is killed: one more than the worker gives to the task in hand."""

IS_WINDOWS = os.name == "nt"
OWN_GROUP = (
    {"creationflags": 0x200}  # CREATE_NEW_PROCESS_GROUP
    if IS_WINDOWS
    else {"start_new_session": True}  # Ctrl+C and a closed terminal reach the launcher alone.
)


class Processes:
    """What runs, by name. Leaving the `with` block ends all of it."""

    def __init__(self, folder: Path, database: str | None):
        self.folder, self.database = folder, database
        self.running: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Processes":
        self._guardian = self._start_guardian()
        return self

    def __exit__(self, *exc: object) -> None:
        end_all([process.pid for process in self.running.values()], reap=self.ended)
        for process in self.running.values():
            process.wait()
        checkpoint(self.database)
        self._guardian.kill()  # Nothing is left to guard.
        self._guardian.wait()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        # The child itself tells the guardian, before it turns into the program: there is no
        # moment at which it runs unknown. Windows cannot do that.
        unborn = {} if IS_WINDOWS else {"preexec_fn": lambda: self._watch(os.getpid())}
        self.running[name] = subprocess.Popen(  # noqa: S603  (the launcher's own commands)
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            **OWN_GROUP,
            **unborn,
        )
        if IS_WINDOWS:
            self._watch(self.running[name].pid)

    def ended(self) -> list[str]:
        """The names of those that run no more."""
        return [name for name, process in self.running.items() if process.poll() is not None]

    def keep_guarded(self) -> None:
        """A new guardian, should somebody have killed the first."""
        if self._guardian.poll() is not None:
            self._guardian = self._start_guardian()
            for process in self.running.values():
                self._watch(process.pid)

    def _start_guardian(self) -> subprocess.Popen:
        guardian = subprocess.Popen(  # noqa: S603  (this file)
            [sys.executable, __file__], stdin=subprocess.PIPE, bufsize=0, **OWN_GROUP
        )
        with suppress(BrokenPipeError):
            guardian.stdin.write(f"{self.database or ''}\n".encode())
        return guardian

    def _watch(self, pid: int) -> None:
        with suppress(BrokenPipeError):  # Without a guardian the launcher still ends its own.
            self._guardian.stdin.write(f"{pid}\n".encode())


def end_all(pids: Sequence[int], reap: Callable[[], object] = lambda: None) -> None:
    """Ask each process to end, wait, and kill what is left of it and of its children."""
    if IS_WINDOWS:
        for pid in pids:
            command = ["taskkill", "/T", "/F", "/PID", str(pid)]
            subprocess.run(command, capture_output=True)  # noqa: S603  (numbers only)
        return
    send, left = os.kill, list(pids)  # First the leaders: each ends its own in good order.
    for _ in range(PATIENCE):
        for pid in left:
            _signal(send, pid, signal.SIGTERM)
        left = _left_after_a_second(left, reap)
        send = os.killpg  # A child that was just starting may not have heard of it.
    for pid in left:
        _signal(os.killpg, pid, signal.SIGKILL)


def checkpoint(database: str | None) -> None:
    """Bring every row into the SQLite file itself, so that a copy of that one file is whole."""
    if not database:
        return
    with suppress(sqlite3.Error):  # Missing, or another start of the site still uses it.
        uri = f"{Path(database).as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def guard() -> None:
    """The guardian: wait until the launcher is gone, then tidy up after it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    database, *pids = sys.stdin.read().splitlines()
    end_all([int(pid) for pid in pids])
    checkpoint(database)


def _left_after_a_second(pids: list[int], reap: Callable[[], object]) -> list[int]:
    """Those whose group still has somebody; sooner, when that is nobody."""
    until = time.monotonic() + 1
    while pids and time.monotonic() < until:
        time.sleep(0.05)
        reap()
        pids = [pid for pid in pids if _signal(os.killpg, pid, 0)]
    return pids


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> bool:
    """Whether there was anybody to receive it."""
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of one that has ended.
        return False
    return True


if __name__ == "__main__":
    guard()
