"""What a process sees when it holds its secrets against what is stored: the verdict.

From the registry and a sample; the whole is counted by the census. A database that cannot be
asked gives a verdict about the database, never about the secret.
"""

import logging
from collections import Counter
from dataclasses import dataclass

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import models
from django.http import HttpRequest
from django.utils.text import capfirst

from . import boxes
from .census import still_unreadable
from .columns import encrypted_columns
from .fields import holders
from .keyring import DecryptionError, KeyRing, get_keyring
from .models import Census, Secret

logger = logging.getLogger(__name__)

SAMPLE = 100
"""Values of each column that are tried."""


class State(models.TextChoices):
    MISSING = "missing", "Missing"
    UNREACHABLE = "unreachable", "Database out of reach"
    EPHEMERAL = "ephemeral", "Ephemeral, with stored values"
    SUPERSEDED = "superseded", "Superseded"
    WRONG = "wrong", "Wrong"
    UNREADABLE = "unreadable", "Unreadable values"
    FALLBACK = "fallback", "Fallback in use"
    WEAK = "weak", "Weak"
    FRESH = "fresh", "Fresh"
    CURRENT = "current", "Current"


LEVELS = {
    State.MISSING: logging.CRITICAL,
    State.UNREACHABLE: logging.ERROR,
    State.EPHEMERAL: logging.CRITICAL,
    State.SUPERSEDED: logging.CRITICAL,
    State.WRONG: logging.CRITICAL,
    State.UNREADABLE: logging.ERROR,
    State.FALLBACK: logging.WARNING,
    State.WEAK: logging.WARNING,
    State.FRESH: logging.INFO,
    State.CURRENT: logging.INFO,
}


@dataclass(frozen=True)
class Verdict:
    """One state, what it means, and what to do about it, with the commands."""

    state: State
    title: str
    advice: str = ""

    @property
    def level(self) -> int:
        return LEVELS[self.state]

    @property
    def severity(self) -> str:
        """The level as a word: info, warning, error or critical."""
        return logging.getLevelName(self.level).lower()

    @property
    def is_well(self) -> bool:
        return self.level == logging.INFO


latest: Verdict | None = None
"""What this process saw last; None until it looked."""


def look(census: Census | None = None) -> Verdict:
    """The verdict on this process's ring and the database as it is now.

    `census` is one that was just taken, better than the one that is kept.
    """
    try:
        return _judge(get_keyring(), census or Census.objects.first())
    except DatabaseError as exc:
        return Verdict(
            State.UNREACHABLE,
            f"The database cannot be asked: {str(exc).partition(chr(10))[0]}",
            "Nothing is known of the secret until it can be. Is the database running, and is "
            "DATABASE_URL right? Are the tables there (python manage.py migrate)?",
        )


def announce(found: Verdict) -> None:
    """Say it, unless it was said: a box on a terminal, a line in the log."""
    global latest
    before, latest = latest, found
    if before and before.state == found.state:
        return
    if found.is_well:
        logger.info("%s", found.title)
    else:
        boxes.show(found.title, found.advice, found.level)


def for_staff(request: HttpRequest) -> dict[str, Verdict | None]:
    """Context of every page: `secret_verdict`, for those who can do something about it."""
    user = getattr(request, "user", None)
    is_concerned = latest and not latest.is_well and user and user.is_staff
    return {"secret_verdict": latest if is_concerned else None}


def sample(ring: KeyRing) -> Counter[str | None]:
    """Fingerprint → how many of the sampled values it opens; None for those nothing opens."""
    found: Counter[str | None] = Counter()
    for column in encrypted_columns():
        for _, ciphertext in column.ends(SAMPLE):
            found[_opened_by(ring, ciphertext)] += 1
    return found


def _opened_by(ring: KeyRing, ciphertext: str) -> str | None:
    try:
        return ring.open(ciphertext)[0].fingerprint
    except DecryptionError:
        return None


def _judge(ring: KeyRing, census: Census | None) -> Verdict:
    if ring.primary is None:
        return Verdict(
            State.MISSING,
            "SESSION_SECRET is not set.",
            "Put it back into the environment and restart. Only where nothing is stored may a "
            "new one be made: python manage.py generate_secret --env-file .env",
        )
    current = Secret.objects.current()
    opened = sample(ring)
    if not opened:
        return _fresh_or_weak(State.FRESH, f"SESSION_SECRET {ring.primary.fingerprint}: nothing "
                              "is stored under any secret yet.")  # fmt: skip
    if settings.SESSION_SECRET_IS_EPHEMERAL and opened[None]:
        return _ephemeral()
    if _is_superseded(ring, current):
        return _superseded(current)
    if opened[None] == opened.total() and not (current and current.is_held_by(ring)):
        return _wrong(ring, current)
    unreadable = [name for *_, name in still_unreadable(census, ring)]
    if unreadable or opened[None]:
        return _unreadable(unreadable, opened[None])
    if Secret.objects.is_retired(ring.primary):
        return _unswitched(ring, current)
    if any(opened[key.fingerprint] for key in ring.fallbacks) or (
        current and any(key.fingerprint == current.fingerprint for key in ring.fallbacks)
    ):
        return _fallback(ring, opened, census)
    return _fresh_or_weak(State.CURRENT, f"SESSION_SECRET {ring.primary.fingerprint} opens what "
                          "is stored.")  # fmt: skip


