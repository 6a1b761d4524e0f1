"""The encrypted columns of every installed app, read and written as raw ciphertext.

Never through the models: saving one would encrypt again what is encrypted already, and would
put back other fields that somebody else has changed meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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
        page = read(select + order)
        while page:
            yield page
            page = read(f"{select} AND {self.locator} > %s{order}", [page[-1][0]])

    def ends(self, size: int) -> list[Value]:
        """Up to `size` values of the oldest and newest rows."""
        select = (
            f"SELECT {self.locator}, {self.column} FROM {self.table} "  # noqa: S608
            f"WHERE {self.column} IS NOT NULL ORDER BY {self.locator}"
        )
        found: dict[Any, str] = {}
        for order, limit in (("ASC", size // 2), ("DESC", size - size // 2)):
            found |= dict(read(f"{select} {order} LIMIT {limit}"))
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


def read(sql: str, params: list[Any] | None = None) -> list[Value]:
    """The values that `sql` selects, whatever they are.

    What SQLite holds as text may be no UTF-8: a surrogate then stands for each byte that is not.
    """
    with connection.cursor() as cursor, _any_text():
        cursor.execute(sql, params)
        return cursor.fetchall()


def is_odd(ciphertext: Any) -> bool:
    """Whether it is text that may be no UTF-8. Nothing opens it: ciphertext is ASCII."""
    return isinstance(ciphertext, str) and not ciphertext.isascii()


def parameter(ciphertext: Any) -> tuple[str, Any]:
    """SQL for exactly the value that was read, and what to pass for its mark."""
    if connection.vendor == "sqlite" and is_odd(ciphertext):
        return "CAST(%s AS TEXT)", ciphertext.encode(errors="surrogateescape")
    return "%s", ciphertext


@contextmanager
def _any_text() -> Iterator[None]:
    if connection.vendor != "sqlite":
        yield
        return
    driver = connection.connection
    strict, driver.text_factory = driver.text_factory, _decode
    try:
        yield
    finally:
        driver.text_factory = strict


def _decode(octets: bytes) -> str:
    return octets.decode(errors="surrogateescape")
