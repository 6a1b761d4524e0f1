from django.apps import AppConfig


class MessagingConfig(AppConfig):
    name = "messaging"

    def ready(self):
        from django.db.models.signals import pre_migrate

        from accounts.connecting import account_connected
        from accounts.deletion import deletion_begun
        from crypto.reset import values_cleared

        from . import (
            checks,  # noqa: F401  (registers them)
            deletion,
            endpoint_notices,
            history,
            ledger,
            outbox,
            sending,
        )
        from .models import CrmEndpoint
        from .moving_in import in_the_way

        outbox.reply_queued.connect(sending.hint, dispatch_uid="sending")
        account_connected.connect(sending.go_on, dispatch_uid="sending")
        account_connected.connect(ledger.route_again, dispatch_uid="ledger")
        account_connected.connect(history.go_on, dispatch_uid="history")
        deletion_begun.connect(deletion.go_on, dispatch_uid="deletion")
        pre_migrate.connect(in_the_way.refuse_to_migrate, sender=self, dispatch_uid="moving_in")
        values_cleared.connect(endpoint_notices.secrets_cleared, sender=CrmEndpoint)
