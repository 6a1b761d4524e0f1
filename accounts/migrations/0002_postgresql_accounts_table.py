"""On PostgreSQL, room in each page and no text-pattern indexes for the accounts table.

A rotation of SESSION_SECRET rewrites every row. With free space in the page and no index on a
changed column each new version stays beside the old one, so other writers wait far less.
"""

from django.db import migrations


def tune(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts SET (fillfactor = 45)")
        cursor.execute(
            "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
            " AND tablename = 'accounts' AND indexname LIKE '%%\\_like'"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP INDEX {schema_editor.quote_name(name)}")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunPython(tune, migrations.RunPython.noop)]
