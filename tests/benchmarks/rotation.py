"""A rotation beside two loops that people write, and beside the cryptography alone.

Each begins with the secrets, so their keys are derived every time, and ends when it is committed.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle

from django.db import connection
from sqlalchemy import Engine, MetaData, create_engine, make_url
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session

from crypto.keyring import KeyRing, derive

from .measuring import Figures, Table, interleave
from .tokens import ONE, OTHER, ciphertexts, database_url, fill, opened_by, register, tidy
from .ways import django_loop, rotate

Way = Callable[[KeyRing], object]
Turns = Iterator[tuple[str, str]]


def run(
    few: int = 20_000, many: int = 100_000, rounds: int = 7, rounds_of_many: int = 3
) -> list[Table]:
    return [_table(few, rounds), _table(many, rounds_of_many)]


def _table(rows: int, rounds: int) -> Table:
    """The rotation is the yardstick: the others take so many times as long."""
    fill(rows, ONE)
    stored = ciphertexts()
    turns = cycle([(OTHER, ONE), (ONE, OTHER)])
    engine = _engine()
    sqlalchemy_loop = partial(_sqlalchemy_loop, engine, _mapped(engine))
    cases = {
        "rotate()": partial(_move, rotate, turns, rows),
        "Django, bulk_update": partial(_move, django_loop, turns, rows),
        "SQLAlchemy, one commit": partial(_move, sqlalchemy_loop, turns, rows),
        "in memory": partial(_in_memory, stored),
    }
    title = f"rotation: {rows:,} accounts, on {connection.display_name}"
    return Table(title, "seconds", interleave(cases, rounds))


def _move(way: Way, turns: Turns, rows: int) -> Figures:
    """There or back again: each time all tokens go to the secret that they are not under."""
    new, old = next(turns)
    took = _time(way, new, old)
    return {
        "seconds": took,
        "rows per second": rows / took,
        "under the new secret": opened_by(new),
    }


def _in_memory(stored: list[str]) -> Figures:
    """Open, encrypt and open again: less than that is no verified rotation."""
    moved = []

    def way(ring: KeyRing) -> None:
        old, new = ring.fallbacks[0].fernet, ring.primary.fernet
        for ciphertext in stored:
            plain = old.decrypt(ciphertext)
            becomes = new.encrypt(plain).decode()
            assert new.decrypt(becomes) == plain
            moved.append(becomes)

    took = _time(way, OTHER, ONE)
    return {
        "seconds": took,
        "rows per second": len(stored) / took,
        "under the new secret": sum(map(KeyRing(OTHER).opens, moved)),
    }


def _sqlalchemy_loop(engine: Engine, account_class: type, ring: KeyRing) -> None:
    """Load all, decrypt, encrypt, commit once: the loop of many a guide."""
    old, new = ring.fallbacks[0].fernet, ring.primary.fernet
    with Session(engine) as session:
        for account in session.query(account_class).all():
            plain = old.decrypt(account.access_token_encrypted)
            account.access_token_encrypted = new.encrypt(plain).decode()
        session.commit()
    engine.dispose()


def _engine() -> Engine:
    url = make_url(database_url())
    if connection.vendor == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return create_engine(url)


def _mapped(engine: Engine) -> type:
    """A class with all columns of the table."""
    tables = MetaData()
    tables.reflect(engine, only=["accounts"])
    base = automap_base(metadata=tables)
    base.prepare()
    engine.dispose()
    return base.classes.accounts


def _time(way: Way, new: str, old: str) -> float:
    register(old)
    tidy()
    connection.close()  # As in a process of its own, which has used no temporary table before.
    derive.cache_clear()
    start = time.perf_counter()
    way(KeyRing(new, [old]))
    return time.perf_counter() - start
