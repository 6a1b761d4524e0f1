"""Real processes that do one thing each, without paying for Django's start each time."""

import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# It imports what is slow and wants no settings; each host then starts in a fifth of the time.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        "tests.rotation.processes",
        "django.core.management",
        "django.contrib.auth",
        "django.db.backends.sqlite3.base",
        "cryptography.fernet",
        "environ",
        "huey.api",
        "psycopg_pool",
        "requests",
        "rich.progress",
    ]
)


@dataclass(frozen=True)
class Done:
    """How a process ended, -9 for a kill, and what it wrote."""

    code: int
    out: str
    err: str


class Host:
    """A process in which Django is set up for one environment; it forks for one job at a time."""

    def __init__(self, environment: dict[str, str], folder: Path):
        self.folder, self.jobs = folder, 0
        self.job: Job | None = None
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(environment, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def start(self, act: Callable[..., None], *args: object) -> "Job":
        self.jobs += 1
        path = self.folder / f"{self.process.pid}-{self.jobs}"
        files = [path.with_suffix(end) for end in (".out", ".err")]
        for file in files:
            file.touch()
        self.pipe.send((files, act, args))
        self.job = Job(self, files, pid=self.pipe.recv())
        return self.job

    @property
    def is_free(self) -> bool:
        return self.job is None

    def close(self) -> None:
        if self.job:  # A test failed, and left it at work.
            self.job.kill(signal.SIGKILL)
        self.pipe.close()
        self.process.join()


class Job:
    """One process at work."""

    def __init__(self, host: Host, files: list[Path], pid: int):
        self.host, self.files, self.pid = host, files, pid

    def wait_for(self, word: str) -> None:
        """Until it has written `word`."""
        end = time.monotonic() + 60
        while word not in self.files[0].read_text():
            assert not self.is_over, self.wait()
            assert time.monotonic() < end, f"it never came to {word}"
            time.sleep(0.001)

    def kill(self, how: int) -> None:
        # Once its host has seen it end, the id may be somebody else's.
        if not self.host.pipe.poll():
            os.kill(self.pid, how)

    @property
    def is_over(self) -> bool:
        return self.host.pipe.poll()

    def wait(self) -> Done:
        assert self.host.pipe.poll(60), "it did not end"
        code = self.host.pipe.recv()
        self.host.job = None
        return Done(code, *(file.read_text() for file in self.files))


def _serve(environment: dict[str, str], pipe) -> None:
    os.environ.clear()
    os.environ.update(environment)
    import django

    django.setup()
    while True:
        try:
            files, act, args = pipe.recv()
        except EOFError:
            return
        pid = os.fork()
        if pid == 0:
            _work(files, act, args)
        pipe.send(pid)
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _work(files: list[Path], act: Callable[..., None], args: tuple) -> None:
    code = 1
    try:
        for descriptor, file in enumerate(files, start=1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), descriptor)
        # What this process inherited may be one of pytest's own.
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
        for handler in logging.root.handlers:
            handler.setStream(sys.stderr)
        act(*args)
        code = 0
    except SystemExit as exc:
        code = int(exc.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        from django.db import connections

        connections.close_all()
        os._exit(code)
