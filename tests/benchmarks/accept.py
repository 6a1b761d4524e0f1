"""Webhooks through the real web process, beside a bare Django view under the same server.

The site's worker is idle in one case, keeps up with what comes in another, and works off a
backlog in the third.
"""

import hashlib
import hmac
import http.client
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg

from tests.running_site import APP_SECRETS, RunningSite
from tests.waiting import eventually, free_port

from .bodies import body
from .measuring import Figures, Table, interleave, on_databases, waits

CUSTOMERS = [str(9000 + n) for n in range(500)]
SCHEMA = {
    True: "CREATE TABLE IF NOT EXISTS bare (id INTEGER PRIMARY KEY, body BLOB)",
    False: "CREATE TABLE IF NOT EXISTS bare (id BIGSERIAL PRIMARY KEY, body BYTEA)",
}


def run(
    seconds: float = 4,
    rounds: int = 5,
    connections: int = 8,
    backlog: int = 20_000,
    sqlite_too: bool = True,
) -> list[Table]:
    """On SQLite, and on PostgreSQL as well, or instead, when DATABASE_URL names one."""
    return on_databases(
        lambda name: _table(name, seconds, rounds, connections, backlog), sqlite_too=sqlite_too
    )


def _table(name: str, seconds: float, rounds: int, connections: int, backlog: int) -> Table:
    with tempfile.TemporaryDirectory() as folder, RunningSite(Path(folder)) as site:
        site.log_in()
        site.connect()
        ((account,),) = site.rows("SELECT instagram_account_id FROM accounts")
        post = partial(_post_all, account, connections, seconds)
        with _bare_site(site) as port:
            cases = {
                "bare Django view": lambda: post(port)[1],
                "site, worker stopped": partial(_worker_stopped, site, post),
                "site, worker keeps up": partial(_counted, site, post),
                "site, worker drains": partial(_draining, site, account, backlog, post),
            }
            results = interleave(cases, rounds)
    title = f"accept: {connections} connections, webhooks stored and answered, on {name}"
    return Table(title, "per second", results)


@contextmanager
def _bare_site(site: RunningSite) -> Iterator[int]:
    """The yardstick, served as the site is, on a database of its own kind."""
    port = free_port()
    environment = {**site.environment, "DJANGO_SETTINGS_MODULE": "tests.benchmarks.bare_settings"}
    if site.is_sqlite:
        environment["DATABASE_URL"] = f"sqlite:///{site.folder / 'bare.db'}"
    _execute(site.is_sqlite, environment["DATABASE_URL"], SCHEMA[site.is_sqlite])
    before, site.environment = site.environment, environment
    granian = Path(sys.executable).with_name("granian")
    process = site._start(
        str(granian), "--interface", "wsgi", "tests.benchmarks.bare_site:application",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--blocking-threads", "32",
    )  # fmt: skip
    site.environment = before
    try:
        eventually(lambda: _answers(port))
        yield port
    finally:
        site.kill(process, signal.SIGTERM)


def _answers(port: int) -> bool:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
            connection.request("GET", "/livez")
            return connection.getresponse().status == 200
    except OSError:
        return False


def _worker_stopped(site: RunningSite, post) -> Figures:
    site.kill(site.worker, signal.SIGTERM)
    try:
        return _counted(site, post, drain=False)
    finally:
        site.start_worker()
        _drained(site)


def _draining(site: RunningSite, account: str, backlog: int, post) -> Figures:
    now = datetime.now(UTC)
    rows = [
        (body(account, [CUSTOMERS[n % len(CUSTOMERS)]]), now, "pending", now, 0)
        for n in range(backlog)
    ]
    marks = ", ".join(["?" if site.is_sqlite else "%s"] * 5)
    insert = (
        f"INSERT INTO webhook_events (body, received_at, state, due_at, attempts) VALUES ({marks})"
    )
    _execute(site.is_sqlite, site.database_url, insert, rows)
    figures = _counted(site, post, drain=False)
    ((left,),) = site.rows("SELECT COUNT(*) FROM webhook_events WHERE state = 'pending'")
    _drained(site)
    return figures | {"backlog left": left}


def _counted(site: RunningSite, post, *, drain: bool = True) -> Figures:
    count = "SELECT COUNT(*) FROM webhook_events"
    ((before,),) = site.rows(count)
    accepted, figures = post(site.port)
    ((after,),) = site.rows(count)
    if drain:
        _drained(site)
    return figures | {"lost": accepted - (after - before)}


def _drained(site: RunningSite) -> None:
    """The next case is to find an idle worker."""
    count = "SELECT COUNT(*) FROM webhook_events WHERE state = 'pending'"
    eventually(lambda: site.rows(count) == [(0,)], 600)


def _post_all(account: str, connections: int, seconds: float, port: int) -> tuple[int, Figures]:
    """How many were accepted, and how long each waited."""
    with ThreadPoolExecutor(connections) as pool:
        end = time.monotonic() + seconds
        found = list(pool.map(lambda _: _deliver(port, account, end), range(connections)))
    answers = [answer for mine in found for answer in mine]
    accepted = sum(status == 200 for _, status in answers)
    return accepted, {
        "per second": accepted / seconds,
        **waits([wait for wait, _ in answers]),
        "not 200": len(answers) - accepted,
    }


def _deliver(port: int, account: str, end: float) -> list[tuple[float, int]]:
    """One sender, on one connection that it keeps: how long each took, and its status."""
    key = APP_SECRETS.split(",")[0].encode()
    answers: list[tuple[float, int]] = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        while time.monotonic() < end:
            content = body(account, [CUSTOMERS[len(answers) % len(CUSTOMERS)]])
            signature = hmac.digest(key, content, hashlib.sha256).hex()
            headers = {"X-Hub-Signature-256": f"sha256={signature}"}
            start = time.monotonic()
            connection.request("POST", "/webhooks/instagram", content, headers)
            answer = connection.getresponse()
            answer.read()
            answers.append((time.monotonic() - start, answer.status))
    return answers


def _execute(is_sqlite: bool, url: str, sql: str, rows: list[tuple] | None = None) -> None:
    if is_sqlite:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            database.execute("PRAGMA journal_mode = WAL")
            if rows is None:
                database.execute(sql)
            else:
                database.executemany(sql, [(r[0], str(r[1]), r[2], str(r[3]), r[4]) for r in rows])
        return
    with psycopg.connect(url) as database, database.cursor() as cursor:
        if rows is None:
            cursor.execute(sql)
        else:
            cursor.executemany(sql, rows)
