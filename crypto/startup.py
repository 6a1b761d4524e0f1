"""What happens before a process serves: refuse without a good secret, warn of a passing one."""

import logging
import os
import secrets
import sys

from django.conf import settings
from django.core import checks
from django.db import Error as DatabaseError
from rich.console import Console
from rich.panel import Panel

from .fields import count_stored_values
from .secrets import EPHEMERAL, GENERATE

logger = logging.getLogger(__name__)

STARTUP = "startup"
"""The tag of every check that a server or worker must pass before it serves."""

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
    _warn(
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
    try:
        stored = count_stored_values()
    except DatabaseError:
        return  # No table yet, or no database: nothing is known to be at risk.
    if stored:
        _warn(
            "DATA LOSS WARNING: Encrypted tokens found with ephemeral secret!",
            f"Accounts with a stored token: {stored}. These tokens were written under a secret\n"
            "that this process does not have. Two ways out:\n"
            "  1. Restore: put the old secret into .env as SESSION_SECRET and start again.\n"
            "  2. Start over: put a new SESSION_SECRET into .env, start again,\n"
            "     and reconnect every account on the accounts page.",
        )


def _warn(title: str, body: str) -> None:
    """A red box on a terminal, a plain log record everywhere else."""
    console = Console(stderr=True)
    if console.is_terminal:
        text = f"{title}\n\n{body}"
        console.print(Panel(text, border_style="bold red", style="red"), markup=False)
    else:
        logger.critical("%s\n%s", title, body)
