from django.db import migrations, models

KINDS = [
    ("secret_first_used", "Secret used for the first time"),
    ("secret_changed", "Start with another secret"),
    ("rotated", "Secret rotated"),
    ("reset", "Values reset"),
    ("connected", "Account connected"),
    ("disconnected", "Account disconnected"),
    ("decryption_failed", "Token could not be opened"),
    ("refresh_failed", "Token could not be refreshed"),
    ("logged_in", "Login"),
    ("login_failed", "Login failed"),
    ("exported", "Security events exported"),
]


class Migration(migrations.Migration):
    dependencies = [("crypto", "0001_registry")]

    operations = [
        migrations.AlterField(
            model_name="securityevent",
            name="kind",
            field=models.CharField(max_length=32, choices=KINDS),
        ),
    ]
