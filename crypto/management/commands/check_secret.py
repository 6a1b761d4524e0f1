import json

from django.db import Error as DatabaseError
from django.utils import timezone

from crypto import census, heartbeat, verdict
from crypto.commands import Exit, Meter, RepairCommand, stop
from crypto.fields import count_stored_values
from crypto.keyring import get_keyring
from crypto.models import Secret


class Command(RepairCommand):
    help = (
        "Try every stored value: which secret opens it, which ones none opens, and whether a "
        "fallback may go."
    )

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="one JSON object, for programs")

    def handle(self, **options):
        ring = get_keyring()
        if ring.primary is None:
            raise stop("SESSION_SECRET is not set: nothing can be tried.", Exit.NOT_CONFIGURED)
        self.is_json = options["json"]
        try:
            found = self._look(ring)
        except DatabaseError as exc:
            raise stop(f"The database cannot be asked: {exc}") from None
        if self.is_json:
            self.stdout.write(json.dumps(found, indent=2, default=str))
        else:
            self._tell(found)
        if code := self._exit_code(found):
            raise SystemExit(code)

    def _look(self, ring):
        """All that is known, as plain values."""
        found = {
            "secret": ring.primary.fingerprint,
            "fallbacks": [key.fingerprint for key in ring.fallbacks],
            "unreadable": [],
        }

        def unreadable(name, reason):
            if self.is_json:
                found["unreadable"].append({"name": str(name), "reason": reason})
            else:  # At once: there may be very many.
                self.stdout.write(f"Unreadable: {name}: {reason}")

        meter = Meter(self, "Trying", count_stored_values())
        with meter.shown():
            counted = census.take(ring, unreadable, meter.advance)
        judged = verdict.look(counted)
        current = Secret.objects.current()
        living = heartbeat.living()
        under = counted.by_secret
        in_use = [
            one
            for one in found["fallbacks"]
            if under.get(one) or (current and current.fingerprint == one)
            or any(process.fingerprints[:1] == [one] for process in living)
        ]  # fmt: skip
        return found | {
            "verdict": judged.state,
            "title": judged.title,
            "advice": judged.advice,
            "columns": counted.columns,
            "unreadable_count": counted.unreadable,
            "seconds": round(counted.seconds, 3),
            "current": current and current.fingerprint,
            "first_used_at": current and current.first_used_at,
            "rotation_due_at": current and current.rotation_due_at,
            "processes": [str(one) for one in living],
            "processes_without_it": list(map(str, heartbeat.living_without(ring.primary))),
            "fallbacks_in_use": in_use,
            "coming": any(
                Secret.objects.filter(pk=one).first() is None for one in found["fallbacks"]
            ),
        }

    def _tell(self, found):
        write = self.stdout.write
        write(self._age(found))
        for column, counts in found["columns"].items():
            write(f"{column}:")
            for fingerprint, count in counts.items():
                role = "current" if fingerprint == found["secret"] else "fallback"
                write(f"  {count:>9,}  {fingerprint} ({role})")
            if not counts:
                write("          0  values that these secrets open")
        if found["unreadable_count"]:
            write(f"  {found['unreadable_count']:>9,}  opened by none, named above")
        for process in found["processes_without_it"]:
            write(f"Does not hold {found['secret']}: {process}. Restart it with this secret.")
        write(f"\n{found['title']}")
        if found["advice"]:
            write(found["advice"])
        if found["fallbacks"]:
            write(self._about_fallbacks(found))

    def _age(self, found):
        if found["current"] != found["secret"]:
            current = (
                f"the current one is {found['current']}" if found["current"] else "none is known"
            )
            return f"Secret {found['secret']}; in the registry {current}."
        days = (timezone.now() - found["first_used_at"]).days
        due = f"{found['rotation_due_at']:%Y-%m-%d}"
        is_due = found["rotation_due_at"] <= timezone.now()
        return (
            f"Secret {found['secret']}, in use for {self.count(days, 'day')}; "
            f"{'its yearly rotation was due on' if is_due else 'next rotation due'} {due}."
        )

    def _about_fallbacks(self, found):
        may_go = [one for one in found["fallbacks"] if one not in found["fallbacks_in_use"]]
        lines = [f"Fallback {one} must stay: it is in use." for one in found["fallbacks_in_use"]]
        if may_go and (found["processes_without_it"] or found["unreadable_count"]):
            lines.append(f"Fallback {', '.join(may_go)}: keep it until the above is mended.")
        elif may_go and found["coming"]:
            lines.append(
                f"Fallback {', '.join(may_go)}: nothing was encrypted under it here. Keep it if it "
                "is the next one on its way in."
            )
        elif may_go:
            lines.append(
                f"Fallback {', '.join(may_go)} may be removed from SESSION_SECRET_FALLBACKS now; "
                "logins that it signed end then."
            )
        return "\n".join(lines)

    def _exit_code(self, found):
        if found["unreadable_count"] or found["verdict"] == verdict.State.SUPERSEDED:
            return Exit.UNREADABLE
        if found["fallbacks_in_use"] or found["processes_without_it"]:
            return Exit.FALLBACK
        return Exit.DONE
