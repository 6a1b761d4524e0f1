"""What CRMs are told, and how often: written in the transaction of the change."""

import json
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Account
from messaging import crm_events, endpoints, inbound, outbox, outcomes, tasks
from messaging.events import mid_digest
from messaging.models import CrmEndpoint, Delivery, DeliveryAttempt, Message
from tests.conftest import work

from . import events
from .forwards import endpoint_to, forward, pass_time, say
from .test_sending import echo_of

pytestmark = pytest.mark.django_db(transaction=True)

State = Delivery.State


@pytest.fixture
def endpoint(account, receiver):
    return endpoint_to(account, receiver)


@pytest.fixture
def told(post_webhook):
    """Delivers events as Instagram does, lets them be read, and gives what is to be posted."""

    def told(*happened):
        before = set(Delivery.objects.values_list("pk", flat=True))
        for one in happened:
            assert post_webhook(events.body(one)).status_code == 200
        inbound.process.run()
        rows = Delivery.objects.exclude(pk__in=before).order_by("pk")
        return [json.loads(bytes(row.body)) for row in rows if row.body]

    return told


def test_a_message_with_all_that_is_known_of_it(endpoint, told):
    (event,) = told(
        events.message(
            "m1", "Is it still there?", attachments=[events.attachment("image", url=events.CDN)],
            reply_to={"mid": "m0"}, quick_reply={"payload": "BLUE"},
        )
    )  # fmt: skip
    message = Message.objects.get()
    assert event["type"] == "message.received"
    assert event["timestamp"] == "2025-10-09T08:53:20.000Z"
    assert event["data"] == {
        "account_id": endpoint.account_id,
        "conversation_id": message.conversation_id,
        "participant": {"igsid": events.CUSTOMER, "username": "", "name": ""},
        "message_id": message.public_id,
        "mid": "m1",
        "direction": "in",
        "text": "Is it still there?",
        "sent_at": "2025-10-09T08:53:20.000Z",
        "is_from_here": False,
        "attachments": [
            {
                "kind": "image",
                "title": "",
                "path": f"/api/v1/attachments/{message.attachments.get().public_id}",
            }
        ],
        "context": {"reply_to": "m0", "payload": "BLUE"},
    }


def test_every_event_is_told_once_whatever_copies_come(endpoint, told):
    happened = [
        events.message("m1", "one"), events.echo("e1", "from the phone", 5),
        events.edit("m1", "two", at=10), events.react("m1", at=20), events.unreact("m1", at=30),
        events.seen("e1", at=40), events.unsend("m1", at=50),
    ]  # fmt: skip
    types = [event["type"] for one in happened for event in told(one)]
    assert types == [
        "message.received", "message.sent", "message.edited", "message.reaction",
        "message.reaction", "message.read", "message.deleted",
    ]  # fmt: skip
    assert [event for one in happened for event in told(one)] == []


def test_what_was_read_back_and_told_is_not_told_again_by_its_webhook(endpoint, told):
    assert len(told(events.message("m1", "one"))) == 1
    Message.objects.update(context={"read_back": True})
    assert told(events.message("m1", "one", reply_to={"mid": "m0"})) == []
    assert Message.objects.get().context == {"reply_to": "m0"}


def test_a_reaction_says_who_and_what(endpoint, told):
    told(events.message("m1", "one"))
    (came,) = told(events.react("m1", at=20))
    (went,) = told(events.unreact("m1", at=30))
    assert came["data"]["reaction"] == {"emoji": "❤️", "by": "customer"}
    assert went["data"]["reaction"] == {"emoji": "", "by": "customer"}


def test_what_comes_and_is_taken_back_at_once_is_not_told(endpoint, told):
    assert told(events.message("m1", "one"), events.unsend("m1", at=1)) == []
    assert told(events.unsend("m2"), events.message("m2", "late")) == []


