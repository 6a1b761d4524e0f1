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
    ("api_key_made", "API key made"),
    ("api_key_revoked", "API key revoked"),
    ("exported", "Security events exported"),
]


class Migration(migrations.Migration):
    dependencies = [("crypto", "0002_refresh_failed_event")]

    operations = [
        migrations.AlterField(
            model_name="securityevent",
            name="kind",
            field=models.CharField(max_length=32, choices=KINDS),
        ),
    ]
