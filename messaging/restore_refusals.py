"""What keeps a backup from being restored here: all of it is asked before anything is touched."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from crypto import dumps, heartbeat
from crypto.keyring import get_keyring

from .backup import FORMAT, RESTORING

MADE_BY_MIGRATE = {"django_migrations", "django_content_type", "auth_permission"}
"""Tables that hold rows in a database that nobody has used."""


class RestoreRefused(Exception):
    """Nothing was changed; the text says why, and what to do."""


class WrongSecret(RestoreRefused):
    """The secrets here do not open what is stored in the backup."""


@dataclass
class Backup:
    """An archive that was read to its end, and is what was written."""

    path: Path
    passphrase: str | None
    manifest: dict[str, Any] = field(default_factory=dict)
    files: int = 0
    size: int = 0

    @property
    def kind(self) -> str:
        return self.manifest["database"]["kind"]

    @property
    def tables(self) -> dict[str, int]:
        return self.manifest["database"]["tables"]


def require_fit(backup: Backup, *, without_secret: bool = False) -> None:
    """Raise RestoreRefused unless the backup belongs into this installation, and that is empty."""
    _require_known_code(backup)
    _require_same_kind(backup)
    _require_place_for_files(backup)
    if not without_secret:
        _require_secret(backup)
    require_empty()
    _require_owner()
    _require_room(backup)


def require_empty() -> None:
    """Raise RestoreRefused unless nothing here would be overwritten, and nobody uses it."""
    try:
        held = dumps.contents().tables
        running = heartbeat.living() if "processes" in held else []
    except DatabaseError as exc:
        raise RestoreRefused(f"The database cannot be asked: {exc}") from None
    if running:
        names = ", ".join(map(str, running))
        raise RestoreRefused(f"The site is running: {names}. Stop it first.")
    if rows := {one: n for one, n in held.items() if n and one not in MADE_BY_MIGRATE}:
        most = sorted(rows, key=rows.get, reverse=True)[:3]
        named = ", ".join(f"{table}: {rows[table]:,}" for table in most)
        raise RestoreRefused(
            f"The database here holds rows ({named}): a restore takes an empty one. Keep what is "
            f"there, and give it another: {_another()}."
        )
    root = settings.MEDIA_ROOT
    is_used = root.exists() and not settings.MEDIA_STORAGE
    if is_used and any(not path.name.startswith(RESTORING) for path in root.iterdir()):
        raise RestoreRefused(
            f"MEDIA_ROOT, {root}, holds files: a restore takes an empty folder. Move them away, "
            "or name another folder."
        )


def pending(backup: Backup) -> list[str]:
    """Migrations of this code that the backup's database has not seen."""
    return sorted(_known_migrations() - set(backup.manifest["database"]["migrations"]))


def dump_path() -> Path:
    """An SQLite dump becomes the database, so it is put beside it; it may be gigabytes."""
    if connection.vendor == "sqlite":
        path = dumps.sqlite_path()
        return path.with_name(f"{path.name}{RESTORING}")
    return settings.MEDIA_ROOT / f"{RESTORING}.dump"


def _require_same_kind(backup: Backup) -> None:
    if backup.kind == connection.vendor:
        _require_server(backup)
        return
    names = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
    where = "without DATABASE_URL" if backup.kind == "sqlite" else "with DATABASE_URL"
    raise RestoreRefused(
        f"The backup is of {names[backup.kind]}, and the database here is "
        f"{names[connection.vendor]}. Restore it {where}; then `manage.py dumpdata` there and "
        "`manage.py loaddata` here carry the rows over (docs/operator.md)."
    )


def _require_place_for_files(backup: Backup) -> None:
    if backup.files and settings.MEDIA_STORAGE:
        raise RestoreRefused(
            f"The backup holds {backup.files:,} files, and a restore puts files into a folder, not "
            "into MEDIA_STORAGE. Restore without that setting, copy what is then in MEDIA_ROOT "
            "into the storage under the same names, and set it again (docs/scale.md)."
        )


def _require_server(backup: Backup) -> None:
    made_by = backup.manifest["database"]
    try:
        dumps.client_version("pg_restore", at_least=made_by["tool"])
        server = dumps.server_version()
    except (dumps.DumpFailed, DatabaseError) as exc:
        raise RestoreRefused(f"{exc}") from None
    if server < made_by["server"]:
        raise RestoreRefused(
            f"The backup is of PostgreSQL {made_by['server']}, and the server here is {server}: "
            "only the same version or a newer one takes it."
        )


def _require_known_code(backup: Backup) -> None:
    if (version := backup.manifest["format"]) > FORMAT:
        raise RestoreRefused(
            f"The backup has format {version}, and this code reads {FORMAT}: it was made by a "
            "newer InstaMsg. Install that version, or a later one, and restore with it."
        )
    version, here = backup.manifest["site"], settings.RELEASE
    unknown = sorted(set(backup.manifest["database"]["migrations"]) - _known_migrations())
    if unknown or _numbers(version) > _numbers(here):
        why = f" It went through {unknown[-1]}, which is not known here." if unknown else ""
        raise RestoreRefused(
            f"The backup was made by InstaMsg {version}, newer than the {here} here.{why} Install "
            "that version, or a later one, and restore with it."
        )


def _require_secret(backup: Backup) -> None:
    needed, ring = backup.manifest["secret"]["needed"], get_keyring()
    if needed is None or ring.find(needed):
        return
    tried = ", ".join(key.fingerprint for key in ring.keys) or "none is set"
    raise WrongSecret(
        f"The tokens in the backup are under secret {needed}, which is not here ({tried}). Set it "
        "as SESSION_SECRET, or in SESSION_SECRET_FALLBACKS. If it is lost, --without-secret "
        "restores all the same; the accounts then have to be connected again."
    )


def _require_owner() -> None:
    """What root puts there the site could not read."""
    if os.name == "nt" or os.geteuid() != 0:
        return
    for folder in (_existing(settings.MEDIA_ROOT), _existing(dump_path().parent)):
        if folder.stat().st_uid != 0:
            raise RestoreRefused(
                f"You are root, and {folder} belongs to {folder.owner()}: run this as the user "
                "that the site runs as (sudo -u …)."
            )


def _require_room(backup: Backup) -> None:
    for folder in {_existing(settings.MEDIA_ROOT), _existing(dump_path().parent)}:
        if (free := shutil.disk_usage(folder).free) < backup.size:
            raise RestoreRefused(
                f"There is no room: the backup holds {backup.size / 1e6:,.0f} MB, and {folder} has "
                f"{free / 1e6:,.0f} MB left."
            )


def _existing(folder: Path) -> Path:
    """The folder, or what there is of the way to it."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())


def _another() -> str:
    if connection.vendor == "sqlite":
        return f"mv {dumps.sqlite_path()} elsewhere"
    return "make an empty database and name it in DATABASE_URL"


def _known_migrations() -> set[str]:
    loader = MigrationLoader(None)
    return {f"{app}.{name}" for app, name in loader.disk_migrations}


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]
