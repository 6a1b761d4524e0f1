"""What an event, and the first pages, cost with 1,000,000 stored messages beside 10,000."""

import time
from datetime import timedelta
from functools import partial

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Account, Membership, Role, User
from messaging.events import mid_digest
from messaging.models import Conversation, Message, WebhookEvent

from .backlog import clear, drain, fill
from .measuring import Figures, Table
from .tokens import tidy


def run(
    few: int = 10_000, many: int = 1_000_000, customers: int = 5_000, events: int = 5_000,
    rounds: int = 3,
) -> list[Table]:  # fmt: skip
    user = User.objects.create(username="mara")
    account = Account.objects.create(instagram_account_id="17841400000000909", username="bench")
    Membership.objects.create(user=user, account=account, role=Role.OWNER)
    browser = Client(headers={"host": "127.0.0.1"})
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    clear()
    found: dict[str, dict[str, list[Figures]]] = {}
    for stored in (few, many):
        _store(account, stored, customers)
        pages = {"inbox": "/", "thread": Conversation.objects.latest("pk").get_absolute_url()}
        cases = {"an event": partial(_events, account, events, customers)}
        cases |= {f"the {name}": partial(_open, browser, path) for name, path in pages.items()}
        for name, case in cases.items():
            case()  # The first opening of a thread also marks it as read.
            figures = [case() for _ in range(rounds)]
            found.setdefault(name, {})[f"{stored:,} stored"] = figures
    on = connection.display_name
    return [Table(f"scale: {name}, on {on}", "ms", results) for name, results in found.items()]


def _store(account: Account, messages: int, customers: int) -> None:
    """So many messages, spread over the customers, each with its webhook and its event.

    The newest conversation is as long at every size, and may be answered now.
    """
    missing = messages - Message.objects.count()
    if not Conversation.objects.exists():
        Conversation.objects.bulk_create(
            Conversation(account=account, igsid=str(10_000 + n)) for n in range(customers)
        )
        _write_thread(account)
    first = Conversation.objects.earliest("pk").pk
    last = WebhookEvent.objects.order_by("pk").values_list("pk", flat=True).last() or 0
    start = Message.objects.count()
    is_sqlite = connection.vendor == "sqlite"
    if is_sqlite:
        series = (
            f"SELECT {start} UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {start + missing}"
        )
        digest, moment = "randomblob(16)", "datetime('now', (n - 3000000) || ' seconds')"
    else:
        series = f"SELECT generate_series({start}, {start + missing - 1})"
        digest, moment = "decode(md5(n::text), 'hex')", "now() + make_interval(secs => n - 3000000)"
    with connection.cursor() as cursor:
        for sql in (
            f"""INSERT INTO webhook_events (id, body, received_at, state, attempts)
            SELECT {last} + 1 + n - {start}, {digest}, {moment}, 'processed', 1 FROM numbers""",
            f"""INSERT INTO inbound_events (webhook_id, position, account_id,
                instagram_account_id, igsid, kind, mid_digest, dedupe_key, state, reason, attempts)
            SELECT {last} + 1 + n - {start}, 0, '{account.pk}', '{account.instagram_account_id}',
                CAST(10000 + n % {customers} AS TEXT), 'message', {digest}, {digest}, 'processed',
                '', 1 FROM numbers""",
            f"""INSERT INTO messages (public_id, account_id, conversation_id, direction, status,
                mid, mid_digest, text, timestamp, created_at, change, context, reactions,
                edit_number, is_from_here, error, error_code, tag, quick_replies,
                attempts)
            SELECT 'msg_' || n, '{account.pk}', {first} + n % {customers}, 'in', 'received',
                'mid.' || n, {digest}, 'Is the blue one still available?', {moment}, {moment},
                n / {customers}, '{{}}', '{{}}', 0, {"0" if is_sqlite else "false"}, '', '',
                '', '[]', 1 FROM numbers""",
        ):
            cursor.execute(f"WITH RECURSIVE numbers(n) AS ({series}) {sql}")
        cursor.execute(
            "UPDATE conversations SET last_message_at = (SELECT max(timestamp) FROM messages "
            "WHERE conversation_id = conversations.id), change = 1"
        )
        if not is_sqlite:
            cursor.execute(
                "SELECT setval(pg_get_serial_sequence('webhook_events', 'id'), "
                "(SELECT max(id) FROM webhook_events))"
            )
            for table in ("webhook_events", "inbound_events", "messages", "conversations"):
                cursor.execute(f"VACUUM (ANALYZE) {table}")
    tidy()


def _write_thread(account: Account, messages: int = 200) -> None:
    now = timezone.now()
    thread = Conversation.objects.create(account=account, igsid="9999", last_inbound_at=now)
    Message.objects.bulk_create(
        Message(
            account=account,
            conversation=thread,
            direction=Message.Direction.OUT if n % 2 else Message.Direction.IN,
            status=Message.Status.SENT if n % 2 else Message.Status.RECEIVED,
            mid=f"thread.{n}",
            mid_digest=mid_digest(account.instagram_account_id, f"thread.{n}"),
            text="Is the blue one still available? I saw it at https://luna.example/bowls",
            timestamp=now - timedelta(minutes=messages - n),
            change=n,
        )
        for n in range(messages)
    )


def _events(account: Account, events: int, customers: int) -> Figures:
    fill(account, events, customers)
    took = drain(1)
    assert not WebhookEvent.objects.exclude(state="processed").exists()
    return {"ms": took["seconds"] / events * 1000, "MiB": took["MiB"]}


def _open(browser: Client, path: str) -> Figures:
    with CaptureQueriesContext(connection) as queries:
        start = time.perf_counter()
        response = browser.get(path)
        took = time.perf_counter() - start
    assert response.status_code == 200
    return {"ms": took * 1000, "queries": len(queries)}
