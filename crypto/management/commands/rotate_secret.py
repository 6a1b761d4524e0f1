import os
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError

from crypto import backup, heartbeat, rotation, secrets, verdict
from crypto.columns import encrypted_columns
from crypto.commands import Exit, Meter, RepairCommand, add_backup_options, make_backup, stop
from crypto.env_file import EnvFile, EnvFileRefused, require_listable
from crypto.fields import count_stored_values
from crypto.keyring import DecryptionError, KeyRing, derive
from crypto.models import Secret
from crypto.rotation import OutcomeUnknown, RotationRefused, Unreadable, Watcher

GIVEN = ("OLD_SECRET", "NEW_SECRET")
UNDONE = (RotationRefused, EnvFileRefused, DatabaseError, KeyboardInterrupt)
"""After these everything is as it was before."""


class Command(RepairCommand):
    help = (
        "Re-encrypt every stored value under the new secret. While the site runs: SESSION_SECRET "
        "holds the new one, SESSION_SECRET_FALLBACKS the old. With the site stopped: OLD_SECRET "
        "and NEW_SECRET in the environment."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--dry-run", action="store_true", help="do all but the last step; nothing is written"
        )
        parser.add_argument(
            "--skip-unreadable",
            action="store_true",
            help=f"leave values that no secret opens as they are (exit code {Exit.PARTLY})",
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help="although running processes lack the new secret: they are known to be gone",
        )
        parser.add_argument(
            "--env-file",
            type=Path,
            metavar="FILE",
            help="with OLD_SECRET and NEW_SECRET: switch this file from the one to the other",
        )
        add_backup_options(parser)

    def handle(self, *, dry_run, env_file, force, verbosity, **options):
        try:
            if self._is_given():
                self._read_given()
            self.before = Secret.objects.current()
            if env_file:
                self._require_switchable(env_file)
                if not dry_run and self._only_the_file_is_left(env_file):
                    self._switch(env_file)
                    return
            ring = self._ring_given() if self._is_given() else self._ring_of_the_site()
            how = {"force": force or dry_run, "skip_unreadable": options["skip_unreadable"]}
            rotation.require_fit(ring, force=how["force"])
            if dry_run:
                done = self._rotate(ring, dry_run=True, **how)
            else:
                copy = make_backup(self, "rotation", options)
                with self._no_copy_of_nothing(copy), self._switching(env_file):
                    done = self._rotate(ring, **how)
        except Unreadable as exc:
            raise stop(exc, Exit.UNREADABLE) from None
        except OutcomeUnknown as exc:
            raise stop(exc, Exit.FALLBACK) from None
        except (RotationRefused, EnvFileRefused) as exc:
            raise stop(exc) from None
        except DatabaseError as exc:
            raise stop(f"The database refused; nothing was changed. {exc}") from None
        except KeyboardInterrupt:
            if self._has_moved():
                raise stop(
                    "Interrupted after the values had moved. Run the same command again to do "
                    "what is left; manage.py check_secret shows what is true.",
                    Exit.FALLBACK,
                ) from None
            raise stop("Interrupted. Nothing was changed.") from None
        if verbosity >= 2 and not dry_run:
            self._tell_each(ring)
        self._tell(done, ring, dry_run)
        if done.census.unreadable:
            raise SystemExit(Exit.PARTLY)

    # The secrets

    def _is_given(self):
        return any(name in os.environ or f"{name}_FILE" in os.environ for name in GIVEN)

    def _read_given(self):
        try:
            self.old, self.new = (secrets.read(name, [os.environ]) for name in GIVEN)
        except ImproperlyConfigured as exc:
            raise stop(exc, Exit.USAGE) from None
        for name, value in zip(GIVEN, (self.old, self.new), strict=True):
            if value is None:
                raise stop(f"{name} is not set, or blank: set both.", Exit.NOT_CONFIGURED)
        if self.old == self.new:
            raise stop("OLD_SECRET and NEW_SECRET are the same.", Exit.USAGE)
        if reason := secrets.weakness(self.new):
            raise stop(f"NEW_SECRET is weak: {reason}.", Exit.USAGE)

    def _ring_given(self):
        """The site is stopped, and its environment may still hold the old secret alone."""
        ring = KeyRing(self.new, [self.old])
        opened = verdict.sample(ring)
        if opened and opened[ring.primary.fingerprint] == opened.total():
            raise stop(
                "NEW_SECRET opens what is stored and OLD_SECRET does not: they are swapped, or "
                "the rotation was done before. Nothing was changed."
            )
        if opened[derive(self.old).fingerprint]:  # It is the right one; others may help.
            ring.fallbacks += [key for key in settings.KEYRING.keys if key not in ring.keys]
        return ring

    def _ring_of_the_site(self):
        ring = settings.KEYRING
        if ring.primary is None or settings.SESSION_SECRET_IS_EPHEMERAL:
            raise stop("SESSION_SECRET is not set.", Exit.NOT_CONFIGURED)
        if not ring.fallbacks:
            raise stop(
                "There is no old secret to rotate from: put it into SESSION_SECRET_FALLBACKS, and "
                "the new one into SESSION_SECRET; or set OLD_SECRET and NEW_SECRET.",
                Exit.NOT_CONFIGURED,
            )
        if ring.primary in ring.fallbacks:
            raise stop(
                "SESSION_SECRET is also listed in SESSION_SECRET_FALLBACKS: old and new are the "
                "same.",
                Exit.USAGE,
            )
        if reason := dict(settings.WEAK_SECRETS).get("SESSION_SECRET"):
            raise stop(f"SESSION_SECRET is weak: {reason}.", Exit.USAGE)
        return ring

    # The .env file

    def _require_switchable(self, path):
        if not self._is_given():
            raise stop(
                "--env-file goes with OLD_SECRET and NEW_SECRET: without them SESSION_SECRET is "
                "the new one already.",
                Exit.USAGE,
            )
        require_listable([self.old, self.new])  # Each is a fallback for a while.
        file = EnvFile(path)
        file.require_writable()
        if file.secret != self.old:
            raise stop(f"{path} does not hold OLD_SECRET as its SESSION_SECRET.", Exit.USAGE)

    def _only_the_file_is_left(self, path):
        """A rotation moved the values, and ended before the file was switched."""
        is_moved = self.before and self.before.fingerprint == derive(self.new).fingerprint
        return is_moved and self.new in EnvFile(path).fallbacks

    def _has_moved(self):
        """Whether the registry names another secret than it did; to be on the safe side, yes."""
        try:
            return Secret.objects.current() != self.before
        except DatabaseError:
            return True

    @contextmanager
    def _switching(self, path):
        """The file holds both secrets meanwhile: whatever happens, it opens what is stored."""
        if path is None:
            yield
            return
        with EnvFile(path).held():
            yield from self._switching_alone(path)

    def _switching_alone(self, path):
        self._require_switchable(path)  # Still, now that nobody else can change it.
        file = EnvFile(path)
        others = [one for one in file.fallbacks if one not in (self.old, self.new)]
        before = file.text
        file.write(self.old, [self.new, *others])
        try:
            yield
        except UNDONE:
            # Another rotation may have come first: then the file is right, or both are needed.
            if EnvFile(path).text == file.text and not self._has_moved():
                file.restore(before)
            raise
        self._switch(path)

    def _switch(self, path):
        file = EnvFile(path)
        others = [one for one in file.fallbacks if one not in (self.old, self.new)]
        try:
            file.write(self.new, [self.old, *others])
        except EnvFileRefused as exc:
            raise stop(
                f"The values are rotated, but {exc} It holds both secrets, so all opens; put the "
                "new one into SESSION_SECRET and the old into SESSION_SECRET_FALLBACKS by hand.",
                Exit.FALLBACK,
            ) from None
        self.stdout.write(f"{path}: SESSION_SECRET is the new one, the old one is a fallback.")

    # The work, and what is said of it

    @contextmanager
    def _no_copy_of_nothing(self, copy):
        try:
            yield
        except UNDONE as exc:
            if copy and not (isinstance(exc, KeyboardInterrupt) and self._has_moved()):
                backup.remove(copy)
                self.stdout.write("The backup was removed again.")
            raise

    def _rotate(self, ring, **how):
        meter = Meter(self, "Rotating", count_stored_values())
        watcher = Watcher(
            page_done=meter.advance,
            unreadable=lambda name, why: self.stderr.write(f"Unreadable: {name}: {why}"),
        )
        with meter.shown():
            return rotation.rotate(ring, watcher=watcher, **how)

    def _tell_each(self, ring):
        for column in encrypted_columns():
            for page in column.pages():
                names = column.names([place for place, _ in page])
                for place, ciphertext in page:
                    if place in names:
                        self.stdout.write(f"{names[place]}: {self._outcome(ring, ciphertext)}")

    def _outcome(self, ring, ciphertext):
        try:
            key, _ = ring.open(ciphertext)
        except DecryptionError:
            return "left as it was, no secret opens it"
        return "under the new secret" if key is ring.primary else "still under the old secret"

    def _tell(self, done, ring, dry_run):
        new = ring.primary.fingerprint
        write = self.stdout.write
        for column in done.columns:
            write(
                f"{column}: {done.moved[column]:,} {'to re-encrypt' if dry_run else 're-encrypted'}"
                f", {done.already[column]:,} under {new} already, "
                f"{done.unreadable[column]:,} unreadable"
            )
        if dry_run:
            proven = "Both secrets are proven" if done.moved.total() else "Nothing is to be moved"
            write(
                f"{proven}, nothing was written. The rotation will take about {done.seconds:.1f} s."
            )
            if lacking := heartbeat.living_without(ring.primary):
                names = ", ".join(map(str, lacking))
                write(f"Before it, these have to hold the new secret, or be stopped: {names}.")
            return
        if done.raced:
            write(f"{self.count(done.raced, 'value')} written meanwhile, moved as well.")
        write(
            f"Everything that could be opened is under secret {new} now. It took "
            f"{done.seconds:.1f} s; others waited {done.held:.2f} s at most."
        )
        if self._is_given():
            write(
                "Wherever the site gets its secrets from: SESSION_SECRET is the new one now, and "
                "SESSION_SECRET_FALLBACKS the old. Then start it, and run manage.py check_secret."
            )
        if done.census.unreadable:
            write(f"{self.count(done.census.unreadable, 'value')} left as before: named above.")
