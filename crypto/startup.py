"""What happens before a process serves: refuse without a good secret, warn of a passing one."""

import os
import secrets
import sys
from contextlib import suppress

from django.conf import settings
from django.core import checks
from django.db import Error as DatabaseError

from . import boxes, verdict, workers
from .fields import anything_is_stored
from .heartbeat import Heartbeat
from .models import Secret, SecurityEvent
from .secrets import EPHEMERAL, GENERATE

STARTUP = "startup"
"""The tag of every check that a server or worker must pass before it serves."""

WEB = "web"

ANNOUNCED = "SESSION_SECRET_ANNOUNCED"
"""Set once the boxes were shown, so that the other processes of this start stay quiet."""


def refuse_to_start() -> None:
    """End this process with one message unless every check tagged `startup` passes."""
    found = [m for m in checks.run_checks(tags=[STARTUP]) if m.is_serious()]
    serious = sorted(found, key=lambda m: (m.id, m.msg))
    if serious:
        reasons = "\n\n".join(f"{m.msg}\n{m.hint}\n({m.id})" for m in serious)
        sys.stderr.write(f"InstaMsg does not start.\n\n{reasons}\n")
        raise SystemExit(1)


def make_ephemeral() -> None:
    """Give this start one random secret, inherited by every process that this one starts.

    For launchers in development only, before they start the first child.
    """
    os.environ.setdefault(EPHEMERAL, secrets.token_urlsafe(32))


def announce() -> None:
    """Warn of an ephemeral secret, once per start of the application."""
    if not settings.SESSION_SECRET_IS_EPHEMERAL or os.environ.get(ANNOUNCED):
        return
    os.environ[ANNOUNCED] = "1"
    boxes.show(
        "CRITICAL SECURITY WARNING: No SESSION_SECRET configured",
        "A random secret was made for this start. When it ends:\n"
        "  - every login becomes invalid;\n"
        "  - stored Instagram tokens can no longer be decrypted;\n"
        "  - all Instagram accounts must be reconnected.\n"
        "\n"
        f"To mend it, make a secret:\n  {GENERATE}\n"
        "put it into .env as one line:\n  SESSION_SECRET=<the secret>\n"
        "and start again.",
    )


def begin(kind: str) -> None:
    """What a process of this `kind` (web, worker) does before it serves.

    It ends with a message when it must not serve. Otherwise it says what it thinks of its
    secret, and goes on looking.
    """
    refuse_to_start()
    announce()
    with suppress(DatabaseError):  # The verdict says so.
        _enter_secret()
    if kind == WEB:
        Heartbeat(kind, between=workers.Watch().look).start()
    else:
        Heartbeat(kind).start()


def _enter_secret() -> None:
    """Bring the registry up to date with the secret that this process came with."""
    ring = settings.KEYRING
    current = Secret.objects.current()
    if current is None and anything_is_stored():
        # Stored before there was a registry: the secret that opens most is the current one.
        opened = verdict.sample(ring)
        best = max(ring.keys, key=lambda key: opened[key.fingerprint])
        if opened[best.fingerprint]:
            Secret.objects.make_current(best)
    elif current and not anything_is_stored() and Secret.objects.is_retired(ring.primary):
        Secret.objects.make_current(ring.primary)  # Somebody went back to it, and may.
    changes = SecurityEvent.objects.filter(kind=SecurityEvent.Kind.SECRET_CHANGED)
    before = changes.first()
    subject = f"secret {ring.primary.fingerprint}"
    if before is None or before.subject != subject:
        SecurityEvent.objects.record(
            SecurityEvent.Kind.SECRET_CHANGED, subject, before=before.subject if before else None
        )
