import json
import sys
from getpass import getpass
from pathlib import Path

from django.conf import settings

from crypto.commands import Exit, Meter, RepairCommand, stop
from crypto.keyring import get_keyring
from crypto.sealed_files import WrongPassphrase
from messaging import archive, restore
from messaging.restore_refusals import (
    RestoreRefused,
    WrongSecret,
    pending,
    require_empty,
    require_fit,
)


class Command(RepairCommand):
    help = (
        "Restore a backup into an empty installation. Everything is verified before anything is "
        "touched."
    )

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path, metavar="FILE", help="what backup has written")
        parser.add_argument("--dry-run", action="store_true", help="verify it; change nothing")
        parser.add_argument(
            "--without-secret",
            action="store_true",
            help="although no secret here opens its tokens: it is lost",
        )
        parser.add_argument(
            "--unsealed",
            action="store_true",
            help="although it is not sealed and BACKUP_PASSPHRASE is set: you know who made it",
        )
        parser.add_argument(
            "--send-waiting",
            action="store_true",
            help="answers that waited are sent: the site has not run since the backup",
        )
        parser.add_argument("--json", action="store_true", help="the result for a program")

    def handle(self, *, file, dry_run, without_secret, unsealed, send_waiting, **options):
        self.is_json = options["json"]
        try:
            if not dry_run:
                require_empty()  # Before the long look at the archive.
            found = self._checked(file, is_unsealed=unsealed)
            require_fit(found, without_secret=without_secret)
            held = 0
            if not dry_run:
                with self._meter("Restoring, MB") as told:
                    held = restore.put(
                        found, send_waiting=send_waiting, told=lambda n: told(n, found.size)
                    )
        except WrongSecret as exc:
            code = Exit.FAILED if get_keyring().keys else Exit.NOT_CONFIGURED
            raise stop(f"{exc} Nothing was changed.", code) from None
        except RestoreRefused as exc:
            raise stop(f"{exc} Nothing was changed.") from None
        except restore.RestoreFailed as exc:
            raise stop(exc) from None
        except KeyboardInterrupt:
            raise stop("Interrupted. Nothing was changed.") from None
        self._tell(found, held, dry_run)

    def _checked(self, path, *, is_unsealed):
        try:
            if restore.needs_passphrase(path):
                passphrase = self._passphrase()
            else:
                passphrase = None if is_unsealed else settings.BACKUP_PASSPHRASE or None
            size = path.stat().st_size
            with self._meter("Verifying, MB") as told:
                return restore.check(path, passphrase, lambda n: told(n, size))
        except OSError as exc:
            code = Exit.USAGE if isinstance(exc, FileNotFoundError) else Exit.FAILED
            raise stop(
                f"{path} cannot be read: {exc.strerror}. Nothing was changed.", code
            ) from None
        except (archive.Damaged, WrongPassphrase) as exc:
            text = str(exc)[0].upper() + str(exc)[1:].rstrip(".")
            raise stop(f"{path}: {text}. Nothing was changed.") from None

    def _passphrase(self):
        if settings.BACKUP_PASSPHRASE:
            return settings.BACKUP_PASSPHRASE
        if not sys.stdin.isatty():
            raise stop(
                "The backup is sealed: set BACKUP_PASSPHRASE, or BACKUP_PASSPHRASE_FILE. Nothing "
                "was changed.",
                Exit.NOT_CONFIGURED,
            )
        return getpass("Passphrase of the backup: ")

    def _meter(self, title):
        return Meter(self, title, 0).in_bytes(quiet=self.is_json)

    def _tell(self, found, held, is_dry):
        manifest, missing = found.manifest, self._settings_missing(found.manifest["settings"])
        waiting = pending(found)
        if self.is_json:
            facts = {
                "dry_run": is_dry, "made_at": manifest["made_at"], "site": manifest["site"],
                "tables": found.tables, "files": found.files, "migrated": waiting,
                "not_sent": held, "settings_missing": missing,
            }  # fmt: skip
            self.stdout.write(json.dumps(facts, indent=2))
            return
        write = self.stdout.write
        write(f"The backup of {manifest['made_at']}, by InstaMsg {manifest['site']}, is whole.")
        for table, rows in found.tables.items():
            if rows:
                write(f"{table}: {rows:,}")
        elsewhere = manifest.get("files_elsewhere")
        write(
            f"files: not in it; {elsewhere} keeps them" if elsewhere else f"files: {found.files:,}"
        )
        if is_dry:
            write("Nothing was changed: without --dry-run this is restored.")
            return
        write("Restored, every row counted.")
        if waiting:
            write(f"Brought up to date with {self.count(len(waiting), 'migration')}.")
        if held:
            write(
                f"{self.count(held, 'answer')} waited to be sent, and may have been since: shown "
                "as “Not confirmed”, and not sent again by themselves."
            )
        if missing:
            write(f"Set there, and not here: {', '.join(missing)}.")
        write("Now: python manage.py check_secret, then start web and worker.")

    def _settings_missing(self, then):
        """With its value, where that is no secret."""
        gone = {name: then[name] for name in sorted(then) if name not in settings.SETTINGS_GIVEN}
        return [name if value is None else f"{name}={value}" for name, value in gone.items()]
