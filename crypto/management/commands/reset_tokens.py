from django.db import Error as DatabaseError

from crypto import reset
from crypto.commands import Exit, RepairCommand, add_backup_options, make_backup, stop
from crypto.fields import count_stored_values
from crypto.keyring import get_keyring


class Command(RepairCommand):
    help = (
        "Clear stored values that no secret opens, so that their accounts can reconnect; those "
        "that can be read are kept."
    )

    def add_arguments(self, parser):
        parser.add_argument("--all", action="store_true", help="clear the readable ones as well")
        parser.add_argument(
            "--account", nargs="+", default=[], metavar="ID", help="of these rows only"
        )
        parser.add_argument("--no-input", action="store_true", help="do not ask")
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument("--dry-run", action="store_true", help="list them; change nothing")
        instead.add_argument(
            "--notify-only",
            action="store_true",
            help="tell the members by e-mail that they will have to reconnect; change nothing",
        )
        add_backup_options(parser)

    def handle(self, **options):
        self.cleared = 0
        ring = get_keyring()
        scope = reset.Scope(everything=options["all"], pks=frozenset(options["account"]))
        try:
            reset.require_fit(ring, scope)
            count = self._list(ring, scope)
            if options["notify_only"]:
                self._announce(ring, scope)
            elif count and not options["dry_run"]:
                self._clear(ring, scope, count, options)
        except reset.ResetRefused as exc:
            raise stop(exc, Exit.FAILED if ring.primary else Exit.NOT_CONFIGURED) from None
        except (DatabaseError, KeyboardInterrupt) as exc:
            reason = "Interrupted" if isinstance(exc, KeyboardInterrupt) else exc
            if self.cleared:
                rest = f"{self.count(self.cleared, 'value')} cleared before; run it again"
                raise stop(f"{reason}. {rest} for the rest.", Exit.PARTLY) from None
            raise stop(f"{reason}. Nothing was cleared.") from None

    def _list(self, ring, scope):
        """Say whose values would be cleared; returns how many there are."""
        count = 0
        for _, values in reset.chosen(ring, scope):
            for name in values.values():
                todo = "Must reconnect" if name.model == "account" else "Needs a new one"
                self.stdout.write(f"{todo}: {name}")
                count += 1
        kept = count_stored_values() - count
        if count:
            self.stdout.write(f"{self.count(count, 'value')} to clear; {kept:,} stay as they are.")
        elif scope.pks:
            raise stop(
                f"None of {', '.join(sorted(scope.pks))} holds a value that would be cleared; "
                "with --all a readable one is cleared as well. Nothing was changed."
            )
        elif scope.everything:
            self.stdout.write("Nothing to clear: nothing is stored.")
        else:
            self.stdout.write(
                f"Nothing to clear: the secrets here open all {kept:,} stored values. "
                "--all clears them too."
            )
        return count

    def _announce(self, ring, scope):
        if told := reset.announce(ring, scope):
            self.stdout.write(f"{self.count(told, 'member')} told by mail. Nothing was changed.")
            return
        raise stop(
            "Nobody could be told: EMAIL_URL is not set, or none of the members has an address.",
            Exit.NOT_CONFIGURED,
        )

    def _note(self, name):
        self.cleared += 1
        self.stdout.write(f"Cleared: {name}")

    def _clear(self, ring, scope, count, options):
        if not options["no_input"]:
            self.stdout.write("Their accounts send nothing until somebody reconnects them.")
            try:
                answer = input(f"Clear {count:,}? Type yes: ")
            except EOFError:
                raise stop("There is nobody to ask; use --no-input. Nothing was cleared.") from None
            if answer.strip().lower() != "yes":
                raise stop("Nothing was cleared.")
        make_backup(self, "reset", options)
        cleared = reset.clear(ring, scope, self._note)
        self.stdout.write(
            f"{self.count(cleared, 'value')} cleared, {count_stored_values():,} kept. The members "
            "see “Reconnect” on the accounts page."
        )
