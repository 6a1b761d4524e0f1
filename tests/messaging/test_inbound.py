import io
import json
import random
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.utils import timezone

from accounts.models import Account
from crypto.commands import Meter
from messaging import inbound, ledger, wire
from messaging.models import (
    Attachment,
    Conversation,
    InboundEvent,
    Message,
    State,
    WebhookEvent,
)
from tests.conftest import work

pytestmark = pytest.mark.django_db(transaction=True)

CUSTOMER = "1184527390664218"


def at(milliseconds):
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def test_a_text_becomes_a_conversation_with_a_message(account, deliver):
    deliver("text")
    work()
    conversation = Conversation.objects.get()
    assert (conversation.account, conversation.igsid) == (account, CUSTOMER)
    message = Message.objects.get()
    assert (message.text, message.direction, message.status) == (
        "Is it still available?",
        "in",
        "received",
    )
    assert message.timestamp == at(1760000000000)
    assert conversation.last_message_at == conversation.last_inbound_at == message.timestamp


def test_a_webhook_delivered_twice_gives_one_message(account, deliver):
    deliver("text")
    deliver("text")
    work()
    deliver("text")
    work()
    assert Message.objects.get().text == "Is it still available?"
    assert set(WebhookEvent.objects.values_list("state", flat=True)) == {"processed"}


def test_a_message_typed_on_the_phone_appears_as_ours(account, deliver):
    deliver("text")
    deliver("echo")
    work()
    message = Message.objects.get(direction="out")
    assert (message.text, message.status, message.is_from_here) == ("Yes, it is", "sent", False)
    assert message.conversation == Conversation.objects.get()


def test_an_echo_does_not_open_the_window(account, deliver):
    deliver("echo")
    work()
    conversation = Conversation.objects.get()
    assert conversation.igsid == CUSTOMER
    assert conversation.last_inbound_at is None
    assert conversation.last_message_at == at(1760000001365)
    assert not conversation.is_open


def test_an_image_is_kept_for_download(account, deliver):
    deliver("image")
    inbound.process.run()
    attachment = Attachment.objects.get()
    assert (attachment.kind, attachment.state) == ("image", "pending")
    assert attachment.due_at


@pytest.mark.parametrize(
    ("name", "kind"), [("unknown_attachment", "hologram"), ("unsupported", "unsupported")]
)
def test_what_cannot_be_shown_leaves_a_placeholder_that_names_its_kind(
    account, deliver, name, kind
):
    deliver(name)
    work()
    assert Attachment.objects.get().kind == kind
    assert Attachment.objects.get().state == Attachment.State.NOT_KEPT
    assert Message.objects.get().direction == "in"


def test_a_story_is_never_downloaded(account, deliver):
    url = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=1"
    deliver("text", text="", attachments=[{"type": "story_mention", "payload": {"url": url}}])
    work()
    assert Attachment.objects.get().state == Attachment.State.NOT_KEPT


def test_an_event_for_an_unknown_account_is_kept_and_given_to_nobody(
    account, post_webhook, deliver
):
    Account.objects.update(instagram_account_id="17841499999999999")
    deliver("text")
    work()
    event = InboundEvent.objects.get()
    assert event.state == WebhookEvent.objects.get().state == State.UNHANDLED
    assert "unknown account 17841405309213877" in event.reason
    assert not Message.objects.exists()


@pytest.mark.parametrize("name", ["text", "echo"])
def test_without_a_known_entry_id_our_own_side_of_it_routes(account, deliver, post_webhook, name):
    body = deliver(name)
    Conversation.objects.all().delete()
    body["entry"][0]["id"] = "99999"
    post_webhook(body)
    work()
    assert Conversation.objects.get().igsid == CUSTOMER


def test_the_app_scoped_id_routes_nothing(account, deliver):
    Account.objects.update(
        instagram_account_id="17841499999999999", app_scoped_id="17841405309213877"
    )
    deliver("text")
    work()
    assert not Message.objects.exists()


