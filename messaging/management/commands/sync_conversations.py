import json
import sys
import time
from contextlib import contextmanager, nullcontext

from django.db import Error as DatabaseError
from rich.console import Console

from accounts.commands import AccountsCommand
from accounts.models import Account
from crypto.commands import Exit, stop
from messaging import history
from messaging.models import HistorySync

SECONDS = 5
"""Between two lines where there is no terminal."""

WAITING = "waiting"


class Command(AccountsCommand):
    help = (
        "Look through the recent conversations of all connected accounts, or of the named ones, "
        "and bring in the messages that are not here."
    )

    def handle(self, **options):
        self.is_json, self.rows = options["json"], []
        try:
            for account in self.chosen(options["account"], Account.objects.worth_trying):
                self._sync(account)
        except (DatabaseError, KeyboardInterrupt) as exc:
            reason = "Interrupted" if isinstance(exc, KeyboardInterrupt) else exc
            code = Exit.PARTLY if self._finished() else Exit.FAILED
            raise stop(
                f"{reason}. {self._finished():,} finished before; a running worker goes on.", code
            ) from None
        self._sum_up()
        if code := self._exit_code():
            raise SystemExit(code)

    def _sync(self, account):
        walk = history.begin(account, HistorySync.Reason.ASKED)
        try:
            with self._progress(account) as show:
                for step in history.run(walk):
                    show(step)
            account.refresh_from_db()
        except (HistorySync.DoesNotExist, Account.DoesNotExist):
            return  # Somebody has deleted the account.
        self._report(account, walk)

    @contextmanager
    def _progress(self, account):
        """Gives what to call after each step. Results go to stdout, so progress does not."""
        console, shown_at = Console(file=sys.stderr), time.monotonic()

        def text(walk):
            return (
                f"{account}: conversations: {walk.conversations_seen:,}, "
                f"messages: {walk.messages_seen:,} so far"
            )

        def write(walk):
            nonlocal shown_at
            if time.monotonic() - shown_at >= SECONDS:
                shown_at = time.monotonic()
                self.stderr.write(text(walk))

        with console.status(f"{account}: …") if console.is_terminal else nullcontext() as status:
            yield (lambda walk: status.update(text(walk))) if status else write

    def _report(self, account, walk):
        state = WAITING if walk.is_under_way else walk.state
        row = {
            "account_id": account.pk,
            "username": account.username,
            "state": state,
            "reason": walk.error,
            "conversations": walk.conversations_seen,
            "messages": walk.messages_seen,
            "gaps_found": walk.gaps_found,
            "gaps_filled": walk.messages_new,
        }
        self.rows.append(row | {"is_unreadable": account.problem == Account.Problem.UNREADABLE})
        if self.is_json:
            return
        line = (
            f"{account.pk} {account}: {state}; conversations: {walk.conversations_seen:,}, "
            f"messages: {walk.messages_seen:,}, missing: {walk.gaps_found:,}, "
            f"added: {walk.messages_new:,}"
        )
        self.stdout.write(f"{line}. {walk.error}" if walk.error else f"{line}.")

    def _finished(self):
        return sum(row["state"] == HistorySync.State.FINISHED for row in self.rows)

    def _sum_up(self):
        if self.is_json:
            hidden = {"is_unreadable"}
            rows = [{k: v for k, v in row.items() if k not in hidden} for row in self.rows]
            self.stdout.write(
                json.dumps({"finished": self._finished(), "accounts": rows}, indent=2)
            )
        elif not self.rows:
            self.stdout.write("No account is connected.")
        if any(row["state"] == WAITING for row in self.rows):
            self.stderr.write("What waits goes on by itself while the worker runs.")

    def _exit_code(self):
        if any(row["is_unreadable"] and row["state"] == WAITING for row in self.rows):
            return Exit.UNREADABLE
        if self._finished() == len(self.rows):
            return Exit.DONE
        return Exit.PARTLY if self._finished() else Exit.FAILED
