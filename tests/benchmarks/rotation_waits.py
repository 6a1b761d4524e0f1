"""How long others wait for the database while a process of its own rotates every token."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import count
from subprocess import Popen

from django.db import OperationalError, connection, connections
from django.test import override_settings
from django.utils import timezone

from accounts import connecting
from accounts.instagram import Grant, Profile
from accounts.models import Account, User
from crypto.keyring import KeyRing
from messaging import ledger

from .bodies import body
from .measuring import Figures, Table, interleave, waits
from .tokens import ONE, OTHER, account_id, answer, fill, process, register, tidy, token

REST = 0.02
"""Seconds that each writer rests after each write."""


def run(rows: int = 100_000, seconds: float = 5, rounds: int = 5) -> list[Table]:
    fill(rows, ONE)
    site = Site(rows)
    alone, both = "nobody rotates", f"during a rotation of {rows:,}"
    results = interleave(
        {
            alone: lambda: site.write_during(lambda: time.sleep(seconds) or {}),
            "nobody writes": site.rotate,
            both: partial(site.rotate, writing=True),
        },
        rounds,
    )
    on = f"on {connection.display_name}"
    tables = [
        Table(f"rotation_waits: {name}, {on}", "longest ms", _part(results, name, [alone, both]))
        for name in site.writers
    ]
    rotations = _part(results, "rotation", ["nobody writes", both])
    return [*tables, Table(f"rotation_waits: the rotation, {on}", "seconds", rotations)]


class Site:
    """A process that holds both secrets and still encrypts under the old one.

    It knows by heart which token each account should have.
    """

    def __init__(self, rows: int):
        self.new, self.old = OTHER, ONE
        self.tokens = {account_id(number): token(number) for number in range(rows)}
        self.stored_at: dict[str, float] = {}
        self.fresh = count(10**9)
        # Some of those who connect were never here.
        self.people = [account_id(number) for number in range(rows + max(1, rows // 10))]
        self.pks = list(Account.objects.values_list("pk", flat=True))
        self.owner = User.objects.create(username="mara")
        self.writers = {"webhook": self._webhook, "connect": self._connect, "update": self._update}

    def write_during(self, act: Callable[[], Figures]) -> Figures:
        """Keep all writers writing until `act` is done; how long they waited, and its figures."""
        tidy()
        stop = threading.Event()
        with (
            override_settings(KEYRING=KeyRing(self.old, [self.new])),
            ThreadPoolExecutor(len(self.writers)) as pool,
        ):
            writing = {
                name: pool.submit(_keep_on, write, stop) for name, write in self.writers.items()
            }
            try:
                figures = act()
            finally:
                stop.set()
        for name, written in writing.items():
            figures |= {f"{name}: {what}": value for what, value in written.result().items()}
        return figures

    def rotate(self, *, writing: bool = False) -> Figures:
        """From the old to the new secret; the next time it is the other way round."""
        register(self.old)
        tidy()
        act = partial(_rotate, process("rotate", self.new, self.old))
        figures = self.write_during(act) if writing else act()
        ended = figures.pop("ended")
        figures["rotation: missed"] = self._missed(ended)
        self.new, self.old = self.old, self.new
        return figures

    def _missed(self, ended: float) -> int:
        """Every token opens and is the last one stored; how many were left, and should not be.

        One may be, that came in the last moment. Those that came later are for the next time.
        """
        ring, missed = KeyRing(self.new, [self.old]), 0
        stored = dict(Account.objects.values_list("instagram_account_id", "access_token"))
        assert stored.keys() == self.tokens.keys()
        for account, sealed in stored.items():
            key, plain = ring.open(sealed.ciphertext)
            assert plain.decode() == self.tokens[account]
            missed += key is not ring.primary and self.stored_at.get(account, 0) < ended
        return missed

    def _webhook(self) -> None:
        ledger.accept(body(_any(self.people), ["1184527390664218"]))

    def _connect(self) -> None:
        account, fresh = _any(self.people), token(next(self.fresh))
        profile = Profile(account, account, account, account, "BUSINESS", "")
        grant = Grant(fresh, timezone.now() + timedelta(days=60), None)
        connecting._store(self.owner, profile, grant)
        self.tokens[account], self.stored_at[account] = fresh, time.monotonic()

    def _update(self) -> None:
        account = Account.objects.filter(pk=_any(self.pks))
        account.update(problem_reason="Instagram asks for a pause.")


def _rotate(child: Popen) -> Figures:
    found = answer(child)
    figures = {f"rotation: {what}": found[what] for what in ("seconds", "held ms", "raced")}
    return {**figures, "ended": found["ended"]}


def _keep_on(write: Callable[[], None], stop: threading.Event) -> Figures:
    took, refused = [], 0
    while not (took and stop.is_set()):
        start = time.monotonic()
        try:
            write()
        except (ledger.Busy, OperationalError):
            refused += 1
        took.append(time.monotonic() - start)
        time.sleep(REST)
    connections.close_all()
    return {**waits(took), "writes": len(took), "refused": refused}


def _any(choices: list[str]) -> str:
    return random.choice(choices)  # noqa: S311  (who is next, no secret)


def _part(
    results: dict[str, list[Figures]], name: str, cases: list[str]
) -> dict[str, list[Figures]]:
    """Of these cases, the figures that belong to `name`."""
    mark = f"{name}: "
    return {
        case: [
            {key.removeprefix(mark): one[key] for key in one if key.startswith(mark)}
            for one in results[case]
        ]
        for case in cases
    }
