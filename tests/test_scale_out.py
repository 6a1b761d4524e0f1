"""Two web processes and three workers on one PostgreSQL, one of each killed: nothing is missing.

Once with the task queue in PostgreSQL too, once in Redis.
"""

import hashlib
import hmac
import json
import os
import time
from contextlib import suppress

import pytest
import redis
import requests

from .running_site import APP_SECRETS, RunningSite, of_several_hosts
from .waiting import eventually, free_port

REDIS = "redis://127.0.0.1:6379/9"
LEASE = 60
CUSTOMERS, EACH = 20, 10

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        not os.environ.get("DATABASE_URL", "").startswith("postgres"),
        reason="SQLite serves one machine",
    ),
]


@pytest.fixture(params=["PostgreSQL", "Redis"])
def site(request, tmp_path):
    environment = {}
    if request.param == "Redis":
        with suppress(redis.RedisError):
            redis.Redis.from_url(REDIS).flushdb()
            environment["TASK_QUEUE_URL"] = REDIS
        if not environment:
            pytest.skip("no Redis on 127.0.0.1:6379")
    with of_several_hosts(), RunningSite(tmp_path, **environment) as site:
        site.log_in()
        site.connect()
        yield site


@pytest.fixture
def others(site):
    """A second web process, and two more workers."""
    port = free_port()
    processes = {"web": site.another_web(port)}
    processes |= {f"worker {n}": site.another_worker() for n in (2, 3)}
    yield port, processes
    for process in processes.values():
        site.kill(process)


def test_whichever_ends_every_message_is_there_once_and_every_answer_goes_out_once(site, others):
    port, processes = others
    ((account,),) = site.rows("SELECT instagram_account_id FROM accounts")
    people = [site.say("Hello", customer=name)["igsid"] for name in ("mila.tests", "amara.k")]
    wanted = {f"mid-{n}" for n in range(CUSTOMERS * EACH)}
    for n in range(CUSTOMERS * EACH):
        deliver(site, (site.port, port)[n % 2], account, n)
        if n == CUSTOMERS * EACH // 2:
            site.kill(processes["web"])
            site.kill(processes["worker 2"])
            port = site.port  # Whoever is in front sends everything to the one that is left.
    eventually(lambda: stored(site) >= wanted, LEASE * 2)
    for n in range(10):
        answer(site, people[n % 2], f"answer {n}")
    eventually(lambda: len(site.sent_by_api()) >= 10, LEASE * 2)
    time.sleep(1)
    assert sorted(site.sent_by_api()) == sorted(f"answer {n}" for n in range(10))
    mids = [mid for (mid,) in site.rows("SELECT mid FROM messages WHERE mid LIKE 'mid-%'")]
    assert sorted(mids) == sorted(wanted)


def stored(site) -> set[str]:
    return {mid for (mid,) in site.rows("SELECT mid FROM messages")}


def answer(site, igsid: str, text: str) -> None:
    query = f"SELECT id FROM conversations WHERE igsid = '{igsid}'"
    ((pk,),) = eventually(lambda: site.rows(query))
    page = f"/conversations/{pk}/"
    assert site.submit(page, f"{page}reply", text=text).status_code == 302


def deliver(site, port: int, account: str, n: int) -> None:
    """As Meta does: until somebody says yes."""
    event = {
        "sender": {"id": str(9000 + n % CUSTOMERS)},
        "recipient": {"id": account},
        "timestamp": int(time.time() * 1000),
        "message": {"mid": f"mid-{n}", "text": f"text {n}"},
    }
    entry = {"id": account, "time": event["timestamp"], "messaging": [event]}
    body = json.dumps({"object": "instagram", "entry": [entry]}).encode()
    key = APP_SECRETS.split(",")[0].encode()
    headers = {"X-Hub-Signature-256": f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"}

    def is_taken() -> bool:
        with suppress(requests.RequestException):
            url = f"http://127.0.0.1:{port}/webhooks/instagram"
            return requests.post(url, data=body, headers=headers, timeout=10).status_code == 200
        return False

    eventually(is_taken)
