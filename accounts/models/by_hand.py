"""Statements by hand, for what every request asks: the ORM makes each of them, and each row, anew.

They look rows up by what is unique, so that one plan is good for all values.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.utils import CursorWrapper
from django.db.models.base import ModelState


def cursor() -> CursorWrapper:
    """A cursor whose statements PostgreSQL plans once for each connection.

    To plan one takes it as long as to answer it. With Django's own cursors it gets another text
    for all values, so that there is nothing to keep. A kept plan fails once one of its columns has
    another type: while hosts run, a migration adds a column in place of changing one.
    """
    database = connections[DEFAULT_DB_ALIAS]
    if settings.IS_SQLITE:
        return database.cursor()
    from django.db.backends.postgresql.base import ServerBindingCursor  # Wants the driver.

    database.ensure_connection()
    return database._prepare_cursor(ServerBindingCursor(database.connection))


class Columns:
    """These fields of `model`; in a query they stand as its columns."""

    def __init__(self, model: type[models.Model], *names: str):
        self.model = model
        self.fields = [model._meta.get_field(name) for name in names]
        self.names = [field.attname for field in self.fields]

    def __str__(self) -> str:
        table = self.model._meta.db_table
        return ", ".join(f"{table}.{field.column}" for field in self.fields)

    @cached_property
    def converters(self) -> list[tuple[str, Any, Any]]:
        """What the database's values have to go through, with the name of each."""
        database, found = connections[DEFAULT_DB_ALIAS], []
        for name, field in zip(self.names, self.fields, strict=True):
            own = [*database.ops.get_db_converters(field.cached_col)]
            for convert in own + field.get_db_converters(database):
                found.append((name, convert, field.cached_col))
        return found

    def row(self, values: Sequence[Any]) -> models.Model:
        """A row with these values; what else it has is asked for when it is looked at.

        Not by from_db, which goes through all fields of the model; no signal is sent.
        """
        database = connections[DEFAULT_DB_ALIAS]
        known = dict(zip(self.names, values, strict=True))
        for name, convert, column in self.converters:
            known[name] = convert(known[name], column, database)
        row = self.model.__new__(self.model)
        row._state = ModelState()
        row._state.adding, row._state.db = False, database.alias
        row.__dict__.update(known)
        return row


def first(sql: str, params: Sequence[Any], *parts: Columns) -> list[models.Model] | None:
    """The rows that the first line of the answer holds, one for each of `parts`, or None.

    `sql` selects the columns of the parts, in their order.
    """
    with cursor() as answer:
        answer.execute(sql, params)
        values = answer.fetchone()
    if values is None:
        return None
    rows, start = [], 0
    for part in parts:
        end = start + len(part.fields)
        rows.append(part.row(values[start:end]))
        start = end
    return rows
