"""Remembers when Meta was last seen to do something: for the page that helps to set it up."""

import logging
import time
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db import Error as DatabaseError
from django.utils import timezone

from .models import Sighting
from .signatures import fingerprint

logger = logging.getLogger(__name__)

Kind = Sighting.Kind

PAUSE, SOON = 300, 10
"""Seconds between two notes of the same: webhooks come by the hundred, and must not wait. Sooner
when the opposite was seen since, as which of them came last is what counts."""

OPPOSITE = {
    Kind.HANDSHAKE: Kind.OTHER_TOKEN,
    Kind.OTHER_TOKEN: Kind.HANDSHAKE,
    Kind.SIGNED: Kind.OTHER_SIGNATURE,
    Kind.OTHER_SIGNATURE: Kind.SIGNED,
}


class Signed(NamedTuple):
    """A genuine webhook, and which of INSTAGRAM_APP_SECRET signed it, from 1; None for one that
    is no longer among them."""

    at: datetime
    position: int | None


_noted: dict[tuple[Kind, str], float] = {}
"""What this process noted, and when (monotonic)."""


def note(kind: Kind, subject: str = "") -> None:
    """Write down that it was seen now, unless that was done lately."""
    now, last = time.monotonic(), _noted.get((kind, subject), float("-inf"))
    has_turned = any(at > last for (one, _), at in _noted.items() if one == OPPOSITE[kind])
    if now - last < (SOON if has_turned else PAUSE):
        return
    _noted[kind, subject] = now  # Before it is tried: a database that is busy is not asked again.
    try:
        Sighting.objects.update_or_create(
            kind=kind, subject=subject, defaults={"at": timezone.now()}
        )
    except DatabaseError as exc:
        logger.warning("%s: not noted: %s", kind.label, exc)


def forget() -> None:
    """What this process noted, so that the next sighting is written down."""
    _noted.clear()


def last_signed() -> Signed | None:
    """The last note of a genuine signature."""
    found = Sighting.objects.filter(kind=Kind.SIGNED).order_by("-at").first()
    if found is None:
        return None
    known = [fingerprint(secret) for secret in settings.INSTAGRAM_APP_SECRETS]
    position = known.index(found.subject) + 1 if found.subject in known else None
    return Signed(found.at, position)
