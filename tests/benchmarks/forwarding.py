"""Deliveries to CRMs on loopback, by one worker process; and what a dead one costs the others.

The yardstick posts as many of the same bodies with bare `requests`, two threads per endpoint as the
worker does, and writes nothing down. The table of the dead one compares the others with and without
it.
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle

import requests
from django.db import connection
from django.utils import timezone

from accounts.models import Account
from messaging import crm_events, endpoints
from messaging.models import (
    Conversation,
    CrmEndpoint,
    Delivery,
    DeliveryAttempt,
    EventType,
    Message,
)
from tests.environment import child_environment

from .measuring import Figures, Table, interleave
from .tokens import database_url, tidy

CONVERSATIONS = 50
DEAD = 60.0
"""Seconds that the dead endpoint takes: above every time-out."""

PATIENCE = 5
"""Seconds in which what was posted has to be written down."""


def run(
    deliveries: int = 3000, receivers: int = 10, rounds: int = 3, rounds_beside: int = 15
) -> list[Table]:
    """The dead one is told from chance by a case that is measured twice, in `rounds_beside`."""
    account = Account.objects.create(instagram_account_id="17841400000000808", username="bench")
    on = f"on {connection.display_name}"
    rates = Table(
        f"forwarding: {deliveries:,} deliveries to {receivers} receivers, {on}",
        "per second",
        interleave(
            {
                "bare requests": partial(_bare, account, deliveries, receivers),
                "one worker": partial(_forward, account, deliveries, receivers),
                "one worker, one receiver": partial(_forward, account, deliveries // 4, 1),
            },
            rounds,
        ),
    )
    live = partial(_forward, account, deliveries, receivers)
    beside = Table(
        f"forwarding beside a dead endpoint: {deliveries:,} deliveries to {receivers} others, {on}",
        "per second",
        # Twice without: what they differ by is chance.
        interleave(
            {
                "all of them live": live,
                "all of them live, again": live,
                "one more is dead": partial(live, dead=True),
            },
            rounds_beside,
        ),
    )
    return [rates, beside]


class Receivers:
    """A process with so many receivers, and perhaps a dead one more."""

    def __init__(self, count: int, *, dead: bool):
        pauses = ["0"] * count + [str(DEAD)] * dead
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.receiving", *pauses],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        ports = json.loads(self.process.stdout.readline())
        self.urls = [f"http://127.0.0.1:{port}/" for port in ports]
        self.live = count

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.communicate()

    def counted(self) -> tuple[int, float, float]:
        """How many the live ones took, and when the first and the last of them came."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())[: self.live]
        firsts = [first for _, first, _ in found if first]
        count = sum(count for count, _, _ in found)
        return count, min(firsts, default=0.0), max(last for _, _, last in found)


def fill(account: Account, urls: list[str], each: int) -> None:
    """So many messages, told to as many endpoints as there are addresses."""
    for model in (DeliveryAttempt, Delivery, CrmEndpoint, Message, Conversation):
        model.objects.all()._raw_delete("default")
    people = Conversation.objects.bulk_create(
        Conversation(account=account, igsid=f"{n}") for n in range(CONVERSATIONS)
    )
    for start in range(0, each, 500):
        messages = Message.objects.bulk_create(
            Message(
                account=account,
                conversation=person,
                direction="in",
                status="received",
                mid=f"mid.{n}",
                text="Is the blue one still available?",
                timestamp=timezone.now(),
                due_at=None,
            )
            for n, person in zip(range(start, min(start + 500, each)), cycle(people), strict=False)
        )
        if start == 0:
            for url in urls:
                endpoints.add(account, url, [EventType.RECEIVED])
        crm_events.tell(crm_events.came(one) for one in messages)
    tidy()


def _forward(account: Account, total: int, receivers: int, *, dead: bool = False) -> Figures:
    with Receivers(receivers, dead=dead) as there:
        each = total // receivers
        # add() allows fewer endpoints for one account.
        endpoints.MOST = max(endpoints.MOST, receivers + 1)
        fill(account, there.urls, each)
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.draining", "forward"],
            env=child_environment(DATABASE_URL=database_url(), LOG_LEVEL="ERROR"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout.readline() == "ready\n"
        started = time.time()
        worker.stdin.write("\n")
        worker.stdin.flush()
        while there.counted()[0] < each * receivers:
            assert worker.poll() is None or there.counted()[0] >= each * receivers
            time.sleep(0.05)
        live = Delivery.objects.filter(endpoint__url__in=there.urls[:receivers])
        until = time.monotonic() + PATIENCE  # The last ones are being written down.
        while live.waiting().exists() and time.monotonic() < until:
            time.sleep(0.05)
        worker.kill()
        worker.communicate()
        count, _, last = there.counted()
    return {
        "per second": count / (last - started),
        "not written down": live.waiting().count(),
        "more than once": count - each * receivers,
    }


def _bare(account: Account, total: int, receivers: int) -> Figures:
    with Receivers(receivers, dead=False) as there:
        endpoints.MOST = max(endpoints.MOST, receivers + 1)
        fill(account, there.urls[:1], 1)
        body = bytes(Delivery.objects.get().body)
        started = time.time()

        def post(url: str) -> None:
            with requests.Session() as session:
                session.trust_env = False
                for _ in range(total // receivers // 2):
                    session.post(url, data=body, timeout=15).raise_for_status()

        with ThreadPoolExecutor(receivers * 2) as pool:
            list(pool.map(post, [url for url in there.urls for _ in range(2)]))
        count, _, last = there.counted()
    return {"per second": count / (last - started)}
