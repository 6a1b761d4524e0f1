"""Fewer pages to touch for each message: indexes go that no query needs.

Each of these foreign keys begins a longer index, or is empty in most rows. The text-pattern
indexes that Django adds on PostgreSQL serve LIKE, which is asked of none of these columns.
The columns stay as they are, so nothing is rewritten, and older code runs on.

It does so meanwhile as well: each index goes in a transaction of its own. One for all would hold
one table while it waits for the next, and workers go the other way round. What was interrupted
is run again: it drops what is left.
"""

from django.conf import settings
from django.db import migrations, models
from django.db.models.deletion import CASCADE, SET_NULL

COVERED = [
    ("attachments", "message_id"),
    ("conversations", "account_id"),
    ("deliveries", "endpoint_id"),
    ("messages", "conversation_id"),
    ("messages", "written_by_id"),
]
TEXT = [("attachments", "public_id"), ("messages", "public_id"), ("messages", "account_id")]


def drop(apps, schema_editor):
    connection = schema_editor.connection
    # Without it a DROP waits for whoever uses the table, and all who come later wait for the DROP.
    way = "CONCURRENTLY" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        for table, column in COVERED + TEXT:
            found = connection.introspection.get_constraints(cursor, table)
            for name, one in found.items():
                is_plain = one["index"] and not one["unique"] and one["columns"] == [column]
                if is_plain and ((table, column) in COVERED or name.endswith("_like")):
                    cursor.execute(f"DROP INDEX {way} {schema_editor.quote_name(name)}")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("accounts", "0007_keys_made_by_keys"),
        ("messaging", "0009_watching"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(drop, migrations.RunPython.noop)],
            state_operations=[
                migrations.AlterField(
                    "attachment",
                    "message",
                    models.ForeignKey(
                        "messaging.message", CASCADE, db_index=False, related_name="attachments"
                    ),
                ),
                migrations.AlterField(
                    "conversation",
                    "account",
                    models.ForeignKey(
                        "accounts.account", CASCADE, db_index=False, related_name="conversations"
                    ),
                ),
                migrations.AlterField(
                    "delivery",
                    "endpoint",
                    models.ForeignKey(
                        "messaging.crmendpoint", CASCADE, db_index=False, related_name="deliveries"
                    ),
                ),
                migrations.AlterField(
                    "message",
                    "conversation",
                    models.ForeignKey(
                        "messaging.conversation", CASCADE, db_index=False, related_name="messages"
                    ),
                ),
                migrations.AlterField(
                    "message",
                    "written_by",
                    models.ForeignKey(
                        settings.AUTH_USER_MODEL,
                        SET_NULL,
                        null=True,
                        blank=True,
                        db_index=False,
                        related_name="+",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            "message",
            models.Index(
                fields=["written_by"],
                name="message_written_by",
                condition=models.Q(written_by__isnull=False),
            ),
        ),
    ]
