"""The whole installation in one archive: the database, the files, and which settings it had.

Files that MEDIA_STORAGE keeps elsewhere stay there: the archive says so.
"""

import io
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from crypto import dumps, locks, verdict
from crypto.keyring import get_keyring
from crypto.models import Secret
from crypto.sealed_files import SealingWriter

from . import archive

FORMAT = 1
MANIFEST = "manifest.json"
MEDIA = "media/"
DATABASE = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}
RESTORING = ".restoring"
"""Where a restore puts files until all are there; nothing of it belongs to the site."""

NAMED = 20
"""So many files that were left out are named; all are counted."""

Told = Callable[[int, int], None]
"""Called now and then with the bytes that are done since, and those that there are in all."""


class BackupFailed(Exception):
    """There is no backup; the text says why."""


@dataclass
class Made:
    """A backup, and what is to be said of it."""

    path: Path
    manifest: dict[str, Any]
    size: int = 0
    files: int = 0
    vanished: int = 0
    left_out: int = 0
    named: list[str] = field(default_factory=list)

    def leave_out(self, name: str, why: object) -> None:
        self.left_out += 1
        if len(self.named) < NAMED:
            self.named.append(f"{name}: {why}")


def make(folder: Path, passphrase: str | None = None, told: Told = lambda done, all: None) -> Made:
    """Write a backup into `folder` while the site runs; sealed, if there is a passphrase.

    It has its name once it is whole, and only its owner can read it. Raises BackupFailed; then
    no part of it is left.
    """
    _require_something(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locks.held(folder):
            for left in folder.glob(f"{_prefix()}*.partial"):
                left.unlink()  # Its process was killed: whoever lives holds the folder.
            return _make(folder, passphrase, told)
    except locks.Taken:
        raise BackupFailed(f"Another backup is being written into {folder}.") from None
    except (OSError, sqlite3.Error, DatabaseError, dumps.DumpFailed) as exc:
        reason = exc.strerror or exc if isinstance(exc, OSError) else exc
        raise BackupFailed(f"No backup could be made in {folder}: {reason}") from None


def forget_older(folder: Path, keep: int) -> list[Path]:
    """Delete all but the `keep` newest backups of this site in `folder`; returns what went."""
    named = re.compile(re.escape(_prefix()) + r"\d{8}T\d{6}-\d{6}Z\.tar(\.sealed)?")
    found = sorted(path for path in folder.iterdir() if named.fullmatch(path.name))
    older = found[:-keep]
    for path in older:
        path.unlink()
    return older


def _prefix() -> str:
    """Backups of several sites may lie in one folder."""
    host = re.sub(r"[^\w.-]", "-", settings.PUBLIC_BASE_URL.partition("://")[2])
    return f"instamsg-{host}-"


def _require_something(folder: Path) -> None:
    is_within = folder.resolve().is_relative_to(settings.MEDIA_ROOT.resolve())
    if is_within and not settings.MEDIA_STORAGE:
        raise BackupFailed(f"{folder} is within MEDIA_ROOT: backups would hold each other.")
    try:
        tables = dumps.tables()
    except DatabaseError as exc:
        raise BackupFailed(f"The database cannot be asked: {exc}") from None
    if "django_migrations" not in tables:
        where = dumps.sqlite_path() if connection.vendor == "sqlite" else "the database"
        raise BackupFailed(f"There is nothing to back up: {where} has no tables of this site.")


def _make(folder: Path, passphrase: str | None, told: Told) -> Made:
    now = datetime.now(UTC)
    name = f"{_prefix()}{now:%Y%m%dT%H%M%S-%fZ}"
    path = folder / f"{name}.tar{'.sealed' if passphrase else ''}"
    partial = path.with_name(f"{path.name}.partial")
    with _own(partial), _dumped(folder / f"{name}.database.partial") as (dump, contents):
        made = Made(path, _manifest(now, contents))
        with partial.open("wb") as file:
            sealing = SealingWriter(file, passphrase) if passphrase else None
            with archive.Writer(sealing or file, now.timestamp()) as writer:
                _fill(writer, made, dump, told)
            if sealing:
                sealing.close()
            made.size = file.tell()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    return made


@contextmanager
def _own(path: Path) -> Iterator[None]:
    """A file that its owner alone can read, and that is gone in the end unless it was renamed."""
    path.touch(mode=0o600, exist_ok=False)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


@contextmanager
def _dumped(path: Path) -> Iterator[tuple[BinaryIO, dumps.Contents]]:
    with _own(path):
        contents = dumps.write_and_count(path)
        with path.open("rb") as file:
            if os.name != "nt":
                path.unlink()  # A kill from now on leaves no copy of the database behind.
            yield file, contents


def _manifest(now: datetime, contents: dumps.Contents) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "site": settings.RELEASE,
        "made_at": now.isoformat(timespec="seconds"),
        "database": {
            "kind": connection.vendor,
            "server": dumps.server_version(),
            "tool": dumps.client_version("pg_dump"),
            **asdict(contents),
        },
        "secret": _secret(),
        "files_elsewhere": settings.MEDIA_STORAGE,
        "settings": settings.SETTINGS_GIVEN,
    }


