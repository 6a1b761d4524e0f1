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
    ("endpoint_made", "CRM endpoint added"),
    ("endpoint_changed", "CRM endpoint changed"),
    ("endpoint_rotated", "Secret of a CRM endpoint replaced"),
    ("endpoint_on", "CRM endpoint switched on"),
    ("endpoint_off", "CRM endpoint switched off"),
    ("endpoint_deleted", "CRM endpoint deleted"),
    ("exported", "Security events exported"),
]


class Migration(migrations.Migration):
    dependencies = [("crypto", "0003_api_key_events")]

    operations = [
        migrations.AlterField(
            model_name="securityevent",
            name="kind",
            field=models.CharField(max_length=32, choices=KINDS),
        ),
    ]
