"""Examines the site and what Meta has to know of it: one list, for the command and the page."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from django.db import Error as DatabaseError

from . import doctor_accounts, doctor_app, doctor_site, outside
from .findings import Check, Finding, Group, Report, unknown


def examine() -> Report:
    """Look at everything; asks those outside at once."""
    with ThreadPoolExecutor() as threads:
        probes = (outside.ask_own_site, outside.ask_instagram, outside.ask_mail_server,
                  outside.ask_media_storage)  # fmt: skip
        asked = [threads.submit(probe) for probe in probes]
        seen = outside.Seen(*(answer.result() for answer in asked))
    return Report(
        [
            Group("This site", list(_run(doctor_site.checks(seen)))),
            Group("The Meta app", list(_run(doctor_app.checks(seen)))),
            Group("Connected accounts", list(_run(doctor_accounts.checks(seen)))),
        ]
    )


def _run(checks: dict[str, Check]) -> Iterator[Finding]:
    for title, check in checks.items():
        try:
            found = check()
        except DatabaseError as exc:
            reason = str(exc).partition("\n")[0]
            found = unknown(f"The database cannot be asked: {reason}", "Mend that first.")
        yield found.named(title)
