"""Accounts by the thousand with tokens as long as Instagram's, and two secrets for them."""

import gc
import json
import os
import subprocess
import sys
from itertools import cycle

from django.core.management import call_command
from django.db import connection

from accounts.models import Account
from crypto.fields import Sealed
from crypto.keyring import KeyRing, derive
from crypto.models import Secret
from tests.environment import child_environment

from .measuring import Figures

ONE, OTHER = "wR8mZ2kQx5vT9nLp3cJ7hYs4", "bG6fD1yVt0aKe8UoNi5MzXq2"
LENGTH = 180
"""Of Instagram's tokens, as seen."""


def token(number: int) -> str:
    return f"IGAA{number:0{LENGTH - 4}}"


def account_id(number: int) -> str:
    return f"1784{number:013}"


def fill(rows: int, *secrets: str) -> None:
    """Empty the database and store `rows` accounts, their tokens under each secret in turn."""
    call_command("flush", interactive=False, verbosity=0)
    keys = [derive(secret) for secret in secrets]
    Account.objects.bulk_create(
        [
            Account(
                instagram_account_id=account_id(number),
                username=f"shop.{number}",
                access_token=Sealed(key.fernet.encrypt(token(number).encode()).decode()),
            )
            for number, key in zip(range(rows), cycle(keys), strict=False)
        ],
        batch_size=1000,
    )
    register(*secrets)
    tidy()


def register(current: str, *retired: str) -> None:
    """Make the registry know these secrets, and none besides."""
    Secret.objects.all().delete()
    for secret in (*retired, current):
        Secret.objects.make_current(derive(secret))


def ciphertexts() -> list[str]:
    stored = Account.objects.filter(access_token__isnull=False)
    return [sealed.ciphertext for sealed in stored.values_list("access_token", flat=True)]


def opened_by(secret: str) -> int:
    """How many of the stored tokens this secret alone opens."""
    return sum(map(KeyRing(secret).opens, ciphertexts()))


def tidy() -> None:
    """Clear away what one case leaves behind, so that the next one does not pay for it."""
    gc.collect()
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            cursor.execute("VACUUM (ANALYZE) accounts")


def database_url() -> str:
    """Where other programs find the database of this process."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return f"{os.environ['DATABASE_URL'].rpartition('/')[0]}/{name}"


def process(way: str, new: str, old: str) -> subprocess.Popen:
    """One that will go that way (ways.py) from the old to the new secret: it waits for a line."""
    environment = child_environment(
        DATABASE_URL=database_url(), SESSION_SECRET=new, SESSION_SECRET_FALLBACKS=old
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.ways", way],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"
    return child


def answer(child: subprocess.Popen) -> Figures:
    """Let it begin, and wait for what it has to say."""
    said, _ = child.communicate("\n")
    assert child.returncode == 0
    return json.loads(said)
