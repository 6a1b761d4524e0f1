"""System checks: what is wrong with the secret, and what to do about it."""

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from .secrets import GENERATE, others_can_read
from .startup import STARTUP

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
