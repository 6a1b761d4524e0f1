"""What a scrape of /metrics and a question to /readyz cost: of an empty site, and a full one."""

import time
from datetime import timedelta
from functools import partial
from unittest.mock import patch

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Account
from crypto.keyring import KeyRing
from messaging.models import Conversation, InboundEvent, Message, SendingPace, WebhookEvent

from .measuring import Figures, Table, interleave

AT_ONCE = 5000


def run(accounts: int = 1000, messages: int = 60, waiting: int = 5, rounds: int = 7) -> list[Table]:
    """So many `accounts`, each with 20 conversations, so many `messages` in all of them, as many
    webhooks, and so many answers and webhooks that wait."""
    client = Client(headers={"host": "127.0.0.1"})
    paths = ("/metrics", "/readyz")
    empty = {path: _measure(client, path, rounds) for path in paths}
    _fill(accounts, messages, waiting)
    name = f"{accounts:,} accounts, {accounts * messages:,} messages"
    full = {path: _measure(client, path, rounds) for path in paths}
    return [
        Table(f"scrape: {path}", "ms", {"an empty site": empty[path], name: full[path]})
        for path in paths
    ]


def _measure(client: Client, path: str, rounds: int) -> list[Figures]:
    _ask(client, path)  # The first one looks at the migrations.
    return interleave({path: partial(_ask, client, path)}, rounds)[path]


def _ask(client: Client, path: str) -> Figures:
    with (
        CaptureQueriesContext(connection) as queries,
        patch.object(KeyRing, "decrypt", side_effect=AssertionError) as opened,
    ):
        start = time.perf_counter()
        client.get(path)
        took = time.perf_counter() - start
    return {"ms": took * 1000, "queries": len(queries), "tokens opened": opened.call_count}


def _fill(accounts: int, messages: int, waiting: int) -> None:
    now = timezone.now()
    made = Account.objects.bulk_create(
        Account(
            instagram_account_id=f"178414{number:011}",
            username=f"shop.{number}",
            access_token="IGAATokenOfAShopThatIsMadeUp",
            token_expires_at=now + timedelta(days=60),
        )
        for number in range(accounts)
    )
    SendingPace.objects.bulk_create(SendingPace(account=account) for account in made)
    people = Conversation.objects.bulk_create(
        [
            Conversation(account=one, igsid=f"{n}", last_message_at=now, last_inbound_at=now)
            for one in made
            for n in range(20)
        ],
        AT_ONCE,
    )
    for n in range(messages):
        Message.objects.bulk_create(
            [_message(people[20 * at + n % 20], now, None) for at in range(accounts)], AT_ONCE
        )
        hooks = WebhookEvent.objects.bulk_create(
            [WebhookEvent(body=b"{}", state="processed", due_at=None) for _ in made], AT_ONCE
        )
        InboundEvent.objects.bulk_create(
            [
                InboundEvent(webhook=hook, position=0, account=one, kind="message", due_at=None,
                             dedupe_key=b"", state="processed")
                for hook, one in zip(hooks, made, strict=True)
            ],
            AT_ONCE,
        )  # fmt: skip
    for n in range(waiting):
        Message.objects.bulk_create(
            [_message(people[20 * at + n % 20], now, now) for at in range(accounts)], AT_ONCE
        )
        WebhookEvent.objects.bulk_create([WebhookEvent(body=b"{}") for _ in made], AT_ONCE)
    if connection.vendor == "postgresql":  # Which looks at its tables by itself, a little later.
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def _message(conversation: Conversation, now, due_at) -> Message:
    is_out = due_at is not None
    return Message(
        account_id=conversation.account_id,
        conversation=conversation,
        direction="out" if is_out else "in",
        status="queued" if is_out else "received",
        is_from_here=is_out,
        text="Is it still available?",
        timestamp=now,
        due_at=due_at,
    )
