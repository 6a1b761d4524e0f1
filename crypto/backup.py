"""A copy of the database, made before its values are rewritten or cleared."""

import os
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import connection

from . import dumps


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
        dumps.write(partial)
        partial.replace(path)
    except (OSError, sqlite3.Error, dumps.DumpFailed) as exc:
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
