"""Whether the ledger shares the site's SQLite file: an experiment without the site.

One process takes bodies: a commit each, and a millisecond for the rest of a request. Beside it
another does what the worker does: a transaction of about 10 ms, one that settles what was read,
and a rest after each.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from django.conf import settings

from .bodies import body
from .measuring import Figures, Table, interleave, waits

BODY = body("17841405309213877", ["1184527390664218"])
PROCESSES = get_context("spawn")
REQUEST = 0.001
WORK = REST = 0.01
SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, body BLOB, state TEXT);
CREATE INDEX IF NOT EXISTS pending ON ledger (id) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, mid TEXT UNIQUE, text TEXT, at REAL);
CREATE INDEX IF NOT EXISTS thread ON messages (at);
"""
SETTLE = """
UPDATE ledger SET state = 'processed'
WHERE id IN (SELECT id FROM ledger WHERE state = 'pending' ORDER BY id LIMIT 50)
"""


def run(seconds: float = 5, rounds: int = 5) -> list[Table]:
    cases = {
        "a file of its own": partial(_accept, seconds, ledger="ledger.db", rest=REST),
        "the same file": partial(_accept, seconds, ledger="site.db", rest=REST),
        "the same file, no rest": partial(_accept, seconds, ledger="site.db", rest=0),
        "nobody else writes": partial(_accept, seconds, ledger="site.db", rest=None),
    }
    title = "ledger_file: bodies committed beside a working worker, on SQLite"
    return [Table(title, "per second", interleave(cases, rounds))]


def _accept(seconds: float, *, ledger: str, rest: float | None) -> Figures:
    """Commit bodies to the file `ledger` while a worker, if it has a `rest`, writes to site.db."""
    with tempfile.TemporaryDirectory() as name:
        files = [str(Path(name, file)) for file in (ledger, "site.db")]
        took, refused, work = [], 0, PROCESSES.Value("i", 0)
        with (
            closing(_open(files[0], settings.SQLITE_PRAGMAS)) as database,
            _working(rest, files, work),
        ):
            before, end = work.value, time.monotonic() + seconds
            while (start := time.monotonic()) < end:
                try:
                    database.execute(
                        "INSERT INTO ledger (body, state) VALUES (?, 'pending')", [BODY]
                    )
                except sqlite3.OperationalError:
                    refused += 1
                took.append(time.monotonic() - start)
                time.sleep(REQUEST)
            worked = work.value - before
            ((stored,),) = database.execute("SELECT COUNT(*) FROM ledger")
    return {
        "per second": stored / seconds,
        **waits(took),
        "refused": refused,
        "worker's transactions per second": worked / seconds,
    }


@contextmanager
def _working(rest: float | None, files: list[str], work: Synchronized) -> Iterator[None]:
    """A worker that counts its transactions in `work`; none without a `rest`."""
    if rest is None:
        yield
        return
    started, stop = PROCESSES.Event(), PROCESSES.Event()
    arguments = (rest, files, settings.SQLITE_PRAGMAS, work, started, stop)
    worker = PROCESSES.Process(target=_work, args=arguments)
    worker.start()
    try:
        assert started.wait(30)
        yield
    finally:
        stop.set()
        worker.join()
    assert worker.exitcode == 0


def _work(
    rest: float, files: list[str], pragmas: str, work: Synchronized, started: Event, stop: Event
) -> None:
    ledger, site = (_open(file, pragmas) for file in files)
    while not stop.is_set():
        _project(site, work.value)
        work.value += 1
        time.sleep(rest)
        ledger.execute(SETTLE)
        work.value += 1
        time.sleep(rest)
        started.set()


def _project(site: sqlite3.Connection, number: int) -> None:
    """A transaction that writes messages for about 10 ms."""
    site.execute("BEGIN IMMEDIATE")
    end, n = time.monotonic() + WORK, 0
    while time.monotonic() < end:
        n += 1
        row = (f"mid.{number}.{n}", "Is the blue one still available?", time.time())
        site.execute("INSERT INTO messages (mid, text, at) VALUES (?, ?, ?)", row)
    site.execute("COMMIT")


def _open(path: str, pragmas: str) -> sqlite3.Connection:
    """Every commit reaches the disk, as the site's do. A wait is SQLite's own, of 3 s at most."""
    database = sqlite3.connect(path, timeout=3, isolation_level=None)
    database.executescript(pragmas + SCHEMA)
    return database
