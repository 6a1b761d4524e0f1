from django.apps import AppConfig


class MessagingConfig(AppConfig):
    name = "messaging"

    def ready(self):
        from accounts.connecting import account_connected

        from . import sending

        account_connected.connect(sending.go_on, dispatch_uid="sending")
