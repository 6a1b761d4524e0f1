from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.db.models.signals import pre_delete


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self):
        # Connects axes as well, so before us: audit.login_failed() sees what axes decided.
        from axes.signals import user_locked_out

        from crypto.reset import clearing_announced, values_cleared

        from . import audit, checks, notices  # noqa: F401  (checks: registers them)
        from .models import Account

        user_logged_in.connect(audit.logged_in)
        user_login_failed.connect(audit.login_failed)
        user_locked_out.connect(audit.locked_out)
        pre_delete.connect(audit.account_deleted, sender=Account)
        values_cleared.connect(notices.tokens_cleared, sender=Account)
        clearing_announced.connect(notices.clearing_announced, sender=Account)
