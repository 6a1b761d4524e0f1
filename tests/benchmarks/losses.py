"""Rows in, rows out: webhooks while web and worker are killed with -9 and started again.

What got no 200 is sent again, as Meta does. Then each message must be stored exactly once.
"""

import hashlib
import hmac
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from tests.running_site import APP_SECRETS, RunningSite
from tests.waiting import eventually

from .measuring import Figures, Table, on_databases

LEASE = 60
"""Seconds until the rows of a dead worker are anybody's again."""


def run(
    webhooks: int = 20_000, connections: int = 16, rounds: int = 1, sqlite_too: bool = True
) -> list[Table]:
    """On SQLite, and on PostgreSQL as well, or instead, when DATABASE_URL names one."""
    return on_databases(
        lambda name: _table(name, webhooks, connections, rounds), sqlite_too=sqlite_too
    )


def _table(name: str, webhooks: int, connections: int, rounds: int) -> Table:
    seed = random.randrange(2**32)  # noqa: S311  (moments of a kill, no secret)
    sys.stderr.write(f"losses: seed {seed}\n")
    rng = random.Random(seed)  # noqa: S311
    results: dict[str, list[Figures]] = {"sent": [], "stored": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, RunningSite(Path(folder)) as site:
            site.log_in()
            site.connect()
            stored = _through_kills(site, webhooks, connections, rng)
        results["sent"].append({"messages": webhooks})
        results["stored"].append(stored)
    title = f"losses: {webhooks:,} webhooks, {connections} connections, kill -9, on {name}"
    return Table(title, "messages", results)


def _through_kills(
    site: RunningSite, webhooks: int, connections: int, rng: random.Random
) -> Figures:
    ((account,),) = site.rows("SELECT instagram_account_id FROM accounts")
    left: SimpleQueue[int] = SimpleQueue()
    for number in range(webhooks):
        left.put(number)
    again, accepted = Counter(), Counter()
    senders = [
        threading.Thread(target=_send_all, args=(site, account, left, again, accepted))
        for _ in range(connections)
    ]
    for sender in senders:
        sender.start()
    kills = _kill_until(site, rng, lambda: not any(sender.is_alive() for sender in senders))
    for sender in senders:
        sender.join()
    query = "SELECT COUNT(*) FROM webhook_events WHERE state = 'pending'"
    eventually(lambda: site.rows(query) == [(0,)], LEASE * 5)
    mids = Counter(mid for (mid,) in site.rows("SELECT mid FROM messages"))
    return {
        "messages": len(mids),
        "lost": len(accepted.keys() - mids.keys()),
        "twice": sum(count > 1 for count in mids.values()),
        "sent again": again.total(),
        "web killed": kills["web"],
        "worker killed": kills["worker"],
    }


def _kill_until(site: RunningSite, rng: random.Random, done: Callable[[], bool]) -> Counter:
    kills: Counter = Counter()
    while not done():
        time.sleep(rng.uniform(0.3, 3))
        name = rng.choice(["web", "worker"])
        site.kill(getattr(site, name))
        getattr(site, f"start_{name}")()
        kills[name] += 1
    return kills


def _send_all(site: RunningSite, account: str, left, again: Counter, accepted: Counter) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    with closing(connection):
        while True:
            try:
                number = left.get_nowait()
            except Empty:
                return
            while not _is_taken(connection, account, number):
                again[number] += 1
                connection.close()
                time.sleep(0.1)
            accepted[f"mid-{number}"] += 1


def _is_taken(connection: http.client.HTTPConnection, account: str, number: int) -> bool:
    event = {
        "sender": {"id": str(9000 + number % 500)},
        "recipient": {"id": account},
        "timestamp": 1_760_000_000_000 + number,
        "message": {"mid": f"mid-{number}", "text": f"text {number}"},
    }
    entry = {"id": account, "time": event["timestamp"], "messaging": [event]}
    content = json.dumps({"object": "instagram", "entry": [entry]}).encode()
    key = APP_SECRETS.split(",")[0].encode()
    signature = hmac.digest(key, content, hashlib.sha256).hex()
    with suppress(OSError, http.client.HTTPException):
        headers = {"X-Hub-Signature-256": f"sha256={signature}"}
        connection.request("POST", "/webhooks/instagram", content, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    return False
