"""Deletion as a job of the workers, and the mark of accounts that are to go."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_postgresql_accounts_table"),
    ]

    operations = [
        migrations.CreateModel(
            name="DeletionRequest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                (
                    "asked_by",
                    models.CharField(
                        choices=[
                            ("owner", "An owner, here"),
                            ("instagram", "Instagram, for its user"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("under_way", "Under way"),
                            ("done", "Done"),
                            ("nothing", "Nothing was stored"),
                            ("outdated", "Older than the connection"),
                        ],
                        default="under_way",
                        max_length=16,
                    ),
                ),
                ("requested_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("finished_at", models.DateTimeField(null=True)),
                ("accounts_deleted", models.PositiveIntegerField(default=0)),
                ("members", models.PositiveIntegerField(default=0, help_text="Who had access.")),
                ("conversations", models.PositiveIntegerField(default=0)),
                ("messages", models.PositiveIntegerField(default=0)),
                ("files", models.PositiveIntegerField(default=0)),
                (
                    "notifications",
                    models.PositiveIntegerField(
                        default=0, help_text="What Instagram had sent, as it was stored."
                    ),
                ),
            ],
            options={
                "db_table": "deletion_requests",
                "ordering": ["-requested_at"],
            },
        ),
        migrations.AddField(
            model_name="account",
            name="deletion",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                help_text="Set while a worker deletes it: nobody sees it any more.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="accounts",
                to="accounts.deletionrequest",
            ),
        ),
        migrations.AddField(
            model_name="account",
            name="allowed_at",
            field=models.DateTimeField(
                help_text="When a person last allowed it at Instagram; a refresh is none.",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="account",
            index=models.Index(
                condition=models.Q(("deletion__isnull", False)),
                fields=["deletion"],
                name="account_deletion",
            ),
        ),
    ]
