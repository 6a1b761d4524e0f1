"""What the operator's commands have in common."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from . import backup

MEGABYTE = 1_000_000


class Exit(IntEnum):
    """The exit codes of all commands."""

    DONE = 0
    FAILED = 1  # Nothing was changed.
    USAGE = 2
    FALLBACK = 3
    UNREADABLE = 4
    NOT_CONFIGURED = 5
    PARTLY = 6


def stop(message: object, code: Exit = Exit.FAILED) -> CommandError:
    """The error to raise: one message, and the exit code."""
    return CommandError(str(message), returncode=code)


class RepairCommand(BaseCommand):
    """One that works where the site would refuse to start."""

    requires_system_checks = []

    def count(self, number: int, thing: str) -> str:
        return f"{number:,} {thing}{'' if number == 1 else 's'}"


def add_backup_options(parser) -> None:
    parser.add_argument("--no-backup", action="store_true", help="make no copy of the database")
    parser.add_argument(
        "--backup-dir", type=Path, metavar="FOLDER", help="where the copy of the database goes"
    )


def make_backup(command: BaseCommand, purpose: str, options: dict) -> Path | None:
    if options["no_backup"]:
        return None
    try:
        path = backup.make(purpose, options["backup_dir"])
    except backup.BackupFailed as exc:
        raise stop(
            f"{exc}\nNothing was changed. Make one by other means and go on with --no-backup."
        ) from None
    command.stdout.write(f"Backup: {path}")
    return path


class Meter:
    """How far a long work is: a bar with rate and time left, or a line now and then."""

    SECONDS = 5
    """Between two lines where there is no terminal."""

    def __init__(self, command: BaseCommand, title: str, total: int):
        self.command, self.title, self.total = command, title, total
        self.done, self.started = 0, time.monotonic()
        self.next_line = self.started + self.SECONDS
        self.bar: Progress | None = None

    @contextmanager
    def shown(self) -> Iterator["Meter"]:
        # Results go to stdout, so the bar does not.
        console = Console(file=sys.stderr)
        if not console.is_terminal:
            yield self
            return
        columns = [
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
        ]  # fmt: skip
        with Progress(*columns, console=console, transient=True) as self.bar:
            self.task = self.bar.add_task(self.title, total=self.total, rate="")
            yield self

    @contextmanager
    def in_bytes(self, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
        """Gives what to call with the bytes done since, and those in all; it shows megabytes."""
        done = 0

        def told(number: int, total: int) -> None:
            nonlocal done
            done += number
            self.total = total // MEGABYTE
            if self.bar:
                self.bar.update(self.task, total=self.total)
            if step := done // MEGABYTE - self.done:
                self.advance(step)

        if quiet:
            yield lambda number, total: None
            return
        with self.shown():
            yield told

    def advance(self, number: int) -> None:
        self.done += number
        now = time.monotonic()
        rate = self.done / max(now - self.started, 1e-6)
        if self.bar:
            self.bar.update(self.task, completed=self.done, rate=f"{rate:,.0f}/s")
        elif now >= self.next_line:
            self.next_line = now + self.SECONDS
            left = max(self.total - self.done, 0) / rate
            self.command.stderr.write(  # As the bar: stdout is for results.
                f"{self.title}: {self.done:,} of {self.total:,}, {rate:,.0f}/s, {left:.0f} s left"
            )
