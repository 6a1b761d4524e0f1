"""Every web and worker process says, while it lives, which secrets it holds and what it sees."""

import atexit
import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone

from . import verdict
from .keyring import Key, get_keyring
from .models import Process

logger = logging.getLogger(__name__)

FORGET = timedelta(days=1)


def living() -> list[Process]:
    """Processes that were seen lately; one that can be looked for must also still exist."""
    here = (socket.gethostname(), _pid_namespace())
    return [
        one
        for one in Process.objects.alive()
        if (one.host, one.pid_namespace) != here or _exists(one.pid)
    ]


def living_without(key: Key) -> list[Process]:
    """Those whose ring does not hold `key`."""
    return [one for one in living() if key.fingerprint not in one.fingerprints]


class Heartbeat:
    """One process's row, renewed by a thread of its own until the process ends."""

    def __init__(self, kind: str, between: Callable[[], None] = lambda: None):
        """`between` is called before each beat but the first."""
        self.kind, self.between = kind, between
        self.row: Process | None = None

    def start(self) -> None:
        """Say it once now, before this process serves, and from now on regularly."""
        self._try(self.beat)
        atexit.register(self.stop)
        threading.Thread(target=self._run, daemon=True, name="heartbeat").start()

    def beat(self) -> None:
        """Look at the secret once more, and write down that this process is alive."""
        found = verdict.look()
        verdict.announce(found)
        with suppress(DatabaseError):  # Announced already, as a database out of reach.
            self._write(found)

    def stop(self) -> None:
        with suppress(DatabaseError):
            if self.row and self.row.pk:  # Else no beat was written.
                self.row.delete()

    def _write(self, found: verdict.Verdict) -> None:
        now = timezone.now()
        if self.row is None:
            Process.objects.filter(seen_at__lt=now - FORGET).delete()
            self.row = Process(
                kind=self.kind,
                host=socket.gethostname(),
                pid=os.getpid(),
                pid_namespace=_pid_namespace(),
                fingerprints=[key.fingerprint for key in get_keyring().keys],
            )
        self.row.seen_at, self.row.verdict = now, found.state
        self.row.save()

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(Process.BEAT.total_seconds()):
            self._try(self.between)
            self._try(self.beat)

    def _try(self, act: Callable[[], None]) -> None:
        """What goes wrong here stops neither the process nor the next beat."""
        try:
            act()
        except Exception:
            logger.exception("the heartbeat missed one beat")
        finally:
            connection.close()


def _pid_namespace() -> str:
    """Containers may share a host's name, and count their processes each from 1."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    if os.name == "nt":
        return True  # There is no asking without ending it; silence tells.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It is somebody else's.
        return True
    return True
