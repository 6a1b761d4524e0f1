"""Webhooks through the real web process while a worker drains them, beside bare commits."""

import hashlib
import hmac
import http.client
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from unittest.mock import patch

import psycopg
from django.conf import settings

from tests.running_site import APP_SECRETS, RunningSite, eventually

from .bodies import body
from .measuring import Figures, Table, interleave, waits

CUSTOMERS = [str(9000 + n) for n in range(20)]


def run(seconds: float = 4, rounds: int = 5, senders: tuple[int, ...] = (1, 8)) -> list[Table]:
    """On SQLite, and on PostgreSQL as well when DATABASE_URL names one."""
    with patch.dict(os.environ):
        server = os.environ.pop("DATABASE_URL", "")
        tables = [_table("SQLite", seconds, rounds, senders)]
    if server.startswith(("postgres://", "postgresql://")):
        tables.append(_table("PostgreSQL", seconds, rounds, senders))
    return tables


def _table(name: str, seconds: float, rounds: int, senders: tuple[int, ...]) -> Table:
    with tempfile.TemporaryDirectory() as folder, RunningSite(Path(folder)) as site:
        site.log_in()
        site.connect()
        ((account,),) = site.rows("SELECT instagram_account_id FROM accounts")
        with closing(_bare_database(site)) as database:
            cases = {"bare commits": partial(_commits, database, account, seconds)}
            for n in senders:
                cases[f"{n} at once"] = partial(_webhooks, site, account, n, seconds)
            results = interleave(cases, rounds)
    return Table(f"accept: webhooks stored and answered, on {name}", "per second", results)


def _bare_database(site: RunningSite) -> sqlite3.Connection | psycopg.Connection:
    """A connection that commits each statement, as durably as the site does."""
    if site.database_url.startswith("sqlite"):
        database = sqlite3.connect(site.folder / "bare.db", isolation_level=None)
        database.executescript(settings.SQLITE_PRAGMAS)
        database.execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, body BLOB)")
    else:
        database = psycopg.connect(site.database_url, autocommit=True)
        database.execute("CREATE TABLE bare (id BIGSERIAL PRIMARY KEY, body BYTEA)")
    return database


def _commits(
    database: sqlite3.Connection | psycopg.Connection, account: str, seconds: float
) -> Figures:
    mark = "?" if isinstance(database, sqlite3.Connection) else "%s"
    insert = f"INSERT INTO bare (body) VALUES ({mark})"

    def commit(content: bytes) -> int:
        database.execute(insert, [content])
        return 200

    answers = _until(time.monotonic() + seconds, account, commit)
    return {"per second": len(answers) / seconds, **waits([wait for wait, _ in answers])}


def _webhooks(site: RunningSite, account: str, senders: int, seconds: float) -> Figures:
    count = "SELECT COUNT(*) FROM webhook_events"
    ((before,),) = site.rows(count)
    with ThreadPoolExecutor(senders) as pool:
        end = time.monotonic() + seconds
        found = list(pool.map(lambda _: _deliver(site, account, end), range(senders)))
    stopped = time.monotonic()
    answers = [answer for mine in found for answer in mine]
    accepted = sum(status == 200 for _, status in answers)
    # The next case is to find an idle worker.
    eventually(lambda: site.rows(f"{count} WHERE state = 'pending'") == [(0,)], 300)
    ((after,),) = site.rows(count)
    return {
        "per second": accepted / seconds,
        **waits([wait for wait, _ in answers]),
        "not 200": len(answers) - accepted,
        "lost": accepted - (after - before),
        "drained after s": time.monotonic() - stopped,
    }


def _deliver(site: RunningSite, account: str, end: float) -> list[tuple[float, int]]:
    """One sender, on one connection that it keeps."""
    key = APP_SECRETS.split(",")[0].encode()
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)

    def post(content: bytes) -> int:
        signature = hmac.digest(key, content, hashlib.sha256).hex()
        headers = {"X-Hub-Signature-256": f"sha256={signature}"}
        connection.request("POST", "/webhooks/instagram", content, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    with closing(connection):
        return _until(end, account, post)


def _until(end: float, account: str, take: Callable[[bytes], int]) -> list[tuple[float, int]]:
    """Give bodies to `take` until `end`: how long each took, and its status."""
    answers: list[tuple[float, int]] = []
    while (start := time.monotonic()) < end:
        content = body(account, [CUSTOMERS[len(answers) % len(CUSTOMERS)]])
        start = time.monotonic()
        status = take(content)
        answers.append((time.monotonic() - start, status))
    return answers
