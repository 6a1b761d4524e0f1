"""Asks those outside once, for the doctor: our own public address, Instagram, the mail server."""

import smtplib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.core.mail import get_connection

from accounts import instagram
from accounts.instagram_errors import InstagramError

from . import outbound_http

SECONDS = 6
"""Somebody waits for the page."""


@dataclass(frozen=True)
class Answer:
    """`trouble` says why there was none, and is empty otherwise."""

    seconds: float
    trouble: str = ""
    moment: datetime | None = None


@dataclass(frozen=True)
class Seen:
    own_site: Answer
    instagram: Answer
    mail: Answer


def ask_own_site() -> Answer:
    """The predecessor's address for monitors: it touches nothing, and proxies let it through."""
    return _ask(lambda: outbound_http.ask_own_site(f"{settings.PUBLIC_BASE_URL}/health", SECONDS))


def ask_instagram() -> Answer:
    return _ask(lambda: instagram.ask_time(SECONDS))


def ask_mail_server() -> Answer:
    """Log in to it and out again; nothing is sent."""
    return _ask(_log_in_to_mail) if settings.EMAIL_IS_CONFIGURED else Answer(0)


def _ask(act: Callable[[], datetime | None]) -> Answer:
    start = time.monotonic()
    try:
        moment = act()
    except (outbound_http.NotReached, InstagramError) as exc:
        return Answer(time.monotonic() - start, str(exc))
    except smtplib.SMTPAuthenticationError as exc:
        return Answer(time.monotonic() - start, f"It refuses the login (code {exc.smtp_code}).")
    except (smtplib.SMTPException, OSError) as exc:  # Their texts may hold what was sent.
        return Answer(time.monotonic() - start, f"It cannot be reached ({type(exc).__name__}).")
    return Answer(time.monotonic() - start, moment=moment)


def _log_in_to_mail() -> None:
    server = get_connection(timeout=SECONDS)
    try:
        server.open()
    finally:
        server.close()
