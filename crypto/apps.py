from django.apps import AppConfig


class CryptoConfig(AppConfig):
    name = "crypto"

    def ready(self):
        from . import checks  # noqa: F401  (registers the checks)
