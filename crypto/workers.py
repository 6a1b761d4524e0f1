"""Whether a worker lives: without one what comes in is kept and not shown, and answers wait."""

import logging
import time

from django.db import Error as DatabaseError
from django.http import HttpRequest

from . import heartbeat
from .models import Process

logger = logging.getLogger(__name__)

WORKER = "worker"

KEPT = 5
"""Seconds for which an answer of the database is good enough: every open page asks."""

_asked_at, _away = float("-inf"), False


def living() -> list[Process]:
    return [one for one in heartbeat.living() if one.kind == WORKER]


def are_away() -> bool:
    """Whether none lives, as seen within the last seconds. A database out of reach is no answer."""
    global _asked_at, _away
    if time.monotonic() - _asked_at > KEPT:
        try:
            _away = not living()
        except DatabaseError:
            return False
        _asked_at = time.monotonic()
    return _away


def look_anew() -> None:
    """Forget what was seen, so that the next question goes to the database."""
    global _asked_at
    _asked_at = float("-inf")


class Watch:
    """Of a web process: writes into the log when the last worker is gone, and when one is back."""

    def __init__(self):
        self.were_away = False

    def look(self) -> None:
        """Belongs between two heartbeats, so that a worker has time to start beside the site."""
        look_anew()
        away = are_away()
        if away and not self.were_away:
            logger.error(
                "The worker is not running: what comes in is kept and not shown, and answers wait. "
                "Start it (python manage.py run_huey); see “worker” in docs/runbook.md."
            )
        elif self.were_away and not away:
            logger.info("A worker is running again; what waited is worked off.")
        self.were_away = away


def for_pages(request: HttpRequest) -> dict[str, object]:
    """Context of every page: `workers_are_away`, asked only where a template does."""
    return {"workers_are_away": are_away}
