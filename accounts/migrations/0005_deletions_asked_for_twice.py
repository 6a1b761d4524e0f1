from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_token_watch")]

    operations = [
        migrations.AlterField(
            model_name="deletionrequest",
            name="state",
            field=models.CharField(
                max_length=16,
                choices=[
                    ("under_way", "Under way"),
                    ("done", "Done"),
                    ("nothing", "Nothing was stored"),
                    ("outdated", "Older than the connection"),
                    ("earlier", "Under way by an earlier request"),
                ],
                default="under_way",
            ),
        ),
    ]
