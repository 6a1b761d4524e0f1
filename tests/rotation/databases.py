"""The two kinds of database, made for a test, put back as they were, and asked with SQL."""

import itertools
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from tests import migrated
from tests.waiting import eventually

IS_POSTGRES = os.environ.get("DATABASE_URL", "").startswith("postgres")

numbers = itertools.count()


def with_tables(path: Path) -> "SQLite | PostgreSQL":
    """One of the kind that the tests run on, already migrated; on SQLite, in the file `path`."""
    if IS_POSTGRES:
        return PostgreSQL(is_migrated=True)
    migrated.sqlite(path)
    return SQLite(path)


class SQLite:
    def __init__(self, path: Path):
        self.path, self.url = path, f"sqlite:///{path}"

    def save(self) -> None:
        with self.connected() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self.path, self.path.with_suffix(".saved"))

    def settle(self) -> None:
        pass

    def restore(self) -> None:
        for end in ("-wal", "-shm"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)
        shutil.copy(self.path.with_suffix(".saved"), self.path)

    def remove(self) -> None:
        pass  # Its folder is pytest's.

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.text_factory = lambda octets: octets.decode(errors="surrogateescape")
            yield connection

    def execute(self, connection, sql: str, *values: object) -> list[tuple]:
        return connection.execute(sql, values).fetchall()

    def tables(self) -> list[str]:
        with self.connected() as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return [name for (name,) in names if not name.startswith("sqlite_")]


class PostgreSQL:
    def __init__(self, *, is_migrated: bool = False):
        self.name = f"instamsg_rotation_{os.getpid()}_{next(numbers)}"
        self.url = migrated.address(self.name)
        if is_migrated:
            migrated.postgresql(self.name)
        else:
            migrated.administer(f"CREATE DATABASE {self.name}")

    def save(self) -> None:
        # Filling tables again is quicker than making a database from a template.
        self.saved = [name for name in self.tables() if not name.startswith(("auth_", "django_"))]
        with self.connected() as connection:
            connection.execute("CREATE SCHEMA saved")
            for table in self.saved:
                connection.execute(f"CREATE TABLE saved.{table} AS TABLE public.{table}")

    def settle(self) -> None:
        """Wait until it has noticed who is gone; it may be at the commit of a killed process."""
        others = (
            "SELECT 1 FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        with self.connected() as connection:
            eventually(lambda: not connection.execute(others).fetchall())

    def restore(self) -> None:
        with self.connected() as connection:
            # Of processes that were killed: it may not have noticed yet.
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            with connection.transaction():
                connection.execute("SET LOCAL session_replication_role = replica")
                for table in self.saved:
                    connection.execute(f"DELETE FROM {table}")
                    connection.execute(f"INSERT INTO {table} SELECT * FROM saved.{table}")

    def remove(self) -> None:
        migrated.administer(f"DROP DATABASE {self.name} WITH (FORCE)")

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection]:
        # What waits for ever is a failure, and should show as one.
        options = "-c lock_timeout=20s"
        with psycopg.connect(self.url, autocommit=True, options=options) as connection:
            yield connection

    def execute(self, connection, sql: str, *values: object) -> list[tuple]:
        cursor = connection.execute(sql.replace("?", "%s"), values or None)
        return cursor.fetchall() if cursor.description else []

    def tables(self) -> list[str]:
        with self.connected() as connection:
            names = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            )
            return [name for (name,) in names]
