"""The encrypted columns of every installed app, read and written as raw ciphertext.

Never through the models: saving one would encrypt again what is encrypted already, and would
put back other fields that somebody else has changed meanwhile.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection, models

from .fields import EncryptedTextField, encrypted_fields

PAGE = 1000
"""Rows that are in memory at a time."""

Value = tuple[Any, str]
"""Where a value is (Column.locator), and its ciphertext."""


@dataclass(frozen=True)
class Name:
    """A stored value by its row, for people: never the value."""

    model: str
    pk: str
    label: str

    def __str__(self) -> str:
        return f"{self.model} {self.pk} {self.label}".rstrip()


@dataclass(frozen=True)
class Column:
    """One encrypted column."""

    field: EncryptedTextField

    def __str__(self) -> str:
        return f"{self.model._meta.db_table}.{self.field.column}"

    @property
    def model(self) -> type[models.Model]:
        return self.field.model

    @property
    def table(self) -> str:
        return connection.ops.quote_name(self.model._meta.db_table)

    @property
    def column(self) -> str:
        return connection.ops.quote_name(self.field.column)

    @property
    def pk(self) -> str:
        return connection.ops.quote_name(self.model._meta.pk.column)

    @property
    def locator(self) -> str:
        """What finds a row fastest: on SQLite where it lies in the file, else its key."""
        return "rowid" if connection.vendor == "sqlite" else self.pk

    def count(self) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count({self.column}) FROM {self.table}")  # noqa: S608
            return cursor.fetchone()[0]

    def pages(self) -> Iterator[list[Value]]:
        """All values, some at a time, each page read on its own: no lock, no long snapshot."""
        select = (
            f"SELECT {self.locator}, {self.column} FROM {self.table} "  # noqa: S608  (our names)
            f"WHERE {self.column} IS NOT NULL"
        )
        order = f" ORDER BY {self.locator} LIMIT {PAGE}"
        with connection.cursor() as cursor:
            cursor.execute(select + order)
            while page := cursor.fetchall():
                yield page
                cursor.execute(f"{select} AND {self.locator} > %s{order}", [page[-1][0]])

    def ends(self, size: int) -> list[Value]:
        """Up to `size` values of the oldest and newest rows."""
        select = (
            f"SELECT {self.locator}, {self.column} FROM {self.table} "  # noqa: S608
            f"WHERE {self.column} IS NOT NULL ORDER BY {self.locator}"
        )
        found: dict[Any, str] = {}
        with connection.cursor() as cursor:
            for order, limit in (("ASC", size // 2), ("DESC", size - size // 2)):
                cursor.execute(f"{select} {order} LIMIT {limit}")
                found |= dict(cursor.fetchall())
        return list(found.items())

    def ciphertexts(self, pks: list[str]) -> dict[str, str]:
        """Key → what is stored in its row, of the rows that hold something."""
        rows = self.model._base_manager.filter(pk__in=pks, **{f"{self.field.name}__isnull": False})
        found = rows.values_list("pk", self.field.name)
        return {str(pk): sealed.ciphertext for pk, sealed in found}

    def names(self, places: list[Any]) -> dict[Any, Name]:
        """What people call the rows at `places`; rows that are gone are left out."""
        if not places:
            return {}
        marks = ", ".join(["%s"] * len(places))
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {self.locator}, {self.pk} FROM {self.table} "  # noqa: S608
                f"WHERE {self.locator} IN ({marks})",
                places,
            )
            pks = {place: self.model._meta.pk.to_python(pk) for place, pk in cursor.fetchall()}
        rows = self.model._base_manager.in_bulk(pks.values())
        kind = self.model._meta.verbose_name
        return {
            place: Name(kind, str(pk), str(rows[pk])) for place, pk in pks.items() if pk in rows
        }


def encrypted_columns() -> list[Column]:
    return [Column(field) for field in encrypted_fields()]
