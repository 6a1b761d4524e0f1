"""Saving rows by hand: those of the workers' batches, and those that programs wait for."""

from functools import cached_property
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.models.base import ModelState


class NewRow:
    """New rows of `model` with the fields `always`, to be saved by hand.

    A model's constructor goes through all of its fields, and so does its INSERT: here what stays
    at its default is prepared once.
    """

    def __init__(self, model: type[models.Model], **always: Any):
        self.model, self.always = model, always

    def make(self, **fields: Any) -> tuple[models.Model, dict[str, Any]]:
        """A row with `fields`, and by column what an INSERT of it names; the others are NULL.

        No signal is sent.
        """
        database = connections[DEFAULT_DB_ALIAS]
        row = self.model.__new__(self.model)
        row._state = ModelState()
        row.__dict__.update(self._constant)
        row.__dict__.update((name, empty()) for name, empty in self._empty.items())
        varying = {field.name: field.get_default() for field in self._varying}
        values = self._prepared.copy()
        for name, value in (varying | fields).items():
            setattr(row, name, value)
            field = self.model._meta.get_field(name)
            values[field.column] = field.get_db_prep_save(field.pre_save(row, True), database)
        return row, values

    @cached_property
    def _varying(self) -> list[models.Field]:
        """Those whose default is made for each row."""
        return [
            field
            for field in self.model._meta.concrete_fields
            if field.name not in self.always
            and field.name not in self._empty
            and (
                (field.has_default() and callable(field.default))
                or getattr(field, "auto_now_add", False)
            )
        ]

    @cached_property
    def _empty(self) -> dict[str, type[dict] | type[list]]:
        """Those that begin empty: each row has an object of its own, and the same in its table."""
        return {
            field.name: field.default
            for field in self.model._meta.concrete_fields
            if field.default in (dict, list) and field.name not in self.always
        }

    @cached_property
    def _constant(self) -> dict[str, Any]:
        row = self.model(**self.always)
        return {
            field.attname: getattr(row, field.attname)
            for field in self.model._meta.concrete_fields
            if field not in self._varying
        }

    @cached_property
    def _prepared(self) -> dict[str, Any]:
        """By column, the constant values as the database wants them."""
        database, found = connections[DEFAULT_DB_ALIAS], {}
        for name, value in self._constant.items():
            if value is not None:
                field = self.model._meta.get_field(name)
                found[field.column] = field.get_db_prep_save(value, database)
        return found


class WritingQuerySet(models.QuerySet):
    def write(self, rows: list[models.Model], fields: list[str]) -> None:
        """Save these fields of each row, one plain UPDATE after the other.

        bulk_update writes a CASE of all rows for each field, and takes ten times as long over it.
        """
        options = self.model._meta
        columns = [options.get_field(name) for name in fields]
        marks = ", ".join(f"{field.column} = %s" for field in columns)
        values = [
            [field.get_db_prep_save(getattr(row, field.attname), connection) for field in columns]
            + [row.pk]
            for row in rows
        ]
        sql = f"UPDATE {options.db_table} SET {marks} WHERE {options.pk.column} = %s"  # noqa: S608  (our columns)
        with connection.cursor() as cursor:
            cursor.executemany(sql, values)
