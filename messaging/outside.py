"""Asks those outside once, for the doctor: our own public address, Instagram, the mail server, and
the storage of files where it is elsewhere."""

import smtplib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Thread

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.mail import get_connection

from accounts import instagram
from accounts.instagram_errors import InstagramError

from . import media, outbound_http

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
    files: Answer


def ask_own_site() -> Answer:
    """The predecessor's address for monitors: it touches nothing, and proxies let it through."""
    return _ask(lambda: outbound_http.ask_own_site(f"{settings.PUBLIC_BASE_URL}/health", SECONDS))


def ask_instagram() -> Answer:
    return _ask(lambda: instagram.ask_time(SECONDS))


def ask_mail_server() -> Answer:
    """Log in to it and out again; nothing is sent."""
    return _ask(_log_in_to_mail) if settings.EMAIL_IS_CONFIGURED else Answer(0)


def ask_media_storage() -> Answer:
    """Keep a small file there, read it, delete it; it has its own idea of how long to wait."""
    if not settings.MEDIA_STORAGE:
        return Answer(0)
    start, found = time.monotonic(), SimpleQueue()
    Thread(target=lambda: found.put(_try_media_storage()), daemon=True).start()
    try:
        trouble = found.get(timeout=SECONDS)
    except Empty:
        trouble = f"no answer within {SECONDS} s"
    return Answer(time.monotonic() - start, trouble)


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


def _try_media_storage() -> str:
    written = b"A trial of the doctor's; it may be deleted."
    try:
        name = default_storage.save(media.new_name("trials", "txt"), ContentFile(written))
        try:
            with default_storage.open(name) as file:
                return "" if file.read() == written else "it does not give back what it was given"
        finally:
            default_storage.delete(name)
    except Exception as exc:  # Each storage raises its own.
        return media.trouble(exc)