def test_after_an_unsend_nothing_of_what_it_said_is_left(endpoint, told, receiver):
    told(events.message("m1", "my secret address"), events.message("m2", "harmless", 1))
    (receiver.answers, receiver.delay) = [(200, {}, b"stored: my secret address")], 0
    forward()
    told(events.edit("m1", "another secret", at=10))
    (event,) = told(events.unsend("m1", at=50))
    assert event["type"] == "message.deleted"
    assert set(event["data"]) == {
        "account_id", "conversation_id", "participant", "message_id", "mid", "direction",
    }  # fmt: skip
    everything = [bytes(row.body) for row in Delivery.objects.all()]
    everything += [log.answer.encode() for log in DeliveryAttempt.objects.all()]
    assert not any(b"secret" in one for one in everything)
    assert any(b"harmless" in one for one in everything)
    forward()
    assert receiver.types[2:] == ["message.deleted"]
    states = Delivery.objects.filter(message__mid="m1").values_list("type", "state")
    assert set(states) == {
        ("message.received", State.DELIVERED), ("message.edited", State.FORGOTTEN),
        ("message.deleted", State.DELIVERED),
    }  # fmt: skip


def test_what_is_taken_back_while_it_is_posted_stays_gone(endpoint, told, receiver):
    told(events.message("m1", "my secret address"))

    def think(got):
        if got.event["type"] == "message.received":
            connection_alone(lambda: told(events.unsend("m1", at=50)))
            return 500, {}, b"you said: my secret address"
        return 200

    receiver.think = think
    forward()
    forward()
    received, deleted = Delivery.objects.order_by("pk")
    assert (received.state, bytes(received.body)) == (State.FORGOTTEN, b"")
    assert deleted.state == State.DELIVERED
    assert "secret" not in received.log.get().answer
    pass_time()
    forward()
    assert receiver.types == ["message.received", "message.deleted"]


def connection_alone(act):
    """In the receiver's thread, whose connection nobody else closes."""
    try:
        act()
    finally:
        connection.close()


def test_what_it_held_goes_on_once_it_is_taken_back(endpoint, told, receiver):
    told(events.message("m1", "my secret address"), events.message("m2", "harmless", 1))
    receiver.answers = [500]
    forward()
    told(events.unsend("m1", at=50))
    forward()
    assert receiver.types == ["message.received", "message.received", "message.deleted"]
    assert receiver.texts[1] == "harmless"


def test_a_replay_does_not_bring_back_what_was_taken_back(endpoint, told, receiver):
    told(events.message("m1", "my secret address"))
    forward()
    told(events.unsend("m1", at=50))
    forward()
    assert endpoints.replay(endpoint.deliveries.filter(type="message.received")) == 0
    forward()
    assert len(receiver.got) == 2


def test_history_that_is_read_back_is_not_told(endpoint, told, account):
    from messaging import board, projection, wire

    body = events.as_bytes(events.body(events.message("m1", "from last year"), events.react("m1")))
    happened = [
        board.Told(
            event, account.pk, events.CUSTOMER,
            mid_digest(account.instagram_account_id, "m1"), timezone.now(), is_old=n == 0,
        )
        for n, event in enumerate(wire.read(body))
    ]  # fmt: skip
    from django.db import transaction

    with transaction.atomic():
        projection.project(happened)
    assert Message.objects.count() == 1
    assert not Delivery.objects.exists()


