"""Sends that Instagram did not confirm are looked for in the conversation itself."""

from datetime import timedelta

import pytest
from django.utils import timezone

from messaging import confirming, outbox, outcomes, restore
from messaging.models import Conversation, Message
from tests.conftest import work

from .files import upload

pytestmark = pytest.mark.django_db(transaction=True)

Status = Message.Status


@pytest.fixture
def send(instagram, open_conversation):
    """Sends a text, or a file, whose answer and echo are lost: `after` or `before` it arrived."""

    def send(drop, text="maybe", file=None):
        instagram.control("settings", echo="none", fetch_media="off")
        instagram.control("faults", endpoint="messages", drop=drop, times=1)
        if file:
            (message,) = outbox.queue_files(open_conversation, [file])
        else:
            message = outbox.queue_reply(open_conversation, text)
        work()
        message.refresh_from_db()
        assert message.status == Status.UNCONFIRMED
        return message

    return send


def look(message, *, after):
    """Look for it as if it had been called so long ago, when it is due then; what it is now."""
    shift = message.called_at - (timezone.now() - after)
    due_at = message.due_at and message.due_at - shift
    Message.objects.filter(pk=message.pk).update(called_at=timezone.now() - after, due_at=due_at)
    confirming.look.run()
    message.refresh_from_db()
    return message


def reads(instagram):
    requests = instagram.control("requests", method="GET")["requests"]
    return sum(one["method"] == "GET" and "/conversations" in one["path"] for one in requests)


def test_its_echo_has_half_a_minute_first(instagram, send):
    message = send("after")
    look(message, after=timedelta(seconds=20))
    assert reads(instagram) == 0


def test_what_is_found_is_sent_under_its_id(instagram, send):
    message = look(send("after"), after=timedelta(seconds=35))
    (there,) = instagram.control("sent", method="GET")["sent"]
    assert (message.status, message.mid, message.error) == (Status.SENT, there["mid"], "")
    assert message.due_at is None
    assert Message.objects.filter(direction="out").count() == 1
    assert instagram.sent_by_api() == ["maybe"]


