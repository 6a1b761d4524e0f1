"""kill -9 at any moment: no accepted webhook is lost, and nothing is sent twice."""

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
import requests

from .running_site import PASSWORD, RunningSite
from .waiting import eventually

pytestmark = pytest.mark.processes

SECONDS = 5


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with RunningSite(tmp_path_factory.mktemp("kills")) as site:
        site.log_in()
        site.connect()
        yield site


@pytest.fixture
def rng():
    seed = random.randrange(2**32)  # noqa: S311  (moments of a kill, no secret)
    print(f"seed {seed}")  # noqa: T201  (what a failing run needs)
    return random.Random(seed)  # noqa: S311


def text_from(igsid: str, mid: str, account: str) -> bytes:
    event = {
        "sender": {"id": igsid},
        "recipient": {"id": account},
        "timestamp": int(time.time() * 1000),
        "message": {"mid": mid, "text": f"text of {mid}"},
    }
    entry = {"id": account, "time": event["timestamp"], "messaging": [event]}
    return json.dumps({"object": "instagram", "entry": [entry]}).encode()


def test_no_webhook_that_got_its_200_is_lost(site, rng):
    ((account,),) = site.rows("SELECT instagram_account_id FROM accounts")
    accepted, stop = [], threading.Event()

    def deliver(sender: int) -> None:
        n = 0
        while not stop.is_set():
            n += 1
            mid = f"mid-{sender}-{n}"
            with suppress(requests.RequestException):  # Killed meanwhile: no promise was made.
                if site.post_webhook(text_from(str(9000 + sender), mid, account)).ok:
                    accepted.append(mid)

    senders = [threading.Thread(target=deliver, args=(n,)) for n in range(4)]
    for sender in senders:
        sender.start()
    end = time.monotonic() + SECONDS
    kills = Counter()
    while time.monotonic() < end or kills.total() < 3:
        time.sleep(rng.uniform(0.2, 1.2))
        name = rng.choice(["web", "worker"])
        site.kill(getattr(site, name))
        getattr(site, f"start_{name}")()
        kills[name] += 1
    stop.set()
    for sender in senders:
        sender.join()

    assert kills.total() >= 3
    assert len(accepted) > 100
    # A dead worker's leases end after a minute; the clock need not be waited for.
    expire_leases(site)

    def missing() -> set[str]:
        return set(accepted) - {mid for (mid,) in site.rows("SELECT mid FROM messages")}

    eventually(lambda: not missing(), 60)
    counts = Counter(mid for (mid,) in site.rows("SELECT mid FROM messages"))
    assert max(counts.values()) == 1


def test_nothing_is_sent_twice(site, rng):
    said = site.say("Hello")
    query = f"SELECT id FROM conversations WHERE igsid = '{said['igsid']}'"
    ((pk,),) = eventually(lambda: site.rows(query))
    thread = f"/conversations/{pk}/"
    site.control("faults", endpoint="messages", latency=0.05, times=1000)
    written = []
    for n in range(30):
        text = f"answer {n}"
        assert site.submit(thread, f"{thread}reply", text=text).status_code == 302
        written.append(text)
        if rng.random() < 0.4:
            time.sleep(rng.uniform(0, 0.15))
            site.kill(site.worker)
            site.start_worker()

    def is_settled() -> bool:
        expire_leases(site)
        states = Counter(
            state for (state,) in site.rows("SELECT status FROM messages WHERE is_from_here")
        )
        return not states["queued"] and not states["sending"]

    def are_echoes_read() -> bool:
        expire_leases(site)
        return site.rows("SELECT COUNT(*) FROM inbound_events WHERE state = 'pending'") == [(0,)]

    eventually(is_settled, 90)
    site.control("flush")
    eventually(are_echoes_read, 60)
    sent = site.sent_by_api()
    assert max(Counter(sent).values()) == 1
    states = dict(site.rows("SELECT text, status FROM messages WHERE is_from_here"))
    assert sorted(states) == sorted(written)
    for text in written:
        # Sent means sent; what is not known is said not to be known.
        assert states[text] == "sent" if text in sent else states[text] == "unconfirmed", text
    assert [text for text in written if text in sent] == sent


def test_a_send_that_is_repeated_until_it_is_answered_makes_one_message(site, rng):
    said = site.say("Hello?")
    query = f"SELECT account_id FROM conversations WHERE igsid = '{said['igsid']}'"
    ((account,),) = eventually(lambda: site.rows(query))
    login = {"username": "mara", "password": PASSWORD}
    key = requests.post(f"{site.url}/api/v1/auth/token", json=login, timeout=10).json()["api_key"]
    answered = {}

    def send(number: int) -> None:
        body = {"account_id": account, "recipient_id": said["igsid"], "message": f"wish {number}"}
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": f"wish-{number}"}
        while number not in answered:
            with suppress(requests.RequestException):
                answer = requests.post(
                    f"{site.url}/api/v1/messages/send", json=body, headers=headers, timeout=10
                )
                assert answer.status_code in (202, 409, 503), answer.text
                if answer.status_code == 202:
                    answered[number] = answer.json()["message_id"]
            time.sleep(rng.uniform(0, 0.1))

    senders = [
        threading.Thread(target=lambda n=n: [send(m) for m in range(n, 80, 4)]) for n in range(4)
    ]
    for sender in senders:
        sender.start()
    kills = 0
    while kills < 3 or any(sender.is_alive() for sender in senders):
        time.sleep(rng.uniform(0.1, 0.4))
        if kills < 6:
            site.kill(site.web)
            site.start_web()
            kills += 1
    written = site.rows("SELECT text, public_id FROM messages WHERE text LIKE 'wish %'")
    assert sorted(written) == sorted((f"wish {n}", answered[n]) for n in range(80))


def test_a_worker_that_is_told_to_stop_writes_down_what_it_had_called(site):
    said = site.say("Hello")
    query = f"SELECT id FROM conversations WHERE igsid = '{said['igsid']}'"
    ((pk,),) = eventually(lambda: site.rows(query))
    site.control("faults", method="DELETE")
    site.control("settings", echo="none")
    site.control("faults", endpoint="messages", latency=4, text="slowly", times=1)
    thread = f"/conversations/{pk}/"
    assert site.submit(thread, f"{thread}reply", text="slowly").status_code == 302
    query = "SELECT status FROM messages WHERE text = 'slowly'"
    eventually(lambda: site.rows(query) == [("sending",)])
    time.sleep(1)
    site.kill(site.worker, signal.SIGTERM)
    try:
        assert site.rows(query) == [("sent",)]
    finally:
        site.control("settings", echo="after")
        site.start_worker()


def test_killing_the_servers_main_process_alone_leaves_no_worker_of_it_behind(site):
    group = site.web.pid
    os.kill(site.web.pid, signal.SIGKILL)
    site.web.wait()

    def is_gone() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    eventually(is_gone, 5)
    site.start_web()
    assert site.get("/login").ok


def expire_leases(site) -> None:
    """Make what dead workers hold due now, as a minute would, and have a worker look.

    Row by row: an UPDATE of many would lock them in an order of its own.
    """
    site.manage("shell", "-v0", "-c", """
from django.utils import timezone
from messaging.models import InboundEvent, Message, WebhookEvent
from messaging.tasks import sweep
for model in (WebhookEvent, InboundEvent, Message):
    for row in model.objects.filter(due_at__isnull=False):
        model.objects.filter(pk=row.pk, due_at=row.due_at).update(due_at=timezone.now())
sweep.call_local()
""")  # fmt: skip