class TestSending:
    @pytest.fixture
    def endpoint(self, connected, receiver):
        return endpoint_to(connected, receiver, ["message.sent", "message.failed"])

    def types(self):
        return list(Delivery.objects.order_by("pk").values_list("type", flat=True))

    def test_an_answer_is_told_once_by_instagrams_yes_and_its_echo(
        self, endpoint, instagram, open_conversation, post_webhook
    ):
        message = outbox.queue_reply(open_conversation, "Yes, it is")
        work()
        message.refresh_from_db()
        post_webhook(echo_of(open_conversation, message.mid, "Yes, it is"))
        work()
        assert self.types() == ["message.sent"]
        data = json.loads(bytes(Delivery.objects.get().body))["data"]
        assert (data["message_id"], data["mid"]) == (message.public_id, message.mid)
        assert data["is_from_here"] is True

    def test_an_echo_that_overtakes_the_answer_tells_it_and_the_answer_does_not(
        self, endpoint, instagram, open_conversation, post_webhook
    ):
        message = outbox.queue_reply(open_conversation, "Yes")
        now = timezone.now()
        Message.objects.update(status="sending", called_at=now, due_at=now + timedelta(minutes=1))
        post_webhook(echo_of(open_conversation, "mid.1", "Yes"))
        inbound.process.run()
        assert self.types() == ["message.sent"]
        with transaction.atomic():
            outcomes.sent([(message, "mid.1")])
        assert self.types() == ["message.sent"]

    def test_a_refusal_is_told_with_its_reason(self, endpoint, instagram, open_conversation):
        instagram.control("clock", advance=25 * 3600)
        outbox.queue_reply(open_conversation, "too late")
        work()
        assert self.types() == ["message.failed"]
        data = json.loads(bytes(Delivery.objects.get().body))["data"]
        assert "24-hour window" in data["error"]
        assert data["sent_at"] is None

    def test_what_a_person_settles_is_told(self, endpoint, open_conversation):
        for arrived in (True, False):
            message = outbox.queue_reply(open_conversation, f"arrived: {arrived}")
            Message.objects.filter(pk=message.pk).update(status="unconfirmed", due_at=None)
            message.refresh_from_db()
            assert outcomes.mark(message, arrived=arrived)
        assert self.types() == ["message.sent", "message.failed"]


class TestAccountStatus:
    def look(self):
        tasks.tell_of_accounts.call_local()
        rows = Delivery.objects.filter(type="account.status").order_by("pk")
        return [json.loads(bytes(row.body))["data"]["status"] for row in rows]

    def test_a_change_is_told_once_whoever_made_it(self, endpoint, account):
        assert self.look() == []
        Account.objects.update(token_expires_at=timezone.now() + timedelta(days=3))
        assert self.look() == self.look() == ["expiring"]
        Account.objects.update(access_token=None, token_expires_at=None)
        assert self.look() == ["expiring", "disconnected"]

    def test_who_does_not_want_it_is_not_told(self, account, receiver):
        endpoint_to(account, receiver, ["message.sent"])
        Account.objects.update(access_token=None)
        assert self.look() == []


def test_where_nobody_listens_it_costs_one_query(conversation):
    message = Message.objects.create(
        account=conversation.account, conversation=conversation, direction="in",
        status="received", text="x", timestamp=timezone.now(), due_at=None,
    )  # fmt: skip
    news = [crm_events.came(message)] * 50
    with CaptureQueriesContext(
        connection,
    ) as queries:
        crm_events.tell(news)
    assert len(queries) == 1
    assert not Delivery.objects.exists()


def test_a_body_never_grows_past_twenty_thousand_bytes(endpoint, told):
    shared = [
        events.attachment("image", url=events.CDN, title="\U0001f3fa" * 300) for _ in range(50)
    ]
    (event,) = told(
        events.message(
            "m1", "\U0001f3fa" * 9000, attachments=shared, quick_reply={"payload": "é" * 5000}
        )
    )
    assert event["data"]["is_shortened"] is True
    assert len(bytes(Delivery.objects.get().body)) < 20_000
    assert len(event["data"]["attachments"]) == 50


def test_others_accounts_hear_nothing(endpoint, told, stranger, other_receiver):
    other = Account.objects.create(instagram_account_id="178999", username="other")
    endpoints.add(other, other_receiver.url)
    told(events.message("m1", "one"))
    forward()
    assert other_receiver.got == []
    assert set(Delivery.objects.values_list("endpoint", flat=True)) == {endpoint.pk}


def test_while_an_account_is_deleted_nothing_is_posted_and_all_of_it_goes(
    endpoint, receiver, conversation
):
    import accounts.deletion
    from messaging import deletion

    say(conversation, "one")
    accounts.deletion.delete(endpoint.account)
    forward()
    assert receiver.got == []
    for _ in range(20):
        deletion.delete.run()
    assert not Delivery.objects.exists()


def test_a_change_that_is_rolled_back_is_not_told(endpoint, conversation):
    from django.db import transaction

    with transaction.atomic():
        say(conversation)
        transaction.set_rollback(True)
    assert not Delivery.objects.exists()
    assert CrmEndpoint.objects.count() == 1
