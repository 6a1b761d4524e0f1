"""New ciphertext, put aside until all of it can go in at once.

A temporary table holds it, visible to this connection alone: nobody waits while it fills, and
whatever ends this process takes it away.
"""

from typing import Any

from django.db import connection, transaction

from .columns import Column, Value, is_odd, parameter, read
from .models import Secret

Change = tuple[Any, str, str]
"""Where a value is, its ciphertext as it was read, and the one to come."""


class Stage:
    """The changes to one column."""

    def __init__(self, column: Column, number: int):
        schema = "temp" if connection.vendor == "sqlite" else "pg_temp"
        self.column, self.table = column, f"{schema}.staged_{number}"
        self.size = 0
        _run(f"DROP TABLE IF EXISTS {self.table}")
        if connection.vendor == "sqlite":  # Found by its place without an index made for it.
            fields = "(place INTEGER PRIMARY KEY, was TEXT, becomes TEXT)"
        else:
            fields = (
                f"AS SELECT {column.locator} AS place, {column.column} AS was, "  # noqa: S608
                f"{column.column} AS becomes FROM {column.table} LIMIT 0"
            )
        _run(f"CREATE TABLE {self.table} {fields}")

    def add(self, changes: list[Change]) -> None:
        self.size += len(changes)
        if connection.vendor == "postgresql":
            with (
                connection.cursor() as cursor,
                connection.wrap_database_errors,
                cursor.copy(f"COPY {self.table} FROM STDIN") as copy,
            ):
                for change in changes:
                    copy.write_row(change)
            return
        odd = [change for change in changes if is_odd(change[1])]
        if odd:
            changes = [change for change in changes if not is_odd(change[1])]
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {self.table} VALUES (%s, %s, %s)", changes)  # noqa: S608
            for place, was, _ in odd:  # It stays as it is.
                mark, value = parameter(was)
                cursor.execute(
                    f"INSERT INTO {self.table} VALUES (%s, {mark}, {mark})",  # noqa: S608
                    [place, value, value],
                )

    def prepare(self) -> None:
        """Spare the planner a guess, before anybody waits for the swap."""
        if connection.vendor == "postgresql":
            _run(f"ANALYZE {self.table}")

    def swap(self) -> int:
        """Put every change in whose row still holds what was read; returns how many did."""
        column = self.column
        return _run(
            f"UPDATE {column.table} SET {column.column} = s.becomes FROM {self.table} AS s "  # noqa: S608
            f"WHERE {column.table}.{column.locator} = s.place "
            f"AND {column.table}.{column.column} = s.was"
        )

    def strangers(self, limit: int) -> list[Value]:
        """Up to `limit` values that we did not put in: written since their page was read."""
        column = self.column
        return read(
            f"SELECT c.{column.locator}, c.{column.column} FROM {column.table} AS c "  # noqa: S608
            f"LEFT JOIN {self.table} AS s ON s.place = c.{column.locator} "
            f"WHERE c.{column.column} IS NOT NULL "
            f"AND (s.becomes IS NULL OR s.becomes <> c.{column.column}) LIMIT {limit}"
        )

    def drop(self) -> None:
        _run(f"DROP TABLE IF EXISTS {self.table}")


def lock(columns: list[Column], milliseconds: int) -> None:
    """Keep every other writer from the columns and the registry until the transaction ends.

    Waits no longer than `milliseconds` for those who are at it: whoever comes meanwhile waits
    behind us. Raises OperationalError then. SQLite has one writer, which is us already.
    """
    if connection.vendor != "postgresql":
        return
    # In the order of somebody who reconnects an account: its row, then the registry's.
    tables = ", ".join(
        [*(column.table for column in columns), connection.ops.quote_name(Secret._meta.db_table)]
    )
    _run(f"SET LOCAL lock_timeout = {int(milliseconds)}")
    # Readers go on, and so does pg_dump. The join of the swap then stays in memory.
    _run(f"LOCK TABLE {tables} IN EXCLUSIVE MODE")
    _run("SET LOCAL work_mem = '64MB'")


def put(column: Column, changes: list[Change]) -> None:
    """Change single values, each if it is still what was read."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            f"UPDATE {column.table} SET {column.column} = %s "  # noqa: S608
            f"WHERE {column.locator} = %s AND {column.column} = %s",
            [(becomes, place, was) for place, was, becomes in changes],
        )


def _run(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.rowcount
