"""Stored events into messages, beside a bare `bulk_create` of the same rows."""

import time
from contextlib import nullcontext
from functools import partial
from unittest.mock import patch

from django.utils import timezone

from accounts.models import Account
from messaging import inbound
from messaging.models import Conversation, Message, WebhookEvent

from .bodies import body
from .measuring import Figures, Table, interleave


def run(events: int = 1000, rounds: int = 3) -> list[Table]:
    account = Account.objects.create(instagram_account_id="17841400000000909", username="bench")
    bare = Conversation.objects.create(account=account, igsid="bare")
    busy = min(events, 20)
    cases = {
        "bulk_create": partial(_bulk_create, bare, events),
        "1 conversation": partial(_project, account, events, 1),
        "1 conversation, no rests": partial(_project, account, events, 1, rests=False),
        f"{busy} conversations": partial(_project, account, events, busy),
        f"{events:,} conversations": partial(_project, account, events, events),
        f"{events:,} conversations, no rests": partial(
            _project, account, events, events, rests=False
        ),
    }
    title = f"projection: bodies of {events:,} events, read and written"
    return [Table(title, "per second", interleave(cases, rounds))]


def _bulk_create(conversation: Conversation, events: int) -> Figures:
    now = timezone.now()
    before = Message.objects.count()
    rows = [
        Message(
            account_id=conversation.account_id,
            conversation=conversation,
            direction=Message.Direction.IN,
            status=Message.Status.RECEIVED,
            mid=f"mid.{now.timestamp()}.{n:020}",
            text="Is the blue one still available?",
            timestamp=now,
            due_at=None,
        )
        for n in range(events)
    ]
    start = time.perf_counter()
    Message.objects.bulk_create(rows)
    took = time.perf_counter() - start
    return {"per second": events / took, "messages": Message.objects.count() - before}


def _project(account: Account, events: int, customers: int, *, rests: bool = True) -> Figures:
    """One body, from its row to its messages; the customers are new ones each time."""
    start = time.time_ns()
    senders = [str(start + n % customers) for n in range(events)]
    WebhookEvent.objects.create(body=body(account.instagram_account_id, senders))
    before = Message.objects.count()
    with nullcontext() if rests else patch.object(inbound, "rest", lambda: None):
        start = time.perf_counter()
        inbound.process.work()
        took = time.perf_counter() - start
    return {"per second": events / took, "messages": Message.objects.count() - before}
