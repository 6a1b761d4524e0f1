"""A backup into an empty installation: proven to its last byte first, then put in place."""

import io
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.core.management import call_command
from django.db import Error as DatabaseError
from django.db.models import Case, When
from django.utils import timezone

from crypto import dumps
from crypto.sealed_files import OpeningReader, WrongPassphrase, is_sealed

from . import archive, outcomes
from .backup import DATABASE, FORMAT, MANIFEST, MEDIA, RESTORING
from .confirming import WAITED
from .models import Message
from .restore_refusals import Backup, RestoreRefused, dump_path, pending

LARGEST_MANIFEST = 1_000_000
UNDONE = (OSError, sqlite3.Error, DatabaseError, dumps.DumpFailed, archive.Damaged)

Told = Callable[[int], None]


class RestoreFailed(Exception):
    """It ended half way; the text says what there is now."""


class _Kept(io.BytesIO):
    def write(self, data: bytes) -> int:
        if self.tell() + len(data) > LARGEST_MANIFEST:
            raise archive.Damaged(f"{MANIFEST} is damaged: it is larger than any can be.")
        return super().write(data)

    def close(self) -> None:
        """It is read after the archive is."""


def needs_passphrase(path: Path) -> bool:
    """Raises OSError."""
    with path.open("rb") as file:
        return is_sealed(file)


def check(path: Path, passphrase: str | None, told: Told = lambda done: None) -> Backup:
    """Read the whole archive, which has to be sealed if there is a passphrase.

    Raises archive.Damaged, WrongPassphrase and RestoreRefused.
    """
    backup, manifest = Backup(path, passphrase), _Kept()

    def keep(name: str) -> BinaryIO | None:
        backup.files += name.startswith(MEDIA)
        if name not in (MANIFEST, *DATABASE.values()) and not name.startswith(MEDIA):
            raise RestoreRefused(f"{path} is no backup of InstaMsg: it holds {name}.")
        return manifest if name == MANIFEST else None

    def count(done: int) -> None:
        backup.size += done
        told(done)

    with _opened(backup) as file:
        archive.read(file, keep, count)
    if not manifest.getvalue():
        raise RestoreRefused(f"{path} is no backup of InstaMsg: it holds no {MANIFEST}.")
    backup.manifest = _manifest(manifest.getvalue())
    return backup


def put(backup: Backup, *, send_waiting: bool = False, told: Told = lambda done: None) -> int:
    """Put everything in place, where `require_fit` had no objection.

    The files first, the database last: until then there is none that anybody would take for the
    restored one. Returns how many answers that waited are not sent by themselves now. Raises
    RestoreRefused, or RestoreFailed from where something was changed.
    """
    root = settings.MEDIA_ROOT
    staged, dump = root / RESTORING, dump_path()
    try:
        _unpack(backup, staged, dump, told)
        try:
            for entry in list(staged.iterdir()):
                entry.rename(root / entry.name)
            dumps.load(dump)
            _require_counts(backup)
        except (*UNDONE, KeyboardInterrupt) as exc:
            raise RestoreFailed(
                f"{_reason(exc)}. The restore did not end. Before the next attempt empty {root}, "
                "and see that the database holds nothing."
            ) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        dump.unlink(missing_ok=True)
    if pending(backup):
        try:
            call_command("migrate", verbosity=0, interactive=False)
        except DatabaseError as exc:
            raise RestoreFailed(
                f"All is restored, and its database could not be brought up to date: {exc}"
            ) from None
    return 0 if send_waiting else _hold_waiting(_moment(backup.manifest))


def _manifest(data: bytes) -> dict[str, Any]:
    """Raises archive.Damaged. What a newer InstaMsg wrote may look different."""
    try:
        manifest = json.loads(data)
        is_newer = manifest["format"] > FORMAT
        if not is_newer:
            _require_shape(manifest)
    except (ValueError, RecursionError, TypeError, LookupError, AttributeError):
        raise archive.Damaged(f"{MANIFEST} is damaged: it does not describe a backup.") from None
    return manifest


def _require_shape(manifest: dict[str, Any]) -> None:
    database = manifest["database"]
    texts = [manifest["site"], manifest["made_at"], *database["migrations"], *manifest["settings"]]
    numbers = [manifest["format"], database["server"], database["tool"]]
    numbers += database["tables"].values()
    if (
        database["kind"] not in DATABASE
        or not all(isinstance(one, str) for one in texts)
        or not all(isinstance(one, int) for one in numbers)
        or not isinstance(manifest["settings"], dict)
        or not isinstance(manifest["secret"]["needed"], str | None)
    ):
        raise ValueError
    _moment(manifest)


def _moment(manifest: dict[str, Any]) -> datetime:
    """When the backup was begun."""
    return datetime.fromisoformat(manifest["made_at"]).astimezone(UTC)


@contextmanager
def _opened(backup: Backup) -> Iterator[BinaryIO]:
    with backup.path.open("rb") as file:
        if not is_sealed(file):
            if backup.passphrase is not None:
                raise RestoreRefused(
                    f"{backup.path} is not sealed, and a passphrase is set: backups of this site "
                    "are sealed, so somebody else may have made this one. If you know where it "
                    "is from, --unsealed restores it."
                )
            yield file
        elif backup.passphrase is None:
            raise WrongPassphrase("the backup is sealed, and there is no passphrase")
        else:
            yield OpeningReader(file, backup.passphrase)


def _unpack(backup: Backup, staged: Path, dump: Path, told: Told) -> None:
    def keep(name: str) -> BinaryIO | None:
        if name == MANIFEST:
            return None
        path = staged / name.removeprefix(MEDIA) if name.startswith(MEDIA) else dump
        path.parent.mkdir(parents=True, exist_ok=True)
        if path == dump:
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
        return path.open("wb")

    try:
        shutil.rmtree(staged, ignore_errors=True)  # Of a restore that was killed.
        staged.mkdir(parents=True)
        with _opened(backup) as file:
            archive.read(file, keep, told)
    except (*UNDONE, WrongPassphrase) as exc:
        raise RestoreRefused(f"The backup could not be unpacked: {_reason(exc)}.") from None
    with suppress(AttributeError):  # Windows has none.
        os.sync()


def _reason(exc: BaseException) -> str:
    if isinstance(exc, KeyboardInterrupt):
        return "Interrupted"
    return str(exc.strerror or exc if isinstance(exc, OSError) else exc).rstrip(".")


def _require_counts(backup: Backup) -> None:
    found = dumps.contents().tables
    if found != backup.tables:
        wrong = [t for t, n in backup.tables.items() if found.get(t) != n]
        raise dumps.DumpFailed(f"After loading, other rows are there than were: {wrong}.")


def _hold_waiting(made_at: datetime) -> int:
    """What waited may have been sent after the backup; nothing is sent twice (ADR 2).

    Each is looked for at Instagram, and a person decides about what is not found.
    """
    status = Message.Status
    waiting = Message.objects.filter(status__in=[status.QUEUED, status.SENDING])
    # What is found is known by its time: what was not being sent yet was soon after the backup.
    being_sent = When(status=status.SENDING, called_at__isnull=False, then="called_at")
    return waiting.update(
        status=status.UNCONFIRMED, error=WAITED, attempts=0, lease=None,
        called_at=Case(being_sent, default=made_at),
        due_at=timezone.now() + outcomes.FIRST_LOOK,
    )  # fmt: skip