def test_a_file_is_found_too(instagram, send, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    message = look(send("after", file=upload()), after=timedelta(seconds=35))
    assert message.status == Status.SENT
    assert message.attachments.get().file
    assert Message.objects.filter(direction="out").count() == 1


def test_several_of_a_conversation_are_found_by_one_look(instagram, send):
    first, second = send("after", "one"), send("after", "two")
    Message.objects.update(due_at=timezone.now())
    confirming.look.work()
    assert set(Message.objects.filter(direction="out").values_list("status", flat=True)) == {"sent"}
    assert reads(instagram) == 1
    assert {first.pk, second.pk} == {m.pk for m in Message.objects.filter(direction="out")}


def test_an_equal_text_that_did_not_arrive_stays_open(instagram, send):
    lost, arrived = send("before", "ok"), send("after", "ok")
    Message.objects.update(due_at=timezone.now())
    confirming.look.work()
    states = Message.objects.filter(direction="out").values_list("status", flat=True)
    # Which of the two is not told; never both.
    assert sorted(states) == [Status.SENT, Status.UNCONFIRMED]
    assert lost.pk != arrived.pk


def test_what_was_missed_and_is_answered_since_is_no_news(instagram, send):
    instagram.say("Did you get this?")
    message = look(send("after"), after=timedelta(seconds=35))
    assert Message.objects.filter(text="Did you get this?").exists()
    assert not Conversation.objects.get(pk=message.conversation_id).is_unread


def test_what_was_missed_and_is_not_answered_is_unread(instagram, send):
    message = send("after")
    instagram.say("And another thing")
    look(message, after=timedelta(seconds=35))
    assert Conversation.objects.get(pk=message.conversation_id).is_unread


class TestNotFound:
    def test_it_is_looked_for_again_and_again_then_never(self, instagram, send):
        message = send("before")
        for n, wait in enumerate(confirming.LOOKS, start=1):
            assert message.due_at
            look(message, after=wait + timedelta(seconds=5))
            assert reads(instagram) == n
        assert (message.status, message.due_at) == (Status.UNCONFIRMED, None)
        assert message.error == outcomes.NOT_FOUND
        assert instagram.sent_by_api() == []

    def test_the_team_reads_that_it_has_probably_not_arrived(self, send, client, user):
        message = send("before")
        look(message, after=timedelta(minutes=61))
        client.force_login(user)
        html = client.get(message.conversation.get_absolute_url()).content.decode()
        assert "probably not" in html
        assert "It did not arrive" in html

    def test_an_echo_still_settles_it(self, send, post_webhook):
        message = look(send("before"), after=timedelta(minutes=61))
        Message.objects.update(called_at=timezone.now())
        account = message.conversation.account.instagram_account_id
        event = {
            "sender": {"id": account}, "recipient": {"id": message.conversation.igsid},
            "timestamp": int(timezone.now().timestamp() * 1000),
            "message": {"mid": "mid-late", "text": "maybe", "is_echo": True},
        }  # fmt: skip
        entry = {"id": account, "time": 1, "messaging": [event]}
        post_webhook({"object": "instagram", "entry": [entry]})
        work()
        message.refresh_from_db()
        assert (message.status, message.mid) == (Status.SENT, "mid-late")

    def test_nothing_is_said_of_what_lies_deeper_than_instagram_tells(self, instagram, send):
        message = send("after")
        for n in range(25):
            instagram.say(f"and then {n}")
        look(message, after=timedelta(minutes=61))
        assert message.status == Status.UNCONFIRMED
        assert message.error == outcomes.NOT_CONFIRMED


class TestCannotBeRead:
    @pytest.mark.parametrize("error", ["1", "4", "10", "190/460", "230", "100"])
    def test_it_is_no_proof_of_anything(self, instagram, send, error, connected):
        message = send("after")
        instagram.control("faults", endpoint="conversations", error=error)
        look(message, after=timedelta(seconds=35))
        assert (message.status, message.error) == (Status.UNCONFIRMED, outcomes.NOT_CONFIRMED)
        assert message.due_at > timezone.now()
        look(message, after=timedelta(minutes=61))
        assert message.error == outcomes.NOT_CONFIRMED
        assert message.due_at > timezone.now()
        look(message, after=timedelta(hours=25))
        assert message.error == outcomes.NOT_CONFIRMED
        assert message.due_at is None

    def test_a_later_look_finds_it(self, instagram, send):
        message = send("after")
        instagram.control("faults", endpoint="conversations", error="1", times=1)
        look(message, after=timedelta(seconds=35))
        assert message.status == Status.UNCONFIRMED
        look(message, after=timedelta(minutes=3))
        assert message.status == Status.SENT

    def test_an_outage_longer_than_all_looks_does_not_end_them(self, instagram, send):
        message = send("before")
        instagram.control("faults", endpoint="conversations", error="1", times=1)
        look(message, after=timedelta(minutes=61))
        assert message.error == outcomes.NOT_CONFIRMED
        look(message, after=timedelta(minutes=122))
        assert (message.error, message.due_at) == (outcomes.NOT_FOUND, None)

    def test_a_refused_read_says_nothing_of_the_account(self, instagram, send, connected):
        instagram.control("faults", endpoint="conversations", error="10")
        look(send("after"), after=timedelta(seconds=35))
        connected.refresh_from_db()
        assert connected.status == "connected"


class TestAfterARestore:
    """Of a backup that was made while an answer waited, hours after it."""

    @pytest.fixture
    def hold(self, monkeypatch):
        def hold(message, status=Status.QUEUED, called_at=None, made_before=timedelta(minutes=5)):
            now = timezone.now()
            Message.objects.filter(pk=message.pk).update(
                status=status, mid="", mid_digest=None, called_at=called_at,
                created_at=now - timedelta(days=1), due_at=now,
            )  # fmt: skip
            monkeypatch.setattr(timezone, "now", lambda: now + timedelta(hours=3))
            assert restore._hold_waiting(now - made_before) == 1
            confirming.look.run()
            assert confirming.due().count() == 0
            monkeypatch.setattr(timezone, "now", lambda: now + timedelta(hours=3, seconds=31))
            assert confirming.due().count() == 1
            confirming.look.run()
            message.refresh_from_db()
            return message

        return hold

    def test_what_was_sent_minutes_after_the_backup_is_found(self, instagram, send, hold):
        message = hold(send("after"))
        (there,) = instagram.control("sent", method="GET")["sent"]
        assert (message.status, message.mid, message.error) == (Status.SENT, there["mid"], "")
        assert Message.objects.filter(direction="out").count() == 1

    def test_what_was_being_sent_long_before_it_is_found(self, send, hold):
        sent = send("after")
        message = hold(sent, Status.SENDING, sent.called_at, made_before=-timedelta(hours=1))
        assert message.status == Status.SENT
        assert Message.objects.filter(direction="out").count() == 1

    def test_what_is_not_found_still_says_that_it_waited(self, instagram, send, hold):
        message = hold(send("before"))
        assert reads(instagram) == 1
        assert (message.status, message.due_at) == (Status.UNCONFIRMED, None)
        assert message.error == confirming.WAITED


def test_a_person_who_was_faster_is_not_asked_again(instagram, send):
    message = send("before")
    outcomes.mark(message, arrived=False)
    message.refresh_from_db()
    look(message, after=timedelta(minutes=3))
    assert (message.status, message.error) == (Status.FAILED, Message.NOT_ARRIVED)
    assert reads(instagram) == 0


def test_other_conversations_are_left_alone(instagram, send, connected):
    said = instagram.say("Hello", customer="jonas.outdoors")
    other = Conversation.objects.create(
        account=connected, igsid=said["igsid"], last_inbound_at=timezone.now()
    )
    message = send("after")
    outbox.queue_reply(other, "maybe")
    work()
    look(message, after=timedelta(seconds=35))
    assert message.status == Status.SENT
    assert set(Message.objects.filter(direction="out").values_list("status", flat=True)) == {"sent"}