def _fresh_or_weak(state: State, title: str) -> Verdict:
    reasons = dict(settings.WEAK_SECRETS)
    if "SESSION_SECRET" not in reasons:
        return Verdict(state, title)
    return Verdict(
        State.WEAK,
        f"SESSION_SECRET is weak: {reasons['SESSION_SECRET']}.",
        "Make a strong one and move what is stored to it:\n"
        "  python manage.py generate_secret --env-file .env --keep-old\n"
        "restart, then\n"
        "  python manage.py rotate_secret",
    )


def _is_superseded(ring: KeyRing, current: Secret | None) -> bool:
    if current is None or current.is_held_by(ring):
        return False
    return Secret.objects.is_retired(ring.primary)


def _unswitched(ring: KeyRing, current: Secret) -> Verdict:
    return Verdict(
        State.FALLBACK,
        "The rotation is finished, and this process still runs the old secret.",
        f"Stored values are under secret {current.fingerprint}, which is among its fallbacks. Make "
        f"that one SESSION_SECRET and {ring.primary.fingerprint} the fallback, then restart. Do "
        "not run rotate_secret before: it would go back to the old secret.",
    )


def _ephemeral() -> Verdict:
    return Verdict(
        State.EPHEMERAL,
        "DATA LOSS WARNING: Encrypted tokens found with ephemeral secret!",
        f"{_holders()} Written under a secret that this\nprocess does not have. Two ways out:\n"
        "  1. Restore: put the old secret into .env as SESSION_SECRET and start again.\n"
        "  2. Start over: put a new SESSION_SECRET into .env, run\n"
        "     python manage.py reset_tokens\n"
        "     start again, reconnect every account on the accounts page, and make what else is\n"
        "     counted above anew where it was made.",
    )


def _holders() -> str:
    """Rows, not values: one row may hold several."""
    return " ".join(
        f"{capfirst(model._meta.verbose_name_plural)} with a stored {what}: {count}."
        for model, what, count in holders()
    )


def _superseded(current: Secret) -> Verdict:
    return Verdict(
        State.SUPERSEDED,
        "The database was rotated to another secret; this process still runs the old one.",
        f"Stored values are under secret {current.fingerprint} since "
        f"{current.first_used_at:%Y-%m-%d %H:%M} UTC. Messages are received and stored; nothing "
        "can be sent.\nPut that secret into SESSION_SECRET and restart. If nobody has it:\n"
        "  python manage.py reset_tokens\nand the accounts reconnect.",
    )


def _wrong(ring: KeyRing, current: Secret | None) -> Verdict:
    needed = f"They need secret {current.fingerprint}. " if current else ""
    names = ", ".join(key.fingerprint for key in ring.keys)
    return Verdict(
        State.WRONG,
        f"SESSION_SECRET is wrong: it opens nothing that is stored (tried {names}).",
        f"{needed}Messages are received and stored; nothing can be sent.\n"
        "Put the right secret into SESSION_SECRET, or SESSION_SECRET_FALLBACKS, and restart. If "
        "it is lost:\n  python manage.py reset_tokens\nand the accounts reconnect.",
    )


def _unreadable(names: list[str], sampled: int) -> Verdict:
    is_all = sampled <= len(names) < Census.NAMED
    count = len(names) if is_all else f"at least {max(len(names), sampled)}"
    which = f"{', '.join(names[:5])}{' and others' if len(names) > 5 else ''}. " if names else ""
    return Verdict(
        State.UNREADABLE,
        f"Stored values that no secret opens: {count}.",
        f"{which}To see all:\n  python manage.py check_secret\n"
        "Add the secret that opens them to SESSION_SECRET_FALLBACKS and restart, or clear them "
        "so that they can be made anew:\n  python manage.py reset_tokens",
    )


def _fallback(ring: KeyRing, opened: Counter[str | None], census: Census | None) -> Verdict:
    fallbacks = [key.fingerprint for key in ring.fallbacks]
    counted = sum((census.by_secret if census else {}).get(one, 0) for one in fallbacks)
    sampled = sum(opened[one] for one in fallbacks)
    number = counted if counted and counted >= sampled else f"at least {sampled}"
    return Verdict(
        State.FALLBACK,
        f"Fallback in use: {number} stored values are still under an older secret.",
        "Move them to the current one while the site runs:\n  python manage.py rotate_secret\n"
        "Until then keep SESSION_SECRET_FALLBACKS as it is.",
    )
