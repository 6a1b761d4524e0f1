"""Saving rows by hand: those of the workers' batches, and those that programs wait for."""

from django.db import DEFAULT_DB_ALIAS, connection, connections, models


class WritingQuerySet(models.QuerySet):
    def add(self, row: models.Model) -> None:
        """Save a row that is new, in one plain INSERT; sends no signal."""
        options, database = self.model._meta, connections[DEFAULT_DB_ALIAS]  # Looked up once.
        columns = [field for field in options.concrete_fields if not field.primary_key]
        names = ", ".join(field.column for field in columns)
        marks = ", ".join(["%s"] * len(columns))
        values = [
            field.get_db_prep_save(field.pre_save(row, add=True), database) for field in columns
        ]
        sql = f"INSERT INTO {options.db_table} ({names}) VALUES ({marks}) RETURNING id"  # noqa: S608  (our columns)
        with database.cursor() as cursor:
            cursor.execute(sql, values)
            (row.pk,) = cursor.fetchone()
        row._state.adding, row._state.db = False, database.alias

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
