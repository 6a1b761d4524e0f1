"""A worker that is told to stop ends what is under way, and leaves what waits to the next."""

import signal
import time
from collections import Counter

import pytest
import requests

from .running_site import PASSWORD, RunningSite
from .waiting import A_WHILE, eventually

pytestmark = pytest.mark.processes

CUSTOMERS = 300
LONG = 3
"""Seconds of a call: of 64 at a time, so many messages take five such."""


@pytest.fixture
def site(tmp_path):
    with RunningSite(tmp_path) as site:
        site.log_in()
        site.connect()
        yield site


def test_it_ends_soon_however_much_waits_and_everything_is_known(site):
    ((account,),) = site.rows("SELECT id FROM accounts")
    customers = []
    for n in range(CUSTOMERS):
        site.control("customers", username=f"person.{n}")
        customers.append(site.say("Hello", customer=f"person.{n}")["igsid"])
    eventually(lambda: site.rows("SELECT COUNT(*) FROM messages") == [(CUSTOMERS,)], A_WHILE)
    site.kill(site.worker, signal.SIGTERM)
    login = {"username": "mara", "password": PASSWORD}
    key = requests.post(f"{site.url}/api/v1/auth/token", json=login, timeout=10).json()["api_key"]
    with requests.Session() as program:
        program.headers["Authorization"] = f"Bearer {key}"
        for igsid in customers:
            wanted = {"account_id": account, "recipient_id": igsid, "message": f"to {igsid}"}
            answer = program.post(f"{site.url}/api/v1/messages/send", json=wanted, timeout=10)
            assert answer.status_code == 202, answer.text

    def states() -> Counter[str]:
        return Counter(s for (s,) in site.rows("SELECT status FROM messages WHERE is_from_here"))

    site.control("faults", endpoint="messages", latency=LONG, times=CUSTOMERS)
    logged = len(site.log)
    site.start_worker()
    eventually(lambda: states()["sending"], A_WHILE)
    asked = time.monotonic()
    site.kill(site.worker, signal.SIGTERM)
    assert time.monotonic() - asked < 3 * LONG
    assert site.worker.returncode == 0
    assert states().keys() == {"queued", "sent"}
    assert states()["queued"] > 100
    assert states()["sent"] == len(site.sent_by_api())
    assert "Traceback" not in site.log[logged:]