def test_two_accounts_writing_to_each_other_may_share_a_mid(account, deliver, post_webhook):
    other = Account.objects.create(instagram_account_id="17841400000000202", username="north")
    body = deliver("echo")
    event = body["entry"][0]["messaging"][0]
    del event["message"]["is_echo"]
    event["recipient"]["id"] = body["entry"][0]["id"] = other.instagram_account_id
    post_webhook(body)
    work()
    assert Message.objects.filter(mid=event["message"]["mid"]).count() == 2


def test_any_order_and_any_number_of_copies_give_the_same_rows(account, post_webhook):
    seed = random.randrange(2**32)  # noqa: S311  (an order, no secret)
    print(f"seed {seed}")  # noqa: T201  (what a failing run needs)
    rng = random.Random(seed)  # noqa: S311
    bodies = []
    for n in range(40):
        customer, is_echo = str(100 + n % 3), n % 4 == 0
        sides = [{"id": customer}, {"id": account.instagram_account_id}]
        sender, recipient = reversed(sides) if is_echo else sides
        bodies.append({"object": "instagram", "entry": [{
            "id": account.instagram_account_id, "time": 1,
            "messaging": [{"sender": sender, "recipient": recipient,
                           "timestamp": 1760000000000 + rng.randrange(10**6),
                           "message": {"mid": f"mid-{n}", "text": f"text {n}",
                                       **({"is_echo": True} if is_echo else {})}}],
        }]})  # fmt: skip

    def result():
        threads = Conversation.objects.order_by("igsid")
        messages = Message.objects.order_by("conversation__igsid", "timestamp", "mid")
        return (
            list(threads.values_list("igsid", "last_message_at", "last_inbound_at")),
            list(messages.values_list("mid", "text", "direction", "status", "timestamp")),
        )

    results = []
    for _ in range(3):
        Conversation.objects.all().delete()
        for body in rng.sample(bodies * 2, len(bodies) * 2):
            post_webhook(body)
            if rng.random() < 0.2:
                work()
        work()
        results.append(result())
    assert len(results[0][1]) == 40
    assert results[0] == results[1] == results[2]


@contextmanager
def broken(match):
    """While it lasts, no message that `match`es is written: its text stands for a bad row."""

    def refuse(execute, sql, params, many, context):
        if sql.startswith('INSERT INTO "messages"') and match in map(str, params):
            raise DatabaseError("the disk is full")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


def test_an_error_in_one_conversation_leaves_the_others_alone_and_is_tried_again(
    account, post_webhook, deliver
):
    deliver("text", mid="bad")
    deliver("text", mid="good")
    post_webhook(body_of(account, "other", sender="77"))
    with broken("bad"):
        inbound.process.run()
    assert {m.mid for m in Message.objects.all()} == {"good", "other"}
    states = WebhookEvent.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == ["pending", "processed", "processed"]
    assert InboundEvent.objects.first().due_at > timezone.now()

    InboundEvent.objects.filter(state="pending").update(due_at=timezone.now())
    inbound.process.run()
    assert Message.objects.count() == 3
    assert not WebhookEvent.objects.exclude(state="processed").exists()


def test_a_bad_event_takes_none_of_its_siblings_in_the_same_body_along(account, post_webhook):
    body = body_of(account, "mid-1")
    events = body["entry"][0]["messaging"]
    for n in range(2, 30):
        events += body_of(account, f"mid-{n}", sender=str(n % 3))["entry"][0]["messaging"]
    post_webhook(body)
    with broken("mid-7"):
        inbound.process.run()
    assert {m.mid for m in Message.objects.all()} == {f"mid-{n}" for n in range(1, 30)} - {"mid-7"}
    assert InboundEvent.objects.get(state="pending").position == 6


