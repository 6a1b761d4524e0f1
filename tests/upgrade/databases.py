"""Databases as a release left them: how one is kept here, and how it is put back.

Each is a pair: the database, compressed, and a JSON beside it with what its own code said was in
it.
"""

import gzip
import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from tests.rotation.databases import IS_POSTGRES, PostgreSQL, SQLite

HERE = Path(__file__).parent
END = ".sql" if IS_POSTGRES else ".sqlite3"


def names() -> list[str]:
    """The releases of which one is kept."""
    return sorted(path.name.removesuffix(f"{END}.gz") for path in HERE.glob(f"*{END}.gz"))


def keep(name: str, url: str, account: dict[str, Any]) -> list[Path]:
    """Write the database at `url` and the account of it; returns the two files."""
    packed, told = HERE / f"{name}{END}.gz", HERE / f"{name}{END}.json"
    dump = _postgresql_dump(url) if IS_POSTGRES else _sqlite_dump(url)
    packed.write_bytes(gzip.compress(dump, mtime=0))
    told.write_text(json.dumps(account, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return [packed, told]


def account_of(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}{END}.json").read_text())


def unpacked(name: str, folder: Path) -> SQLite | PostgreSQL:
    """A database of its own that holds what is kept as `name`."""
    content = gzip.decompress((HERE / f"{name}{END}.gz").read_bytes())
    if not IS_POSTGRES:
        path = folder / "site.db"
        path.write_bytes(content)
        return SQLite(path)
    database = PostgreSQL()
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(content)
    return database


def rows(database: SQLite | PostgreSQL) -> dict[str, dict[str, dict[str, Any]]]:
    """Everything that stands in it: table → key of the row → column → value."""
    found = {}
    for table in database.tables():
        if table.startswith("huey_"):
            continue  # Hints to look at our rows; losing one loses nothing.
        with database.connected() as connection:
            if IS_POSTGRES:
                connection.row_factory = psycopg.rows.dict_row
                every = connection.execute(f'SELECT * FROM "{table}"').fetchall()
            else:
                connection.row_factory = sqlite3.Row
                every = map(dict, connection.execute(f'SELECT * FROM "{table}"'))
            found[table] = {str(next(iter(row.values()))): row for row in every}
    return found


def _sqlite_dump(url: str) -> bytes:
    path = Path(url.removeprefix("sqlite:///"))
    copy = path.with_suffix(".kept")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", [str(copy)])
    return copy.read_bytes()


def _postgresql_dump(url: str) -> bytes:
    """Plain SQL that a driver runs as it is: rows as INSERTs, and no commands of psql."""
    command = [shutil.which("pg_dump"), "--inserts", "--no-owner", "--no-privileges", url]
    dump = subprocess.run(command, check=True, capture_output=True, env={**os.environ}).stdout
    lines = [line for line in dump.splitlines(keepends=True) if not line.startswith(b"\\")]
    # Releases of PostgreSQL before 17 know no such setting.
    return b"".join(one for one in lines if not one.startswith(b"SET transaction_timeout"))
