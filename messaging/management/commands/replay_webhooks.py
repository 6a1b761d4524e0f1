import json
from datetime import datetime

from django.core.management.base import BaseCommand
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from crypto.commands import Exit, Meter, stop
from messaging import ledger
from messaging.events import Kind
from messaging.models import State


class Command(BaseCommand):
    help = "Read stored webhooks again: after a mended fault, or to see what they hold."

    def add_arguments(self, parser):
        time = "2026-11-20 or 2026-11-20T14:30, in the site's time zone"
        parser.add_argument("--since", metavar="TIME", help=f"that came at or after {time}")
        parser.add_argument("--until", metavar="TIME", help="that came before")
        parser.add_argument(
            "--state", choices=State.values, default="", help="that hold an event in this state"
        )
        parser.add_argument(
            "--account", default="", metavar="ID", help="for one account: acc_…, or Instagram's id"
        )
        parser.add_argument(
            "--kind", choices=[kind.value for kind in Kind], default="", help="that hold this kind"
        )
        parser.add_argument("--all", action="store_true", help="all that are still kept")
        parser.add_argument("--dry-run", action="store_true", help="only count them")
        parser.add_argument("--json", action="store_true", help="the result for a program")

    def handle(self, *, all, dry_run, since, until, state, account, kind, **options):
        if not (all or since or until or state or account or kind):
            raise stop(
                "Say which: for example --state failed, --since 2026-11-20, or --all.", Exit.USAGE
            )
        webhooks = ledger.chosen(
            since=self.moment(since), until=self.moment(until),
            state=state, account=account, kind=kind,
        )  # fmt: skip
        count = webhooks.count()
        if not dry_run:
            with Meter(self, "Marked", count).shown() as meter:
                for number in ledger.replay(webhooks):
                    meter.advance(number)
            count = meter.done
        if options["json"]:
            self.stdout.write(json.dumps({"webhooks": count, "dry_run": dry_run}))
        elif dry_run:
            self.stdout.write(f"{count:,} webhooks would be read again. Nothing was changed.")
        else:
            self.stdout.write(f"{count:,} webhooks will be read again by the worker.")

    def moment(self, text: str | None) -> datetime | None:
        if text is None:
            return None
        try:
            found = parse_datetime(text)
            if found is None and (day := parse_date(text)):
                found = datetime(day.year, day.month, day.day)  # noqa: DTZ001  (made aware below)
        except ValueError:
            found = None
        if found is None:
            raise stop(f"{text!r} is no time. Write 2026-11-20 or 2026-11-20T14:30.", Exit.USAGE)
        return found if timezone.is_aware(found) else timezone.make_aware(found)
