import json

from crypto.commands import Exit, RepairCommand
from messaging import doctor
from messaging.doctor_app import addresses
from messaging.findings import State

MARKS = {State.GOOD: " good ", State.BAD: " MEND ", State.UNKNOWN: "  ?   "}


class Command(RepairCommand):
    help = (
        "Look at the site and at what Meta has to know of it, as the Setup page does: what is "
        "well, what to mend and how, and what cannot be known from here. Changes nothing."
    )

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="one JSON object, for programs")

    def handle(self, **options):
        report = doctor.examine()
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=2))
        else:
            self._tell(report)
        if code := self._exit_code(report):
            raise SystemExit(code)

    def _tell(self, report):
        self.stdout.write("To paste into the Meta dashboard:")
        for what, address in addresses():
            self.stdout.write(f"  {what}: {address}")
        self.stdout.write("  Verify token: on the page /setup/, for superusers")
        for group in report.groups:
            self.stdout.write(f"\n{group.title}")
            for finding in group.findings:
                self.stdout.write(f"[{MARKS[finding.state]}] {finding.title}: {finding.says}")
                if finding.fix:
                    indented = finding.fix.replace("\n", "\n" + " " * 11)
                    self.stdout.write(f"         → {indented}")
        self.stdout.write(
            f"\n{report.bad} to mend, {report.unknown} not to be known from here, "
            f"{len(report.findings) - report.bad - report.unknown} good."
        )

    def _exit_code(self, report):
        if not report.is_configured:
            return Exit.NOT_CONFIGURED
        return Exit.FAILED if report.bad else Exit.DONE
