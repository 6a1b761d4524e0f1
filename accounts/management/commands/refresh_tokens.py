import json

from django.db import Error as DatabaseError

from accounts import token_watch
from accounts.commands import AccountsCommand
from accounts.models import Account
from accounts.token_watch import Outcome, Result
from crypto.commands import Exit, stop

SKIPPED = "skipped"


class Command(AccountsCommand):
    help = (
        "Refresh the access tokens that are due, as the worker does every ten minutes; or those "
        "of the named accounts, due or not."
    )

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="list them; ask nobody")

    def handle(self, **options):
        self.is_json, self.rows = options["json"], []
        try:
            for account in self.chosen(options["account"], token_watch.due):
                if self._report(account, options["dry_run"]) == Outcome.UNREACHABLE:
                    break
        except (DatabaseError, KeyboardInterrupt) as exc:
            reason = "Interrupted" if isinstance(exc, KeyboardInterrupt) else exc
            done = self._count(Outcome.REFRESHED)
            code = Exit.PARTLY if done else Exit.FAILED
            raise stop(f"{reason}. {done:,} refreshed before.", code) from None
        self._sum_up(options["dry_run"])
        if code := self._exit_code():
            raise SystemExit(code)

    def _report(self, account, is_dry):
        if reason := token_watch.why_not(account):
            outcome = SKIPPED
        elif is_dry:
            outcome, reason = "due", ""
        else:
            result = self._refresh(account)
            outcome, reason = result.outcome, result.reason
        until = account.token_expires_at
        self.rows.append(
            {
                "account_id": account.pk,
                "username": account.username,
                "outcome": outcome,
                "reason": reason,
                "token_expires_at": until and until.isoformat(),
            }
        )
        if not self.is_json:
            lasts = f"until {until:%Y-%m-%d %H:%M} UTC" if until else "end unknown"
            line = f"{account.pk} {account}: {outcome}, {lasts}"
            self.stdout.write(f"{line}. {reason}" if reason else line)
        return outcome

    def _refresh(self, account):
        try:
            return token_watch.refresh(account)
        except Account.DoesNotExist:
            return Result(Outcome.TAKEN, "It was deleted meanwhile.")

    def _count(self, *outcomes):
        return sum(row["outcome"] in outcomes for row in self.rows)

    def _sum_up(self, is_dry):
        if self.is_json:
            counts = {"refreshed": self._count(Outcome.REFRESHED), "accounts": self.rows}
            self.stdout.write(json.dumps(counts, indent=2))
        elif not self.rows:
            self.stdout.write("No token is due.")
        elif is_dry:
            self.stdout.write(f"{self._count('due'):,} to refresh. Nothing was changed.")
        else:
            failed = len(self.rows) - self._count(Outcome.REFRESHED)
            self.stdout.write(f"{self._count(Outcome.REFRESHED):,} refreshed, {failed:,} not.")
        if self._count(Outcome.UNREACHABLE):
            self.stderr.write("Instagram cannot be asked now; what else is due waits.")

    def _exit_code(self):
        if self._count(Outcome.UNREADABLE):
            return Exit.UNREADABLE
        good = self._count(Outcome.REFRESHED, "due")
        if good == len(self.rows):
            return Exit.DONE
        return Exit.PARTLY if good else Exit.FAILED
