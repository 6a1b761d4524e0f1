"""Rows read by hand, for what every request asks: the ORM makes each query and row anew."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.db import connection, models


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
    def converters(self) -> list[tuple[int, Any, Any]]:
        """What the database's values have to go through, with the place of each."""
        found = []
        for place, field in enumerate(self.fields):
            own = [*connection.ops.get_db_converters(field.cached_col)]
            for convert in own + field.get_db_converters(connection):
                found.append((place, convert, field.cached_col))
        return found

    def row(self, values: Sequence[Any]) -> models.Model:
        """A row with these values; what else it has is asked for when it is looked at."""
        plain = list(values)
        for place, convert, column in self.converters:
            plain[place] = convert(plain[place], column, connection)
        return self.model.from_db(connection.alias, self.names, plain)


def first(sql: str, params: Sequence[Any], *parts: Columns) -> list[models.Model] | None:
    """The rows that the first line of the answer holds, one for each of `parts`, or None.

    `sql` selects the columns of the parts, in their order.
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        values = cursor.fetchone()
    if values is None:
        return None
    rows, start = [], 0
    for part in parts:
        end = start + len(part.fields)
        rows.append(part.row(values[start:end]))
        start = end
    return rows