def test_an_event_that_fails_each_time_ends_as_failed(account, deliver):
    deliver("text", mid="bad")
    with broken("bad"):
        for _ in range(inbound.ATTEMPTS):
            InboundEvent.objects.update(due_at=timezone.now())
            inbound.process.run()
    event = InboundEvent.objects.get()
    assert (event.state, event.due_at) == ("failed", None)
    assert "log says why" in event.reason
    assert WebhookEvent.objects.get().state == "failed"


@contextmanager
def unsplittable(match):
    """While it lasts, no event for the account that `match` names is written down."""

    def refuse(execute, sql, params, many, context):
        if sql.startswith('INSERT INTO "inbound_events"') and match in map(str, params):
            raise DatabaseError("value too long for type character varying(64)")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


def split_again():
    WebhookEvent.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    inbound.process.run()


def test_a_body_that_cannot_be_split_keeps_no_other_waiting(account, post_webhook, deliver):
    post_webhook(body_of(account, "bad", sender="bad"))
    deliver("text", mid="good")
    with unsplittable("bad"):
        inbound.process.run()
    assert Message.objects.get().mid == "good"
    bad, good = WebhookEvent.objects.order_by("pk")
    assert (bad.state, good.state) == ("pending", "processed")
    assert bad.due_at > timezone.now()


def test_one_that_fails_each_time_ends_as_failed_and_can_be_replayed(account, post_webhook):
    post_webhook(body_of(account, "bad", sender="bad"))
    with unsplittable("bad"):
        for _ in range(inbound.ATTEMPTS):
            assert WebhookEvent.objects.get().state == "pending"
            split_again()
    webhook = WebhookEvent.objects.get()
    assert (webhook.state, webhook.due_at, webhook.attempts) == ("failed", None, inbound.ATTEMPTS)
    event = InboundEvent.objects.get()
    assert (event.state, event.reason, event.due_at) == ("failed", inbound.NOT_SPLIT, None)

    assert sum(ledger.replay(ledger.chosen(state="failed"))) == 1
    inbound.process.run()
    assert Message.objects.get().mid == "bad"
    assert not InboundEvent.objects.exclude(state="processed").exists()
    assert WebhookEvent.objects.get().state == "processed"


def test_a_replay_takes_each_webhook_once_in_whatever_order_they_are_given(deliver, monkeypatch):
    deliver("text")
    deliver("text")
    monkeypatch.setattr(ledger, "BATCH", 1)
    assert sum(ledger.replay(WebhookEvent.objects.order_by("-pk"))) == WebhookEvent.objects.count()


def test_what_a_replay_tells_a_program_is_free_of_how_far_it_was(account, deliver, monkeypatch):
    monkeypatch.setattr(Meter, "SECONDS", 0)
    deliver("text")
    out, err = io.StringIO(), io.StringIO()
    call_command("replay_webhooks", "--all", "--json", stdout=out, stderr=err)
    assert json.loads(out.getvalue()) == {"webhooks": 1, "dry_run": False}
    assert "Marked: 1 of 1" in err.getvalue()


def test_so_does_one_that_cannot_be_read(account, deliver, monkeypatch):
    def fail(body):
        if b"bad" in body:
            raise TypeError("no such shape")
        return read(body)

    read = wire.read
    monkeypatch.setattr(wire, "read", fail)
    deliver("text", mid="bad")
    deliver("text", mid="good")
    for _ in range(inbound.ATTEMPTS):
        split_again()
    assert Message.objects.get().mid == "good"
    states = WebhookEvent.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == ["failed", "processed"]


def test_a_long_batch_renews_its_lease(account, post_webhook, monkeypatch):
    monkeypatch.setattr(inbound, "LEASE", timedelta(0))
    monkeypatch.setattr(inbound, "AT_ONCE", 50)
    project, due = inbound.projection.project, []

    def watch(told):
        due.append(InboundEvent.objects.order_by("-pk").values_list("due_at", flat=True)[0])
        return project(told)

    monkeypatch.setattr(inbound.projection, "project", watch)
    body = body_of(account, "mid-0")
    for n in range(1, 200):
        event = body_of(account, f"mid-{n}", sender=str(n))["entry"][0]["messaging"]
        body["entry"][0]["messaging"] += event
    post_webhook(body)
    inbound.process.run_dry()
    assert due[0] < due[1]
    assert Conversation.objects.count() == 200


