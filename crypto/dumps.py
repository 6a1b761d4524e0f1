"""The whole database as one file, and back: SQLite's online copy, PostgreSQL's own tools."""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection, transaction

CLIENT = "It comes with PostgreSQL's client programs (Debian and Ubuntu: postgresql-client)."


class DumpFailed(Exception):
    """No dump was made, or nothing was loaded; the text says why."""


@dataclass(frozen=True)
class Contents:
    """What a database holds: rows of each table, and the migrations it went through."""

    tables: dict[str, int]
    migrations: list[str]


def write(path: Path) -> None:
    """Copy the database, while it is in use, into `path`. Raises DumpFailed, or OSError."""
    if connection.vendor == "sqlite":
        _copy_sqlite(path)
    else:
        _dump_postgresql(path)


def write_and_count(path: Path) -> Contents:
    """As `write`; the counts are those of the very moment that the dump shows."""
    if connection.vendor == "sqlite":
        _copy_sqlite(path)
        # It is whole, and nobody else's: no files of a WAL need to be made beside it.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as copy:
            _require_sound(copy)
            return _contents(copy.cursor(), _sqlite_tables(copy))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone()
        found = _contents(cursor, connection.introspection.table_names(cursor))
        _dump_postgresql(path, f"--snapshot={snapshot}")
        return found


def tables() -> list[str]:
    """The names of all tables; none, where there is no database yet."""
    if connection.vendor == "sqlite" and not sqlite_path().exists():
        return []  # Connecting would make an empty one.
    return connection.introspection.table_names()


def contents() -> Contents:
    """What the database holds now."""
    if not (names := tables()):
        return Contents({}, [])
    with connection.cursor() as cursor:
        return _contents(cursor, names)


def load(path: Path) -> None:
    """Put a dump in the place of a database that holds nothing. Raises DumpFailed, or OSError.

    An SQLite dump becomes the database file itself, so it has to lie in the same folder.
    """
    if connection.vendor == "sqlite":
        connection.close()
        for end in ("-wal", "-shm"):  # They belong to the file that goes.
            Path(f"{sqlite_path()}{end}").unlink(missing_ok=True)
        path.replace(sqlite_path())
        return
    program, _ = _client("pg_restore")
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"DROP TABLE {connection.ops.quote_name(table)} CASCADE")
    connection.close()
    name = connection.settings_dict["NAME"]
    try:
        _run(program, "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges",
             f"--dbname={name}", str(path))  # fmt: skip
    except DumpFailed as exc:
        raise DumpFailed(f"{exc}\nThe database holds nothing now, not even tables.") from None


def client_version(program: str, at_least: int = 0) -> int:
    """The main number of the version of pg_dump or pg_restore; 0 on SQLite, which needs neither.

    Raises DumpFailed unless it is here, and neither older than the server nor than `at_least`.
    """
    return 0 if connection.vendor == "sqlite" else _client(program, at_least)[1]


def server_version() -> int:
    """The main number of PostgreSQL's version; 0 for SQLite, whose files any version reads."""
    return 0 if connection.vendor == "sqlite" else connection.pg_version // 10_000


def sqlite_path() -> Path:
    return Path(connection.settings_dict["NAME"])


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


def _dump_postgresql(path: Path, *options: str) -> None:
    _run(_client("pg_dump")[0], "--format=custom", f"--file={path}", *options)


def _client(name: str, at_least: int = 0) -> tuple[str, int]:
    """Where the program is, and its version: one that understands this server."""
    program = shutil.which(name)
    if program is None:
        raise DumpFailed(f"{name} is not installed here. {CLIENT}")
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout  # noqa: S603
    found = re.search(r"\d+", said)
    needed = max(server_version(), at_least)
    if found and int(found[0]) < needed:
        raise DumpFailed(
            f"{name} is of version {found[0]}, and PostgreSQL {needed} needs one that is not "
            f"older: install version {needed}, or put it first on the PATH. {CLIENT}"
        )
    return program, int(found[0]) if found else needed


def _run(program: str, *options: str) -> None:
    command = [program, "--no-password", *options]
    result = subprocess.run(  # noqa: S603  (found on the PATH, our arguments)
        command, env=_environment(), capture_output=True, text=True
    )
    if result.returncode:
        ended = f"it was killed (signal {-result.returncode})"
        raise DumpFailed(f"{Path(program).name}: {result.stderr.strip() or ended}")


def _environment() -> dict[str, str]:
    """The site's own way to its server: password, TLS and all that libpq has a variable for.

    Not as arguments: those can be read by every user of the machine.
    """
    from psycopg.pq import Conninfo

    names = {one.keyword.decode(): one.envvar for one in Conninfo.get_defaults()}
    given = connection.get_connection_params()
    used = {names.get(name): value for name, value in given.items() if value not in (None, "")}
    return os.environ | {name.decode(): str(value) for name, value in used.items() if name}


def _contents(cursor: Any, tables: Iterable[str]) -> Contents:
    def rows(sql: str) -> list[tuple]:
        cursor.execute(sql)
        return cursor.fetchall()

    counts = {}
    for table in sorted(tables):
        name = connection.ops.quote_name(table)
        counts[table] = rows(f"SELECT count(*) FROM {name}")[0][0]  # noqa: S608  (its own tables)
    applied = []
    if "django_migrations" in counts:
        applied = rows("SELECT app, name FROM django_migrations ORDER BY app, name")
    return Contents(counts, [f"{app}.{name}" for app, name in applied])


def _require_sound(copy: sqlite3.Connection) -> None:
    """Whoever keeps the newest few backups would soon have nothing but copies of the damage."""
    ((found, *_), *_) = copy.execute("PRAGMA quick_check(1)").fetchall()
    if found != "ok":
        raise DumpFailed(f"the database file is damaged ({found}). See docs/runbook.md")


def _sqlite_tables(copy: sqlite3.Connection) -> list[str]:
    found = copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [name for (name,) in found if not name.startswith("sqlite_")]