def _secret() -> dict[str, Any]:
    """Which secret the stored values need, and whether this site has it; it may be lost."""
    ring, current = get_keyring(), Secret.objects.current()
    try:
        opened = verdict.sample(ring)
    except DatabaseError:  # The code is newer than the tables: a backup comes before `migrate`.
        needed = current and current.fingerprint
        return {"needed": needed, "also": [], "is_here": not needed or bool(ring.find(needed))}
    if not opened:
        return {"needed": None, "also": [], "is_here": True}
    used = [one for one, _ in opened.most_common() if one]
    needed = current.fingerprint if current else used[0] if used else None
    return {
        "needed": needed,
        "also": [one for one in used if one != needed],
        "is_here": not opened[None] and bool(needed and ring.find(needed)),
    }


def _fill(writer: archive.Writer, made: Made, dump: BinaryIO, told: Told) -> None:
    size = os.fstat(dump.fileno()).st_size
    total = size + sum(_size(path) for path in _files_here())
    manifest = json.dumps(made.manifest, indent=1).encode()
    writer.add(MANIFEST, io.BytesIO(manifest), len(manifest))
    # The files come after the rows that name them: what is stored meanwhile is there too.
    writer.add(DATABASE[connection.vendor], dump, size, lambda done: told(done, total))
    for path in _files_here(made.leave_out):
        _add(writer, made, path, lambda done: told(done, total))


def _add(writer: archive.Writer, made: Made, path: Path, told: Callable[[int], None]) -> None:
    name = f"{MEDIA}{path.relative_to(settings.MEDIA_ROOT).as_posix()}"
    try:
        with path.open("rb") as file:
            writer.add(name, file, os.fstat(file.fileno()).st_size, told)
    except FileNotFoundError:
        made.vanished += 1
    except archive.NameRefused as exc:
        made.leave_out(name, exc)
    except PermissionError as exc:
        made.leave_out(name, exc.strerror)
    except EOFError:
        raise BackupFailed(f"{path} became shorter while it was read. Start again.") from None
    else:
        made.files += 1


def _files_here(
    leave_out: Callable[[str, object], None] = lambda name, why: None,
) -> Iterator[Path]:
    return iter(()) if settings.MEDIA_STORAGE else _files(settings.MEDIA_ROOT, leave_out)


def _files(folder: Path, leave_out: Callable[[str, object], None]) -> Iterator[Path]:
    """Every file below, one at a time: a folder may hold a million."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(RESTORING):
                    continue
                if entry.is_dir():
                    yield from _files(folder / entry.name, leave_out)
                elif entry.is_file():
                    yield folder / entry.name
    except FileNotFoundError:
        return
    except PermissionError as exc:
        leave_out(f"{folder}", exc.strerror)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
