"""The predecessor's file in the place of our own database: its tables have the same names."""

from django.db import connections

from crypto.commands import stop

from .source import is_predecessors


def refuse_to_migrate(using: str, **signal: object) -> None:
    """Ends `migrate` before it changes anything; receives Django's `pre_migrate`."""
    connection = connections[using]
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        tables = {
            name: {
                column.name
                for column in connection.introspection.get_table_description(cursor, name)
            }
            for name in connection.introspection.table_names(cursor)
            if name in ("users", "user_accounts", "accounts", "messages", "django_migrations")
        }
    if is_predecessors(tables):
        name = connection.settings_dict["NAME"]
        raise stop(
            f"{name} is the predecessor's database. InstaMsg cannot work in it: its tables have "
            "the same names and another shape. Nothing was changed. Move it aside, together with "
            "the files beside it whose names begin alike, make a database of your own, and bring "
            f"in what it holds:\n  mv {name} predecessor.db\n  python manage.py migrate\n"
            "  python manage.py import_predecessor predecessor.db --dry-run\n"
            "docs/moving-in.md says the rest."
        )
