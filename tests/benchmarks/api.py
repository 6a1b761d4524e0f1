"""The API: reading with 1,000,000 stored messages beside 10,000, and sending beside a bare insert.

Reading is measured in this process. Sending goes through the real web process, beside a Django
view under the same server that looks a key up and inserts a row; the site's worker is stopped.
"""

import http.client
import json
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import requests
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import api_keys
from accounts.models import Account, Membership, Role, Scope, User
from messaging.models import Conversation
from tests.running_site import PASSWORD, RunningSite
from tests.waiting import A_WHILE, eventually

from .accept import _bare_site, _execute
from .bodies import body
from .measuring import Figures, Table, interleave, waits
from .scale import _store

CUSTOMERS = [str(9000 + n) for n in range(100)]


def run(
    few: int = 10_000, many: int = 1_000_000, customers: int = 5_000, rounds: int = 3,
    asks: int = 200, seconds: float = 4,
) -> list[Table]:  # fmt: skip
    return [*_reading(few, many, customers, rounds, asks), *_sending(seconds, rounds)]


def _reading(few: int, many: int, customers: int, rounds: int, asks: int) -> list[Table]:
    user = User.objects.create(username="mara")
    account = Account.objects.create(instagram_account_id="17841400000000908", username="bench")
    Membership.objects.create(user=user, account=account, role=Role.OWNER)
    _, key = api_keys.make(user, "Benchmark", scopes=Scope)
    client = Client(headers={"host": "127.0.0.1", "authorization": f"Bearer {key}"})
    found: dict[str, dict[str, list[Figures]]] = {}
    for stored in (few, many):
        _store(account, stored, customers)
        Conversation.objects.update(
            last_inbound_at=timezone.now(), last_inbound_change=F("pk") % 2, read_change=0
        )
        for name, path in _paths(client, account).items():
            _ask(client, path, 1)
            figures = [_ask(client, path, asks) for _ in range(rounds)]
            found.setdefault(name, {})[f"{stored:,} stored"] = figures
    on = connection.display_name
    return [
        Table(f"api: GET {name}, on {on}", "p95 ms", results) for name, results in found.items()
    ]


def _paths(client: Client, account: Account) -> dict[str, str]:
    conversations = "/api/v1/conversations"
    later = client.get(f"{conversations}?limit=1").json()["next"]
    latest = client.get(conversations).json()["conversations"][0]
    messages = f"{conversations}/{latest['conversation_id']}/messages"
    earlier = client.get(f"{messages}?limit=1").json()["next"]
    return {
        "conversations": conversations,
        "conversations?cursor": f"{conversations}?cursor={later}",
        "conversations?account_id": f"{conversations}?account_id={account.pk}",
        "conversations?unread&open": f"{conversations}?unread=true&open=true",
        "messages": messages,
        "messages?cursor": f"{messages}?cursor={earlier}",
        "messages?after": f"{messages}?after=1",
        "message": f"/api/v1/messages/{latest['last_message']['message_id']}",
    }


def _ask(client: Client, path: str, asks: int) -> Figures:
    took = []
    with CaptureQueriesContext(connection) as queries:
        response = client.get(path)
        # The key's last use is noted once a minute. Of a prepared statement Django knows no text.
        asked = sum("UPDATE" not in (query["sql"] or "") for query in queries)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert [] not in (answer.get("conversations"), answer.get("messages")), f"{path} lists nothing"
    before = time.process_time()
    for _ in range(asks):
        start = time.perf_counter()
        client.get(path)
        took.append(time.perf_counter() - start)
    spent = time.process_time() - before
    return {**waits(took), "ms of this process": spent / asks * 1000, "queries": asked}


def _sending(seconds: float, rounds: int) -> list[Table]:
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningSite(Path(folder), API_RATE_LIMIT="100000000") as site,
    ):
        site.log_in()
        site.connect()
        ((account, own),) = site.rows("SELECT id, instagram_account_id FROM accounts")
        site.post_webhook(body(own, CUSTOMERS))
        written = "SELECT COUNT(*) FROM messages"
        eventually(lambda: site.rows(written) == [(len(CUSTOMERS),)], A_WHILE)
        login = {"username": "mara", "password": PASSWORD}
        answer = requests.post(f"{site.url}/api/v1/auth/token", json=login, timeout=10)
        key = answer.json()["api_key"]
        site.kill(site.worker, signal.SIGTERM)
        with _bare_site(site) as port:
            _add_key(site, key)
            post = partial(_post_all, account, key, seconds)
            return [_beside(site, port, post, n, rounds) for n in (1, 8)]


def _beside(site: RunningSite, port: int, post, connections: int, rounds: int) -> Table:
    cases = {
        "bare insert": partial(_bare, post, port, connections),
        "send": partial(_counted, site, post, connections),
        "send, Idempotency-Key": partial(_counted, site, post, connections, has_key=True),
    }
    name = "SQLite" if site.is_sqlite else "PostgreSQL"
    title = f"api: POST messages/send, {connections} at once, on {name}"
    return Table(title, "per second", interleave(cases, rounds))


def _bare(post, port: int, connections: int) -> Figures:
    figures = post(port, connections)
    del figures["accepted"]
    return figures


def _add_key(site: RunningSite, key: str) -> None:
    url = site.database_url.replace("site.db", "bare.db") if site.is_sqlite else site.database_url
    _execute(site.is_sqlite, url, "CREATE TABLE bare_keys (id INTEGER, digest TEXT UNIQUE)")
    digest = sha256(key.encode()).hexdigest()
    _execute(site.is_sqlite, url, f"INSERT INTO bare_keys VALUES (1, '{digest}')")


def _counted(site: RunningSite, post, connections: int, has_key: bool = False) -> Figures:
    written = "SELECT COUNT(*) FROM messages WHERE is_from_here"
    ((before,),) = site.rows(written)
    figures = post(site.port, connections, has_key)
    ((after,),) = site.rows(written)
    return figures | {"lost": figures.pop("accepted") - (after - before)}


def _post_all(
    account: str, key: str, seconds: float, port: int, connections: int, has_key: bool = False
) -> Figures:
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(connections) as pool:
        found = pool.map(lambda n: _post(port, account, key, has_key, n, end), range(connections))
        answers = [answer for mine in found for answer in mine]
    accepted = sum(status == 202 for _, status in answers)
    return {
        "per second": accepted / seconds,
        **waits([wait for wait, _ in answers]),
        "not 202": len(answers) - accepted,
        "accepted": accepted,
    }


def _post(
    port: int, account: str, key: str, has_key: bool, first: int, end: float
) -> list[tuple[float, int]]:
    """One program, on one connection that it keeps."""
    answers: list[tuple[float, int]] = []
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    wanted = {"account_id": account, "message": "Yes, it is still here."}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        while time.monotonic() < end:
            wanted["recipient_id"] = CUSTOMERS[(first + len(answers)) % len(CUSTOMERS)]
            if has_key:
                headers["Idempotency-Key"] = str(uuid4())
            start = time.monotonic()
            connection.request("POST", "/api/v1/messages/send", json.dumps(wanted), headers)
            answer = connection.getresponse()
            answer.read()
            answers.append((time.monotonic() - start, answer.status))
    return answers
