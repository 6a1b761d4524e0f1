import json

from django.core.management.base import BaseCommand
from django.db import Error as DatabaseError

from crypto.commands import Exit, stop
from messaging.housekeeping import JOBS


class Command(BaseCommand):
    help = (
        "Do now everything that the worker does from time to time: delete what is old, refresh "
        "access tokens, tell owners, try every encrypted value."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--dry-run", action="store_true", help="say how much there is to do; change nothing"
        )
        parser.add_argument("--json", action="store_true", help="the result for a program")

    def handle(self, *, dry_run, **options):
        counts, failed = {}, []
        for job in JOBS:
            try:
                counts[job.name] = job.due() if dry_run else job.run()
            except DatabaseError as exc:
                failed.append(job.name)
                self.stderr.write(f"{job.name}: {exc}")
                continue
            except KeyboardInterrupt:
                raise stop("Interrupted.", Exit.PARTLY if counts else Exit.FAILED) from None
            if not options["json"]:
                done = f"would be {job.done}" if dry_run else job.done
                self.stdout.write(f"{job.name}: {counts[job.name]:,} {done}")
        if options["json"]:
            facts = {"dry_run": dry_run, "jobs": counts, "failed": failed}
            self.stdout.write(json.dumps(facts, indent=2))
        if failed:
            raise SystemExit(Exit.PARTLY if counts else Exit.FAILED)
