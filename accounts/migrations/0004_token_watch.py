from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_deletion_requests")]

    operations = [
        migrations.AddField(
            model_name="account",
            name="token_refresh_at",
            field=models.DateTimeField(null=True, help_text="Not refreshed before then."),
        ),
        migrations.AddField(
            model_name="account",
            name="token_alerted_at",
            field=models.DateTimeField(null=True, help_text="When its owners were told last."),
        ),
    ]
