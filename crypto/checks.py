"""System checks: what is wrong with the secret, and what to do about it."""

import logging
from contextlib import suppress

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import Error as DatabaseError

from . import verdict
from .models import Secret
from .secrets import GENERATE, others_can_read
from .startup import STARTUP
from .verdict import State

MISSING = Error(
    "SESSION_SECRET is not set (unset, empty or blank).",
    hint="It signs logins and encrypts the Instagram tokens; there is no fallback. If this "
    "installation had one, put it back: a new one opens nothing that is stored. Otherwise make "
    f"one:\n  {GENERATE}\nand set it as SESSION_SECRET, or name a file that holds it as "
    "SESSION_SECRET_FILE.",
    id="crypto.E001",
)
LONE_PROCESS = Error(
    "SESSION_SECRET is not set, and this process was not started by one that made a secret for "
    "all of them.",
    hint="In development start with `python3 scripts/start.py` or `manage.py runserver`, which "
    f"share one secret with their processes, or make a lasting one:\n  {GENERATE}\nand put it "
    "into .env as SESSION_SECRET=<the secret>.",
    id="crypto.E002",
)
IS_ITS_OWN_FALLBACK = Error(
    "SESSION_SECRET is also listed in SESSION_SECRET_FALLBACKS.",
    hint="A fallback is another secret that still opens: the one before, or the next one on its "
    "way in. Remove it from one of the two.",
    id="crypto.E004",
)
EPHEMERAL = Warning(
    "No SESSION_SECRET configured: this start uses a random one.",
    hint="Logins and stored tokens will not survive a restart. Make a lasting one:\n  "
    f"{GENERATE}\nand put it into .env as SESSION_SECRET=<the secret>.",
    id="crypto.W001",
)


# What is missing or weak has a check of its own, above.
IDS = {
    State.UNREACHABLE: "crypto.E010",
    State.EPHEMERAL: "crypto.E011",
    State.SUPERSEDED: "crypto.E012",
    State.WRONG: "crypto.E013",
    State.UNREADABLE: "crypto.E014",
    State.FALLBACK: "crypto.W015",
}


def weak(name: str, reason: str) -> CheckMessage:
    """Refused in production, a warning in development.

    A weak fallback is a warning everywhere: it is on its way out.
    """
    is_refused = settings.IS_PRODUCTION and name == "SESSION_SECRET"
    level, check_id = (Error, "crypto.E003") if is_refused else (Warning, "crypto.W003")
    return level(
        f"{name} is weak: {reason}.",
        hint=f"Make a strong one:\n  {GENERATE}\nIf tokens are stored under the weak one, keep it "
        "in SESSION_SECRET_FALLBACKS until they are rotated.",
        id=check_id,
    )


@register(STARTUP)
def check_session_secret(app_configs, **kwargs) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.SESSION_SECRET_IS_EPHEMERAL:
        found.append(EPHEMERAL)
    elif settings.KEYRING.primary is None:
        found.append(MISSING if settings.IS_PRODUCTION else LONE_PROCESS)
    if settings.KEYRING.primary in settings.KEYRING.fallbacks:
        found.append(IS_ITS_OWN_FALLBACK)
    return found + [weak(name, reason) for name, reason in settings.WEAK_SECRETS]


@register(Tags.database)
def check_stored_values(app_configs, databases=None, **kwargs) -> list[CheckMessage]:
    """The verdict, where the database may be asked (`check --database default`)."""
    if not databases:
        return []
    found = verdict.look()
    messages = []
    if found.state in IDS:
        level = Error if found.level >= logging.ERROR else Warning
        messages.append(level(found.title, hint=found.advice, id=IDS[found.state]))
    with suppress(DatabaseError):
        current = Secret.objects.current()
        if current and current.is_due:
            messages.append(due(current))
    return messages


def due(secret: Secret) -> CheckMessage:
    return Warning(
        f"SESSION_SECRET {secret} is in use since {secret.first_used_at:%Y-%m-%d}; a new one is "
        f"due every 12 months.",
        hint="Rotate it while the site runs: docs/session-secret.md. In short:\n"
        "  python manage.py generate_secret --env-file .env --keep-old\n"
        "restart web and worker, then\n  python manage.py rotate_secret",
        id="crypto.W008",
    )


@register()
def check_env_file(app_configs, **kwargs) -> list[CheckMessage]:
    path = settings.ENV_FILE
    if path is None or not others_can_read(path):
        return []
    return [
        Warning(
            f"Other users of this machine can read {path}, which holds secrets.",
            hint=f"Close it to them:\n  chmod 600 {path}",
            id="crypto.W004",
        )
    ]
