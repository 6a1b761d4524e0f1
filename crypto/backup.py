"""A copy of the database, made before its values are rewritten or cleared."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import connection


class BackupFailed(Exception):
    """There is no backup; the text says why."""


def make(purpose: str, folder: Path | None = None) -> Path:
    """Copy the whole database, while it is in use, into a file that its owner alone can read.

    The file lies in `folder`, else beside an SQLite database or in `backups/`, and is named for
    the `purpose` and the time (UTC). Raises BackupFailed, and leaves no part of a file behind.
    """
    is_sqlite = connection.vendor == "sqlite"
    database = connection.settings_dict["NAME"]
    if folder is None:
        folder = Path(database).parent if is_sqlite else settings.BASE_DIR / "backups"
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S-%fZ")
    name = Path(database).stem if is_sqlite else database
    path = folder / f"{name}-before-{purpose}-{moment}.{'db' if is_sqlite else 'dump'}"
    # Until it is whole it does not look like one.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.touch(mode=0o600, exist_ok=False)
        (_copy_sqlite if is_sqlite else _dump_postgresql)(partial)
        partial.replace(path)
    except (OSError, sqlite3.Error, BackupFailed) as exc:
        remove(partial)
        reason = exc.strerror or exc if isinstance(exc, OSError) else exc
        raise BackupFailed(f"No backup could be made in {folder}: {reason}") from None
    except KeyboardInterrupt:
        remove(partial)
        raise
    return path


def remove(path: Path) -> None:
    """Take away a backup that nobody needs: what it was made for did not happen."""
    with suppress(OSError):
        path.unlink()


def _copy_sqlite(path: Path) -> None:
    connection.ensure_connection()
    copy = sqlite3.connect(path)
    try:
        copy.execute("PRAGMA journal_mode = OFF")  # It is whole, or thrown away.
        connection.connection.backup(copy)
    finally:
        copy.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _dump_postgresql(path: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise BackupFailed(
            "pg_dump is not installed here. Make one by other means and go on with --no-backup."
        )
    to = connection.settings_dict
    where = {
        "PGHOST": to["HOST"],
        "PGPORT": str(to["PORT"]),
        "PGUSER": to["USER"],
        # Not as an argument: those can be read by every user of the machine.
        "PGPASSWORD": to["PASSWORD"],
        "PGDATABASE": to["NAME"],
    }
    environment = os.environ | {name: value for name, value in where.items() if value}
    command = [program, "--format=custom", "--no-password", f"--file={path}"]
    result = subprocess.run(  # noqa: S603  (found on the PATH, our arguments)
        command, env=environment, capture_output=True, text=True
    )
    if result.returncode:
        ended = f"it was killed (signal {-result.returncode})"
        raise BackupFailed(f"pg_dump: {result.stderr.strip() or ended}")
