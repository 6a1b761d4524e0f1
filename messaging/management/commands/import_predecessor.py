import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

from django.core.management.base import BaseCommand
from django.db import Error as DatabaseError
from django.db import connection

from accounts.models import Account
from crypto.commands import Exit, Meter, stop
from crypto.keyring import get_keyring
from crypto.models import SupersededSecret
from messaging import moving_in, queues
from messaging.moving_in import COUNTED, CannotMoveIn, Report, SecretsDiffer, Source


class Command(BaseCommand):
    help = (
        "Move in from the predecessor: users, accounts, conversations, messages and files from "
        "its SQLite file, which is only read. Run it again whenever you like: what is here "
        "already stays as it is."
    )

    def add_arguments(self, parser):
        parser.add_argument("database", type=Path, metavar="DATABASE", help="its SQLite file")
        parser.add_argument(
            "--media", type=Path, metavar="FOLDER", help="its files; usual: media beside DATABASE"
        )
        parser.add_argument("--dry-run", action="store_true", help="the same report; write nothing")
        parser.add_argument("--json", action="store_true", help="one JSON object, for programs")

    def handle(self, *, database, media, dry_run, **options):
        self._require_fit(database, media)
        report = Report(str(database), is_dry=dry_run)
        try:
            with closing(Source(database)) as source:
                moving_in.prove(source, get_keyring(), report)
                self._move_in(source, media or database.resolve().parent / "media", report, options)
        except (CannotMoveIn, SupersededSecret) as exc:
            raise stop(f"{exc}\nNothing was changed.") from None
        except SecretsDiffer as exc:
            raise stop(f"{exc}\nNothing was changed.", Exit.UNREADABLE) from None
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=2))
        else:
            self._show(report)
        if report.has_losses:
            raise SystemExit(Exit.PARTLY)

    def _require_fit(self, database, media):
        if get_keyring().primary is None:
            raise stop("SESSION_SECRET is not set: no token can be opened.", Exit.NOT_CONFIGURED)
        if not database.is_file():
            raise stop(f"There is no file {database}.", Exit.USAGE)
        if media and not media.is_dir():
            raise stop(f"There is no folder {media}.", Exit.USAGE)
        if Account._meta.db_table not in connection.introspection.table_names():
            raise stop("This site has no tables yet. Run manage.py migrate first.")

    def _move_in(self, source, media, report, options):
        title = "Looked at" if report.is_dry else "Moved in"
        meter = Meter(self, title, moving_in.total(source))
        if options["json"]:  # The lines between would be none.
            meter.next_line = math.inf
        queues.prepare()  # Usually no worker has run yet.
        try:
            with meter.shown():
                for number in moving_in.move_in(source, media, report):
                    meter.advance(number)
        except (DatabaseError, OSError, sqlite3.Error, KeyboardInterrupt) as exc:
            # The first line: those below may quote the row.
            reason = (
                "Interrupted" if isinstance(exc, KeyboardInterrupt) else f"{exc}".split("\n")[0]
            )
            if report.is_dry:
                raise stop(f"{reason}. Nothing was changed.") from None
            raise stop(
                f"{reason}. What was moved in by then stays ({meter.done:,} of {meter.total:,} "
                "rows). Run it again for the rest.",
                Exit.PARTLY,
            ) from None

    def _show(self, report):
        verb = "would be new" if report.is_dry else "new"
        for thing, counter in report.counts.items():
            outcomes = {verb: counter["new"], "here already": counter["here"]}
            outcomes |= {name: n for name, n in counter.items() if name not in ("new", "here")}
            line = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.items())
            self.stdout.write(f"{COUNTED[thing]}: {line}")
        for title, is_loss in (("Left behind", True), ("Not meant to come along", False)):
            found = [one for one in report.left.values() if one.is_loss is is_loss]
            if found:
                self.stdout.write(f"{title}:")
            for one in found:
                self.stdout.write(f"  {one}")
        for line in report.to_do:
            self.stdout.write(f"To do: {line}")
        if report.is_dry:
            self.stdout.write("Nothing was changed.")
