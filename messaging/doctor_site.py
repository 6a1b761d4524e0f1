"""What the doctor looks at on this machine, and how it is reached."""

from datetime import timedelta
from functools import partial

from django.conf import settings
from django.utils import timezone

from accounts.checks import URLS
from crypto import verdict, workers

from . import readiness
from .findings import Check, Finding, bad, good, unknown
from .models import WebhookEvent
from .outside import Answer, Seen

DRIFT = timedelta(seconds=60)
"""Meta's requests carry a time, and pages say until when one may answer."""

META_WAITS = 5
"""Seconds for the answer to a webhook (platform reference, 3.4)."""

DAY = timedelta(days=1)


def checks(seen: Seen) -> dict[str, Check]:
    return {
        "Public address": partial(_address, seen.own_site),
        "Database": partial(_part, readiness.database, "Is it running? See DATABASE_URL."),
        "Migrations": partial(_part, readiness.migrations, "python manage.py migrate"),
        "Worker": _worker,
        "Work that is due": partial(_part, readiness.queue, "See “behind” in docs/runbook.md."),
        "Secret": _secret,
        "Disk": partial(_part, readiness.disk, "Make room, or move MEDIA_ROOT to a larger disk."),
        **({"Files": partial(_files, seen.files)} if settings.MEDIA_STORAGE else {}),
        "Way to Instagram": partial(_way, seen.instagram),
        "Clock": partial(_clock, seen.instagram),
        "Time-outs": partial(_timeouts, seen),
        "Mail": partial(_mail, seen.mail),
    }


def is_sandboxed() -> bool:
    """Whether this site speaks to the offline Instagram."""
    return any(
        f"//{host}" in getattr(settings, name)
        for host in ("127.0.0.1", "localhost")
        for name in URLS
    )


def _address(answer: Answer) -> Finding:
    url = settings.PUBLIC_BASE_URL
    if not settings.IS_HTTPS and not is_sandboxed():
        return bad(
            f"{url} is not https: Instagram neither redirects nor delivers to it.",
            "Put a proxy with a certificate before the site (docs/operator.md), set "
            "PUBLIC_BASE_URL=https://your-host and restart.",
        )
    if not answer.trouble:
        enough = "" if settings.IS_HTTPS else " For the sandbox http is enough."
        return good(f"{url} leads here, in {answer.seconds:.1f} s.{enough}")
    if _latest_webhook_is_newer_than(DAY):
        return unknown(
            f"From this machine {url} cannot be reached ({answer.trouble}), and yet a webhook came "
            "within the last day.",
            "Some routers lead nobody to themselves. Open it on a phone without Wi-Fi.",
        )
    return bad(
        f"{url} does not lead to this site. {answer.trouble}",
        f"Open {url}/health on a phone without Wi-Fi: it has to say “healthy”. Where it does not, "
        "look at the name (DNS), ports 80 and 443 of the firewall, the proxy and its certificate; "
        "or correct PUBLIC_BASE_URL and restart.",
    )


def _latest_webhook_is_newer_than(age: timedelta) -> bool:
    return WebhookEvent.objects.filter(received_at__gt=timezone.now() - age).exists()


def _part(part: Check, fix: str) -> Finding:
    found = part()
    return good(found.detail) if found.ok else bad(found.detail, fix)


def _worker() -> Finding:
    if living := workers.living():
        names = ", ".join(map(str, living[:3])) + (" and others" if len(living) > 3 else "")
        return good(f"{names}.")
    return bad(
        "None is running: what comes in is kept and not shown, and answers wait.",
        "python manage.py run_huey, or systemctl start insta-messaging-worker; its log says why "
        "it ended.",
    )


def _files(answer: Answer) -> Finding:
    name = settings.MEDIA_STORAGE
    if not answer.trouble:
        return good(f"{name} took a file, gave it back and deleted it, in {answer.seconds:.1f} s.")
    return bad(
        f"{name} keeps no files: {answer.trouble}. Pictures that come are tried again.",
        "Is it in reach, and do MEDIA_STORAGE_OPTIONS let the site read, write and delete there? "
        "See “Files on several hosts” in docs/scale.md.",
    )


def _secret() -> Finding:
    found = verdict.look()
    return good(found.title) if found.is_well else bad(found.title, found.advice)


def _clock(answer: Answer) -> Finding:
    if answer.moment is None:
        return unknown(
            answer.trouble or "Instagram did not tell its time.",
            "timedatectl says whether the clock is synchronized.",
        )
    drift = abs(timezone.now() - answer.moment)
    if drift <= DRIFT:
        return good(f"{drift.total_seconds():.0f} s from Instagram's.")
    return bad(
        f"This machine's clock is {drift.total_seconds():.0f} s from Instagram's.",
        "timedatectl set-ntp true (or the clock settings of the machine that hosts this one).",
    )


def _way(answer: Answer) -> Finding:
    if not answer.trouble:
        return good(f"{settings.INSTAGRAM_GRAPH_URL} answers.")
    return bad(
        f"{settings.INSTAGRAM_GRAPH_URL}: {answer.trouble}",
        "Let this machine out to https (port 443), and see whether it resolves names.",
    )


def _timeouts(seen: Seen) -> Finding:
    limit, took = settings.INSTAGRAM_TIMEOUT, seen.instagram.seconds
    if seen.instagram.trouble:
        return unknown("Only while Instagram answers.")
    if took > limit / 2:
        return bad(
            f"Instagram took {took:.1f} s to answer; INSTAGRAM_TIMEOUT gives up after {limit:g}.",
            f"Set INSTAGRAM_TIMEOUT={max(10, round(took * 4))} and restart; look into the "
            "machine's network.",
        )
    if not seen.own_site.trouble and seen.own_site.seconds > META_WAITS / 2:
        return bad(
            f"This site took {seen.own_site.seconds:.1f} s to answer; Meta gives up after "
            f"{META_WAITS}.",
            "Look at the load of this machine, and at the proxy before it.",
        )
    return good(f"Instagram answers in {took:.1f} s, and is waited for {limit:g} s.")


def _mail(answer: Answer) -> Finding:
    if not settings.EMAIL_IS_CONFIGURED and not settings.IS_PRODUCTION:
        return unknown("EMAIL_URL is not set: in development mail is written to the log.")
    if not settings.EMAIL_IS_CONFIGURED:
        return bad(
            "EMAIL_URL is not set: nobody gets a link for a forgotten password, nor a warning "
            "about an account.",
            "EMAIL_URL=smtp+tls://user:password@host:587, and restart.",
        )
    if answer.trouble:
        return bad(
            f"The mail server does not take our mail. {answer.trouble}",
            "Correct host, port, user and password in EMAIL_URL, and restart.",
        )
    return good(f"The mail server lets us in; mail comes from {settings.DEFAULT_FROM_EMAIL}.")