def test_a_row_that_its_body_no_longer_has_keeps_nobody_else_waiting(account, deliver):
    deliver("text")
    work()
    InboundEvent.objects.update(position=7, state="pending", due_at=timezone.now())
    deliver("text", mid="good")
    work()
    assert Message.objects.get(mid="good")
    assert InboundEvent.objects.get(position=7).state == "pending"


def test_a_message_that_comes_late_is_unread_even_if_the_thread_was_opened_since(account, deliver):
    deliver("text")
    work()
    conversation = Conversation.objects.get()
    conversation.mark_read()
    assert not Conversation.objects.get().is_unread
    deliver("text", mid="late")  # Written at the same moment, delivered after the reading.
    work()
    assert Conversation.objects.get().is_unread
    deliver("echo")
    Conversation.objects.get().mark_read()
    deliver("text", mid="late")
    work()
    assert not Conversation.objects.get().is_unread  # Nothing new was said.


@pytest.mark.parametrize("timestamp", [253402300799000, 4102444800000, -5, 0])
def test_an_absurd_time_becomes_the_time_of_arrival(account, post_webhook, timestamp):
    post_webhook(body_of(account, "mid", timestamp=timestamp))
    work()
    message = Message.objects.get()
    assert abs(message.timestamp - timezone.now()) < timedelta(minutes=1)


def body_of(account, mid, sender=CUSTOMER, timestamp=1760000000000):
    event = {
        "sender": {"id": sender},
        "recipient": {"id": account.instagram_account_id},
        "timestamp": timestamp,
        "message": {"mid": mid, "text": f"text of {mid}"},
    }
    entry = {"id": account.instagram_account_id, "time": 1, "messaging": [event]}
    return {"object": "instagram", "entry": [entry]}


def test_an_event_whose_worker_died_is_due_again_after_its_lease(account, deliver):
    deliver("text")
    assert len(WebhookEvent.objects.claim(10)) == 1  # …and then the worker dies.
    assert WebhookEvent.objects.claim(10) == []
    WebhookEvent.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    work()
    assert Message.objects.count() == 1


def test_an_event_whose_worker_died_after_the_split_is_due_again_too(account, deliver):
    deliver("text")
    inbound._split(WebhookEvent.objects.claim(10))  # …and then the worker dies.
    assert WebhookEvent.objects.get().due_at is None
    work()
    assert not Message.objects.exists()
    InboundEvent.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    work()
    assert Message.objects.get().text == "Is it still available?"
    assert WebhookEvent.objects.get().state == "processed"


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1760000000000, at(1760000000000)),
        ("1760000000000", at(1760000000000)),
        (1760000000, at(1760000000000)),
        ("2025-10-09T08:53:20+00:00", at(1760000000000)),
        ("2025-10-09T08:53:20", at(1760000000000)),
        ("2025-10-10T08:52:20+23:59", at(1760000000000)),
        (None, None), ("soon", None), (10**30, None), ({}, None), (float("inf"), None),
    ],
)  # fmt: skip
def test_times_come_in_many_shapes(value, moment):
    assert wire._time(value) == moment


def test_standby_and_change_shapes_hold_the_same_message(account, deliver, post_webhook):
    body = deliver("text")
    entry = body["entry"][0]
    (event,) = entry.pop("messaging")
    event["message"]["mid"] = "standby"
    post_webhook({**body, "entry": [{**entry, "standby": [event]}]})
    event["message"]["mid"] = "change"
    post_webhook({**body, "entry": [{**entry, "changes": [{"field": "messages", "value": event}]}]})
    work()
    assert Message.objects.count() == 3
