import os
import sys

from django.conf import settings
from django.contrib.staticfiles.management.commands.runserver import Command as Runserver

from crypto import startup


class Command(Runserver):
    """Django's development server, as a launcher: one secret for all its processes."""

    def run(self, **options):
        if settings.KEYRING.primary is None and not settings.IS_PRODUCTION:
            startup.make_ephemeral()
            # The settings are read already; begin again with the secret in the environment.
            os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606  (ourselves, again)
        startup.refuse_to_start()
        startup.announce()
        super().run(**options)
