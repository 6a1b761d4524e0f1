"""The inbox and the account list with 1,000 rows, beside the same pages with 10."""

import time
from functools import partial
from unittest.mock import patch

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Account, Membership, User
from crypto.keyring import KeyRing
from messaging.models import Conversation, Message

from .measuring import Figures, Table, interleave


def run(few: int = 10, many: int = 1000, rounds: int = 15) -> list[Table]:
    return [
        Table(
            f"lists: {page} (50 rows a page)" if path == "/" else f"lists: {page}",
            "ms",
            interleave(
                {f"{n:,} rows": partial(_open, _reader(make, n), path) for n in (few, many)},
                rounds,
            ),
        )
        for page, path, make in [
            ("the inbox", "/", _conversations),
            ("the account list", "/accounts/", _accounts),
        ]
    ]


def _reader(make, n: int) -> Client:
    """The browser of a new user who sees `n` rows."""
    user = User.objects.create(username=f"{make.__name__}-{n}")
    make(user, n)
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def _open(client: Client, path: str) -> Figures:
    with (
        CaptureQueriesContext(connection) as queries,
        patch.object(KeyRing, "decrypt", side_effect=AssertionError) as opened,
    ):
        start = time.perf_counter()
        response = client.get(path)
        took = time.perf_counter() - start
    assert response.status_code == 200
    return {"ms": took * 1000, "queries": len(queries), "tokens opened": opened.call_count}


def _accounts(user: User, n: int) -> list[Account]:
    accounts = Account.objects.bulk_create(
        Account(
            instagram_account_id=f"{user.pk}{number:012}",
            username=f"shop.{number}",
            access_token="IGAATokenOfABenchmarkThatOpensNothing000",
        )
        for number in range(n)
    )
    Membership.objects.bulk_create(Membership(user=user, account=one) for one in accounts)
    return accounts


def _conversations(user: User, n: int) -> None:
    """One account, `n` customers, one message of each."""
    (account,) = _accounts(user, 1)
    now = timezone.now()
    conversations = Conversation.objects.bulk_create(
        Conversation(account=account, igsid=str(number), last_message_at=now, last_inbound_at=now)
        for number in range(n)
    )
    Message.objects.bulk_create(
        Message(
            account=account,
            conversation=one,
            direction=Message.Direction.IN,
            status=Message.Status.RECEIVED,
            mid=f"mid.{one.igsid}",
            text="Is the blue one still available?",
            timestamp=now,
            due_at=None,
        )
        for one in conversations
    )
