"""A backlog of text webhooks, worked off by one worker process, and on PostgreSQL by two.

The yardstick writes as many bare messages with `bulk_create`, 200 at a time.
"""

import json
import subprocess
import sys
import time
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.models import Account
from messaging.events import mid_digest
from messaging.models import Conversation, InboundEvent, Message, WebhookEvent
from tests.environment import child_environment

from .bodies import body
from .measuring import Figures, Table, interleave
from .tokens import database_url, tidy

BATCH = 200


def run(events: int = 50_000, customers: int = 5_000, rounds: int = 3) -> list[Table]:
    account = Account.objects.create(instagram_account_id="17841400000000909", username="bench")
    cases = {"bulk_create": partial(_bulk_create, account, events)}
    for workers in [1] if settings.IS_SQLITE else [1, 2]:
        name = f"{workers} worker{'s' * (workers > 1)}"
        cases[name] = partial(_work_off, account, events, customers, workers)
    title = (
        f"backlog: {events:,} webhooks from {customers:,} customers, on {connection.display_name}"
    )
    return [Table(title, "per second", interleave(cases, rounds))]


def fill(account: Account, events: int, customers: int) -> None:
    """Webhooks that came a minute ago; none is coming now."""
    came = timezone.now() - timedelta(minutes=1)
    for start in range(0, events, 1000):
        WebhookEvent.objects.bulk_create(
            WebhookEvent(
                body=body(account.instagram_account_id, [str(10_000 + n * 7919 % customers)]),
                received_at=came,
            )
            for n in range(start, min(start + 1000, events))
        )
    tidy()


def clear() -> None:
    """Empty the tables at once, with nothing to cascade."""
    for model in (InboundEvent, WebhookEvent, Message, Conversation):
        model.objects.all()._raw_delete("default")


def drain(workers: int) -> Figures:
    """Have so many processes work off all webhooks; the seconds from the first to the last."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.draining"],
            env=child_environment(DATABASE_URL=database_url()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(workers)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    said = [json.loads(child.communicate()[0]) for child in children]
    assert not any(child.returncode for child in children)
    began, ended = min(one["began"] for one in said), max(one["ended"] for one in said)
    return {"seconds": ended - began, "MiB": max(one["MiB"] for one in said)}


def _work_off(account: Account, events: int, customers: int, workers: int) -> Figures:
    clear()
    fill(account, events, customers)
    took = drain(workers)
    assert not WebhookEvent.objects.exclude(state="processed").exists()
    messages = Message.objects.count()
    return {"per second": events / took["seconds"], "messages": messages, "MiB": took["MiB"]}


def _bulk_create(account: Account, events: int) -> Figures:
    clear()
    conversation = Conversation.objects.create(account=account, igsid="bare")
    now = timezone.now()
    start = time.perf_counter()
    for first in range(0, events, BATCH):
        Message.objects.bulk_create(
            Message(
                account_id=account.pk,
                conversation=conversation,
                direction=Message.Direction.IN,
                status=Message.Status.RECEIVED,
                mid=(mid := f"mid.{n:032}"),
                mid_digest=mid_digest(account.instagram_account_id, mid),
                text="Is the blue one still available?",
                timestamp=now,
                due_at=None,
            )
            for n in range(first, min(first + BATCH, events))
        )
    took = time.perf_counter() - start
    return {"per second": events / took, "messages": Message.objects.count()}
