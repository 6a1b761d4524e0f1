"""start.py as a person runs it: real processes, in a copy of the project, on free ports."""

import itertools
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

from ..waiting import A_WHILE, eventually, free_port

ROOT = Path(__file__).resolve().parents[2]
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", ".env", "*.db", "*.db-*", "media", "staticfiles", "backups", "sandbox.json"
)


class Start:
    """One run of start.py, in the tests' virtual environment; what it started dies with it."""

    number = itertools.count()

    def __init__(self, project: Path, *options: str, **environment: str):
        log = project.parent / f"start-{next(self.number)}"
        self.output_path, self.errors_path = log.with_suffix(".out"), log.with_suffix(".err")
        with open(self.output_path, "wb") as output, open(self.errors_path, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "scripts/start.py", *options],
                cwd=project,
                env={"PATH": os.environ["PATH"], "HOME": str(project)} | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        self.pids: list[int] = []

    def __enter__(self) -> "Start":
        return self

    def __exit__(self, *exc: object) -> None:
        for pid in {self.process.pid, *self.pids, *descendants(self.process.pid)}:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    @property
    def errors(self) -> str:
        return self.errors_path.read_text()

    def until_it_runs(self) -> "Start":
        eventually(
            lambda: "InstaMsg runs." in self.output or self.process.poll() is not None, A_WHILE
        )
        assert self.process.poll() is None, self.errors
        self.pids = descendants(self.process.pid)
        return self

    def child(self, words: str) -> int:
        return next(pid for pid in self.pids if words in command_line(pid))

    def exit_code(self, seconds: float = 30) -> int:
        return self.process.wait(seconds)

    def nothing_is_left(self) -> bool:
        return not any(map(is_running, [self.process.pid, *self.pids]))


def copy_of_the_project(folder: Path) -> Path:
    return shutil.copytree(ROOT, folder / "copy", ignore=NOT_SOURCE)


def run(project: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
    """start.py until its end; a start that should fail must not hang."""
    with Start(project, *options, **environment) as start:
        code = start.exit_code(A_WHILE)
    return subprocess.CompletedProcess(start.process.args, code, start.output, start.errors)


def neighbouring_free_ports() -> int:
    """A free port for the site, with the sandbox's 100 above it free as well."""
    while True:
        port = free_port()
        with suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port + 100)):
            return port


def descendants(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [found for child in map(int, children) for found in [child, *descendants(child)]]
    return []


def command_line(pid: int) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def is_running(pid: int) -> bool:
    """A process that has ended and that nobody asked about is not."""
    return command_line(pid) != ""


def settings_in(path: Path) -> dict[str, str]:
    lines = [line.partition("=") for line in path.read_text().splitlines()]
    return {name: value for name, equals, value in lines if equals and not name.startswith("#")}


def users_in(project: Path, folder: Path) -> list[str]:
    """The users in a copy of the one database file, as the old guide's `cp` would keep them."""
    copy = shutil.copy(project / "instagram_automation.db", folder / "backup.db")
    with closing(sqlite3.connect(copy)) as connection:
        return [name for (name,) in connection.execute("SELECT username FROM users")]
