"""What a look at the secret costs, and what it costs to try every stored value."""

import json
import time
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from functools import partial
from io import StringIO

from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from crypto import census, verdict
from crypto.keyring import KeyRing
from crypto.verdict import State

from .measuring import Figures, Table, interleave
from .tokens import ONE, OTHER, ciphertexts, fill

WRONG = "zT4hC9sWq7jE2nPv6uBx0LkR"


def run(rows: int = 100_000, looks: int = 40, rounds: int = 5) -> list[Table]:
    return [
        *_tables("all under one secret", [ONE], State.CURRENT, rows, looks, rounds),
        *_tables("half under a fallback", [ONE, OTHER], State.FALLBACK, rows, looks, rounds),
    ]


def _tables(
    what: str, secrets: list[str], state: State, rows: int, looks: int, rounds: int
) -> list[Table]:
    fill(rows, *secrets)
    ring = KeyRing(secrets[0], secrets[1:])
    of = f"{rows:,} accounts, {what}, on {connection.display_name}"
    return [
        Table(f"verdict: a look at {of}", "ms", _looks(ring, state, looks)),
        Table(f"verdict: a trial of all {of}", "ms", _trials(ring, rounds)),
    ]


def _looks(ring: KeyRing, state: State, rounds: int) -> dict[str, list[Figures]]:
    cases = {
        "SELECT of 100": lambda: _time(_select),
        "look()": partial(_look, ring, state),
        "look(), wrong secret": partial(_look, KeyRing(WRONG), State.WRONG),
    }
    return interleave(cases, rounds)


def _look(ring: KeyRing, state: State) -> Figures:
    found = []
    # The tests' own secret is a weak one; this is not about that.
    with override_settings(KEYRING=ring, WEAK_SECRETS=[]):
        figures = _time(lambda: found.append(verdict.look()))
    assert found[0].state == state
    return figures


def _select() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, access_token_encrypted FROM accounts LIMIT 100")
        cursor.fetchall()


def _trials(ring: KeyRing, rounds: int) -> dict[str, list[Figures]]:
    stored = ciphertexts()
    return interleave(
        {
            "opened in memory": partial(_try, lambda: sum(map(ring.opens, stored))),
            "census.take()": partial(_try, lambda: sum(census.take(ring).by_secret.values())),
            "check_secret": partial(_try, lambda: _check_secret(ring)),
        },
        rounds,
    )


def _try(act: Callable[[], int]) -> Figures:
    opened = []
    figures = _time(lambda: opened.append(act()))
    return {**figures, "opened": opened[0]}


def _check_secret(ring: KeyRing) -> int:
    said = StringIO()
    with (
        override_settings(KEYRING=ring),
        redirect_stderr(StringIO()),  # Where it would show how far it is.
        suppress(SystemExit),  # A fallback in use is an exit code.
    ):
        call_command("check_secret", "--json", stdout=said)
    columns = json.loads(said.getvalue())["columns"]
    return sum(count for counts in columns.values() for count in counts.values())


def _time(act: Callable[[], object]) -> Figures:
    start = time.perf_counter()
    act()
    return {"ms": (time.perf_counter() - start) * 1000}
