import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connection

from crypto import census
from crypto.columns import encrypted_columns
from crypto.commands import Exit, RepairCommand, stop
from crypto.env_file import EnvFile, EnvFileRefused
from crypto.keyring import KeyRing, derive
from crypto.secrets import weakness


class Command(RepairCommand):
    help = "Print a new strong secret, or write it into a .env file."

    def add_arguments(self, parser):
        parser.add_argument("--env-file", type=Path, metavar="FILE", help="write it there")
        parser.add_argument(
            "--keep-old",
            action="store_true",
            help="begin a rotation: the present secret becomes a fallback, so all still opens",
        )

    def handle(self, *, env_file, keep_old, **options):
        new = self._make()
        if env_file is None:
            if keep_old:
                raise stop("--keep-old needs --env-file.", Exit.USAGE)
            self.stdout.write(new)
            return
        try:
            file = EnvFile(env_file)
            file.require_writable()
            old = file.secret
            if keep_old and old is None:
                raise stop(f"{env_file} holds no SESSION_SECRET to keep.", Exit.USAGE)
            if not keep_old:
                self._require_unused(old)
            file.write(new, [old, *file.fallbacks] if keep_old else file.fallbacks)
        except EnvFileRefused as exc:
            raise stop(exc) from None
        self.stdout.write(f"{env_file}: SESSION_SECRET is now {derive(new).fingerprint}.")
        if "SESSION_SECRET" in os.environ or "SESSION_SECRET_FILE" in os.environ:
            self.stderr.write(
                "This process has SESSION_SECRET in its environment, which wins over the file."
            )
        if keep_old:
            self.stdout.write(
                f"The old one, {derive(old).fingerprint}, is a fallback. Restart web and worker, "
                "then run: python manage.py rotate_secret"
            )

    @staticmethod
    def _make() -> str:
        while True:
            new = secrets.token_urlsafe(32)
            # One that begins with a dash would look like an option on a command line.
            if weakness(new) is None and new[0].isalnum():
                return new

    def _require_unused(self, old: str | None) -> None:
        """Nothing may be stored under the secret that would be overwritten."""
        if old is None:
            return
        try:
            tables = connection.introspection.table_names()
            if any(c.model._meta.db_table not in tables for c in encrypted_columns()):
                return  # Not migrated yet: nothing is stored.
            stored = census.take(KeyRing(old)).by_secret.get(derive(old).fingerprint, 0)
        except (DatabaseError, ImproperlyConfigured) as exc:
            raise stop(
                f"The database cannot be asked whether values are stored under the present "
                f"secret, so it was kept: {exc}"
            ) from None
        if stored:
            raise stop(
                f"{self.count(stored, 'value')} are stored under the present SESSION_SECRET "
                f"({derive(old).fingerprint}); without it nobody could open them. Nothing was "
                "changed. To rotate, use --keep-old."
            )
