import json
import sys
from getpass import getpass
from pathlib import Path

from django.conf import settings

from crypto.commands import Exit, Meter, RepairCommand, stop
from crypto.sealed_files import SHORTEST
from messaging import backup


class Command(RepairCommand):
    help = (
        "Back up the database, the files and the names of the settings into one archive, while "
        "the site runs. Sealed where BACKUP_PASSPHRASE is set, or with --encrypt."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--backup-dir",
            type=Path,
            metavar="FOLDER",
            default=settings.BASE_DIR / "backups",
            help="where it goes; else backups/ here",
        )
        parser.add_argument("--encrypt", action="store_true", help="ask for a passphrase")
        parser.add_argument(
            "--keep",
            type=int,
            metavar="N",
            help="afterwards delete this site's backups there but for the N newest",
        )
        parser.add_argument("--json", action="store_true", help="the result for a program")

    def handle(self, *, backup_dir, encrypt, keep, **options):
        if keep is not None and keep < 1:
            raise stop("--keep takes a number from 1 on.", Exit.USAGE)
        passphrase = settings.BACKUP_PASSPHRASE or (self._ask() if encrypt else None)
        if passphrase and len(passphrase) < SHORTEST:
            raise stop(f"The passphrase is too short: {SHORTEST} characters at least.", Exit.USAGE)
        try:
            with Meter(self, "Backing up, MB", 0).in_bytes(quiet=options["json"]) as told:
                made = backup.make(backup_dir, passphrase, told)
        except backup.BackupFailed as exc:
            raise stop(exc) from None
        except KeyboardInterrupt:
            raise stop("Interrupted. There is no backup.") from None
        gone = self._forget_older(backup_dir, keep) if keep else []
        self._tell(made, gone or [], options["json"])
        if made.left_out or gone is None:
            raise SystemExit(Exit.PARTLY)

    def _ask(self):
        if not sys.stdin.isatty():
            raise stop(
                "There is nobody to ask for a passphrase: set BACKUP_PASSPHRASE, or "
                "BACKUP_PASSPHRASE_FILE.",
                Exit.NOT_CONFIGURED,
            )
        first = getpass("Passphrase: ")
        if first != getpass("Once more: "):
            raise stop("These are two different ones. There is no backup.", Exit.USAGE)
        return first

    def _forget_older(self, folder, keep):
        """What went; None when it could not."""
        try:
            return backup.forget_older(folder, keep)
        except OSError as exc:
            self.stderr.write(f"An older backup could not be deleted: {exc.strerror}.")
            return None

    def _tell(self, made, gone, is_json):
        tables = made.manifest["database"]["tables"]
        if is_json:
            facts = {
                "path": str(made.path), "bytes": made.size, "tables": tables, "files": made.files,
                "vanished": made.vanished, "left_out": made.left_out,
                "secret": made.manifest["secret"], "deleted": [str(path) for path in gone],
            }  # fmt: skip
            self.stdout.write(json.dumps(facts, indent=2))
        else:
            self.stdout.write(
                f"{self.count(sum(tables.values()), 'row')} of {self.count(len(tables), 'table')}, "
                f"{self.count(made.files, 'file')}, {made.size / 1e6:,.1f} MB.\n"
                f"Backup: {made.path}"
            )
            for path in gone:
                self.stdout.write(f"Deleted: {path}")
        if made.vanished:
            self.stderr.write(
                f"{self.count(made.vanished, 'file')} went meanwhile, as when somebody deletes a "
                "message: not in the backup."
            )
        for line in made.named:
            self.stderr.write(f"Left out: {line}")
        if made.left_out > len(made.named):
            self.stderr.write(f"Left out in all: {made.left_out:,}")
        if elsewhere := made.manifest["files_elsewhere"]:
            self.stderr.write(
                f"Not in the backup: the files, which {elsewhere} keeps. Back them up there."
            )
        self._tell_secret(made.manifest["secret"])

    def _tell_secret(self, secret):
        if not secret["is_here"]:
            name = f"secret {secret['needed']}" if secret["needed"] else "a secret"
            self.stderr.write(
                f"The stored tokens need {name}, and SESSION_SECRET here does not open them (all "
                "of them). They are in the backup as they stand: python manage.py check_secret"
            )
