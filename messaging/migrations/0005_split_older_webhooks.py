from django.db import migrations
from django.utils import timezone


def read_again(apps, schema_editor):
    """Webhooks from before they were split: an unsend must find what they brought."""
    webhooks = apps.get_model("messaging", "WebhookEvent").objects
    unsplit = webhooks.filter(events__isnull=True, due_at__isnull=True)
    webhooks.filter(pk__in=unsplit.values("pk")).update(state="pending", due_at=timezone.now())


class Migration(migrations.Migration):
    dependencies = [("messaging", "0004_history_syncs")]

    operations = [migrations.RunPython(read_again, migrations.RunPython.noop)]
