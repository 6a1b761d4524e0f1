import itertools
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

from accounts import connecting
from accounts.models import Account
from crypto.keyring import KeyRing
from messaging import budgets, inbound, outbox, outcomes, queues, sending
from messaging.models import Conversation, Message, SendingPace, WebhookEvent
from tests.conftest import work
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)

Status = Message.Status

ASK_HERE = queues.Drain.ask_here


def echo_of(conversation, mid, text, moment=None):
    """The webhook by which Instagram tells of a message from the account's side."""
    account = conversation.account.instagram_account_id
    moment = moment or timezone.now()
    return {"object": "instagram", "entry": [{"id": account, "time": 1, "messaging": [{
        "sender": {"id": account}, "recipient": {"id": conversation.igsid},
        "timestamp": int(moment.timestamp() * 1000),
        "message": {"mid": mid, "text": text, "is_echo": True},
    }]}]}  # fmt: skip


def answered(message, mid):
    """Instagram's answer to a call, written down."""
    with transaction.atomic():
        outcomes.sent([(message, mid)])


def due_now():
    Message.objects.filter(due_at__isnull=False).update(due_at=timezone.now())


def test_a_reply_is_a_row_first_then_sent_once(instagram, open_conversation, user):
    message = outbox.queue_reply(open_conversation, "Yes, it is", by=user)
    assert (message.status, message.mid) == (Status.QUEUED, "")
    work()
    work()
    message.refresh_from_db()
    assert message.status == Status.SENT
    assert message.mid
    assert (message.due_at, message.lease, message.error) == (None, None, "")
    assert instagram.sent_by_api() == ["Yes, it is"]


def test_replies_go_out_in_the_order_they_were_written(instagram, open_conversation):
    for n in range(5):
        outbox.queue_reply(open_conversation, f"part {n}")
    work()
    assert instagram.sent_by_api() == [f"part {n}" for n in range(5)]


def test_a_later_reply_waits_for_an_earlier_one(instagram, open_conversation):
    first = outbox.queue_reply(open_conversation, "first")
    outbox.queue_reply(open_conversation, "second")
    first.retry_later(timedelta(minutes=5))
    work()
    assert instagram.sent_by_api() == []
    due_now()
    work()
    assert instagram.sent_by_api() == ["first", "second"]


def test_the_same_form_sent_twice_sends_one_message(instagram, open_conversation):
    submission = uuid4()
    first = outbox.queue_reply(open_conversation, "once", submission=submission)
    again = outbox.queue_reply(open_conversation, "once", submission=submission)
    assert first == again
    work()
    assert instagram.sent_by_api() == ["once"]


def test_another_text_from_a_form_that_came_back_is_another_message(open_conversation):
    submission = uuid4()
    for text in ("first", "second", "second"):
        outbox.queue_reply(open_conversation, text, submission=submission)
    assert list(Message.objects.values_list("text", flat=True)) == ["first", "second"]


@pytest.mark.parametrize(
    "text", ["x" * 1001, "é" * 501, "👍" * 251, "", " \n\t", "a\0b", "a\ud83d"]
)
def test_what_instagram_would_refuse_is_refused_before_it_is_stored(open_conversation, text):
    with pytest.raises(outbox.ReplyRefused):
        outbox.queue_reply(open_conversation, text)
    assert not Message.objects.exists()


@pytest.mark.parametrize("text", ["x" * 1000, "é" * 500, "👍" * 250])
def test_a_thousand_bytes_are_sent(instagram, open_conversation, text):
    outbox.queue_reply(open_conversation, text)
    work()
    assert instagram.sent_by_api() == [text]


def test_line_ends_of_a_form_become_plain_ones(instagram, open_conversation):
    outbox.queue_reply(open_conversation, " a\r\nb ")
    work()
    assert instagram.sent_by_api() == ["a\nb"]


def test_a_closed_window_is_refused_with_the_reason(open_conversation):
    open_conversation.last_inbound_at = timezone.now() - timedelta(hours=24, seconds=1)
    with pytest.raises(outbox.ReplyRefused, match="24-hour window"):
        outbox.queue_reply(open_conversation, "too late")


def test_instagrams_refusal_is_told_to_who_wrote(instagram, open_conversation):
    instagram.control("clock", advance=25 * 3600)  # Instagram's clock decides, not ours.
    message = outbox.queue_reply(open_conversation, "too late")
    work()
    message.refresh_from_db()
    assert message.status == Status.FAILED
    assert "24-hour window" in message.error
    assert message.due_at is None


class TestNoAnswer:
    """Instagram took the message, and the answer was lost."""

    @pytest.fixture
    def message(self, instagram, open_conversation):
        instagram.control("settings", echo="none")
        instagram.control("faults", endpoint="messages", drop="after", times=1)
        message = outbox.queue_reply(open_conversation, "maybe")
        work()
        message.refresh_from_db()
        return message

    def test_it_is_unconfirmed_and_never_sent_again(self, instagram, message):
        assert message.status == Status.UNCONFIRMED
        due_now()
        work()
        assert instagram.sent_by_api() == ["maybe"]

    def test_its_echo_settles_it(self, message, post_webhook):
        post_webhook(echo_of(message.conversation, "mid-from-echo", "maybe"))
        work()
        message.refresh_from_db()
        assert (message.status, message.mid, message.error) == (Status.SENT, "mid-from-echo", "")
        assert Message.objects.filter(direction="out").count() == 1

    @pytest.mark.parametrize(("arrived", "status"), [(True, Status.SENT), (False, Status.FAILED)])
    def test_a_person_settles_it(self, message, arrived, status):
        assert outcomes.mark(message, arrived=arrived)
        message.refresh_from_db()
        assert message.status == status
        assert not outcomes.mark(message, arrived=not arrived)

    def test_another_text_from_the_phone_does_not(self, message, post_webhook):
        post_webhook(echo_of(message.conversation, "mid-phone", "something else"))
        work()
        message.refresh_from_db()
        assert message.status == Status.UNCONFIRMED
        assert Message.objects.get(mid="mid-phone").is_from_here is False

    def test_the_same_text_a_day_later_does_not(self, message, post_webhook):
        later = timezone.now() + timedelta(days=1)
        post_webhook(echo_of(message.conversation, "mid-later", "maybe", later))
        work()
        message.refresh_from_db()
        assert message.status == Status.UNCONFIRMED

    def test_later_replies_go_on(self, instagram, message):
        outbox.queue_reply(message.conversation, "next")
        work()
        assert instagram.sent_by_api() == ["maybe", "next"]


def test_a_server_error_is_no_clear_no(instagram, open_conversation):
    error = {"http": 500, "code": 2, "message": "An unexpected error has occurred."}
    instagram.control("faults", endpoint="messages", error=error, times=1)
    message = outbox.queue_reply(open_conversation, "maybe")
    work()
    message.refresh_from_db()
    assert message.status == Status.UNCONFIRMED


def test_no_connection_means_not_sent_and_it_is_tried_again(instagram, open_conversation, settings):
    settings.INSTAGRAM_GRAPH_URL, url = "http://127.0.0.1:9", settings.INSTAGRAM_GRAPH_URL
    message = outbox.queue_reply(open_conversation, "later")
    work()
    message.refresh_from_db()
    assert message.status == Status.QUEUED
    assert message.due_at > timezone.now()
    assert "cannot be reached" in message.error
    settings.INSTAGRAM_GRAPH_URL = url
    due_now()
    work()
    assert instagram.sent_by_api() == ["later"]


def test_after_a_day_without_connection_it_fails(open_conversation, settings):
    settings.INSTAGRAM_GRAPH_URL = "http://127.0.0.1:9"
    message = outbox.queue_reply(open_conversation, "never")
    Message.objects.update(created_at=timezone.now() - timedelta(hours=25))
    work()
    message.refresh_from_db()
    assert message.status == Status.FAILED
    assert "more than 24 hours" in message.error


def test_what_waited_for_days_is_not_sent_when_the_account_is_back(
    instagram, connected, open_conversation
):
    message = outbox.queue_reply(open_conversation, "old news")
    Message.objects.update(created_at=timezone.now() - timedelta(days=5))
    work()
    message.refresh_from_db()
    assert message.status == Status.FAILED
    assert instagram.sent_by_api() == []


def test_a_limit_waits_at_least_a_minute(instagram, open_conversation):
    error = {"http": 400, "code": 4, "message": "Application request limit reached"}
    instagram.control("faults", endpoint="messages", error=error, times=1)
    message = outbox.queue_reply(open_conversation, "slowly")
    work()
    message.refresh_from_db()
    assert message.status == Status.QUEUED
    assert message.due_at > timezone.now() + timedelta(seconds=45)


def test_a_dead_token_keeps_the_queue_until_the_account_is_reconnected(
    instagram, open_conversation, connected
):
    instagram.control("revoke", account="luna.ceramics", subcode=460)
    message = outbox.queue_reply(open_conversation, "kept")
    work()
    connected.refresh_from_db()
    assert connected.status == Account.Status.REVOKED
    assert "password was changed" in connected.problem_reason
    message.refresh_from_db()
    assert message.status == Status.QUEUED
    assert "password was changed" in message.error
    due_now()
    work()
    assert len([c for c in instagram.control("requests", method="GET")["requests"]
                if c["path"].endswith("/messages")]) == 1  # fmt: skip


def test_a_permission_problem_holds_the_account_and_it_is_tried_again_later(
    instagram, open_conversation, connected
):
    error = {"http": 403, "code": 10, "message": "Application does not have permission"}
    instagram.control("faults", endpoint="messages", error=error, times=1)
    outbox.queue_reply(open_conversation, "kept")
    work()
    connected.refresh_from_db()
    assert connected.status == Account.Status.HELD
    due_now()
    work()
    assert instagram.sent_by_api() == []
    Account.objects.update(problem_at=timezone.now() - timedelta(minutes=16))
    due_now()
    work()
    connected.refresh_from_db()
    assert connected.status == Account.Status.CONNECTED
    assert instagram.sent_by_api() == ["kept"]


def test_a_lost_key_sends_nothing_says_so_at_each_attempt_and_mends_itself(
    instagram, open_conversation, connected, settings, caplog
):
    ring = settings.KEYRING
    settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
    message = outbox.queue_reply(open_conversation, "kept")
    sending.send.run()
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1
    assert errors[0].startswith(f"Failed to decrypt access token for account {connected.pk}: ")
    connected.refresh_from_db()
    assert connected.status == Account.Status.UNREADABLE
    assert instagram.sent_by_api() == []
    settings.KEYRING = ring
    due_now()
    work()
    connected.refresh_from_db()
    message.refresh_from_db()
    assert (connected.status, message.status) == (Account.Status.CONNECTED, Status.SENT)


def test_a_disconnected_account_keeps_its_queue(instagram, open_conversation, connected):
    message = outbox.queue_reply(open_conversation, "kept")
    Account.objects.update(access_token=None, token_expires_at=None)
    work()
    message.refresh_from_db()
    assert (message.status, message.attempts, message.change) == (Status.QUEUED, 0, 1)


def test_news_of_an_old_token_says_nothing_of_a_new_one(connected, instagram, user):
    old = Account.objects.get()
    url = connecting.begin(user, "browser", connected)
    connecting.finish(user, "browser", instagram.consent(url))
    old.note_problem(Account.Problem.REVOKED, "The password was changed.")
    assert Account.objects.get().status == Account.Status.CONNECTED
    connecting.disconnect(old)
    assert Account.objects.get().status == Account.Status.CONNECTED


def test_an_outcome_is_written_even_if_the_database_is_busy_at_first(
    instagram, open_conversation, monkeypatch
):
    write, failures = outcomes.sent, iter([OperationalError("database is locked")] * 2)

    def busy(*args):
        if error := next(failures, None):
            raise error
        return write(*args)

    monkeypatch.setattr(outcomes, "sent", busy)
    monkeypatch.setattr(sending.time, "sleep", lambda seconds: None)
    message = outbox.queue_reply(open_conversation, "once")
    work()
    message.refresh_from_db()
    assert message.status == Status.SENT


def test_what_was_called_has_an_outcome_though_the_next_claim_fails(
    instagram, open_conversation, connected, monkeypatch
):
    instagram.control("settings", latency=0.2)
    claim, looks = budgets.claim, iter([False, True])

    def busy(*args):
        if next(looks):
            raise OperationalError("database is locked")
        return claim(*args)

    monkeypatch.setattr(budgets, "claim", busy)
    message = outbox.queue_reply(open_conversation, "once")
    with pytest.raises(OperationalError):
        sending.send.work()
    message.refresh_from_db()
    assert message.status == Status.SENT


def test_a_reconnected_account_goes_on_at_once(connected, instagram, user, monkeypatch):
    hints = []
    monkeypatch.setattr(sending.send, "hint", lambda: hints.append(1))
    url = connecting.begin(user, "browser", connected)
    connecting.finish(user, "browser", instagram.consent(url))
    assert hints


class TestDeadWorker:
    @pytest.fixture
    def taken(self, instagram, open_conversation):
        """A message that a worker took, which has been silent for longer than its lease."""
        message = outbox.queue_reply(open_conversation, "maybe")
        (taken,) = budgets.claim(1)
        late = timezone.now() - timedelta(seconds=1)
        Message.objects.filter(pk=message.pk).update(due_at=late)
        return taken

    def test_what_it_had_taken_becomes_unconfirmed_and_is_not_sent_again(self, instagram, taken):
        work()
        taken.refresh_from_db()
        assert taken.status == Status.UNCONFIRMED
        due_now()
        work()
        assert instagram.sent_by_api() == []

    def test_an_answer_that_comes_after_the_lease_still_counts(self, taken):
        sending._stop_waiting_for_answers()
        answered(taken, "mid-late")
        taken.refresh_from_db()
        assert (taken.status, taken.mid) == (Status.SENT, "mid-late")


class TestEcho:
    """One message, whichever comes first and however often."""

    STEPS = ("answer", "echo", "echo")

    @pytest.mark.parametrize("order", sorted(set(itertools.permutations(STEPS))), ids=" ".join)
    def test_it_merges_with_our_own_send_in_any_order(self, open_conversation, post_webhook, order):
        message = outbox.queue_reply(open_conversation, "Yes, it is")
        (claimed,) = budgets.claim(1)
        moment = timezone.now() + timedelta(seconds=3)
        for step in order:
            if step == "answer":
                answered(claimed, "mid-1")
            else:
                post_webhook(echo_of(open_conversation, "mid-1", "Yes, it is", moment))
                work()
        out = Message.objects.get(direction="out")
        assert (out.pk, out.status, out.mid) == (message.pk, Status.SENT, "mid-1")
        # Instagram's clock orders the thread.
        assert abs(out.timestamp - moment) < timedelta(milliseconds=2)

    @pytest.mark.parametrize(
        "order", list(itertools.permutations(["answer", "ours", "phone"])), ids=" ".join
    )
    def test_the_same_words_typed_on_the_phone_stay_a_second_message(
        self, open_conversation, post_webhook, order
    ):
        outbox.queue_reply(open_conversation, "ok")
        (claimed,) = budgets.claim(1)
        for step in order:
            if step == "answer":
                answered(claimed, "mid-ours")
            else:
                post_webhook(echo_of(open_conversation, f"mid-{step}", "ok"))
                work()
        mids = Message.objects.filter(direction="out").values_list("mid", flat=True)
        assert sorted(mids) == ["mid-ours", "mid-phone"]

    def test_an_equal_text_that_is_still_unconfirmed_stays_a_message_of_its_own(
        self, open_conversation, post_webhook
    ):
        ids = []
        for state in (Status.UNCONFIRMED, Status.SENDING):
            ids.append(outbox.queue_reply(open_conversation, "Hi").pk)
            (claimed,) = budgets.claim(1)
            if state == Status.UNCONFIRMED:
                outcomes.unconfirmed(claimed)
        post_webhook(echo_of(open_conversation, "mid-second", "Hi"))
        work()
        answered(claimed, "mid-second")
        rows = Message.objects.filter(direction="out").order_by("pk")
        assert list(rows.values_list("pk", "status", "mid")) == [
            (ids[0], Status.UNCONFIRMED, ""),
            (ids[1], Status.SENT, "mid-second"),
        ]

    def test_an_echo_taken_by_the_wrong_one_of_two_is_given_back(
        self, open_conversation, post_webhook
    ):
        first = outbox.queue_reply(open_conversation, "Hi")
        (claimed,) = budgets.claim(1)
        outcomes.unconfirmed(claimed)
        post_webhook(echo_of(open_conversation, "mid-second", "Hi"))
        work()  # The first took it, since the second was not under way yet.
        second = outbox.queue_reply(open_conversation, "Hi")
        (claimed,) = budgets.claim(1)
        answered(claimed, "mid-second")
        first.refresh_from_db()
        second.refresh_from_db()
        assert (first.status, first.mid) == (Status.UNCONFIRMED, "")
        assert (second.status, second.mid) == (Status.SENT, "mid-second")

    @pytest.mark.parametrize("arrived", [True, False])
    def test_it_corrects_what_a_person_said(self, open_conversation, post_webhook, arrived):
        message = outbox.queue_reply(open_conversation, "Hi")
        (claimed,) = budgets.claim(1)
        outcomes.unconfirmed(claimed)
        message.refresh_from_db()
        outcomes.mark(message, arrived=arrived)
        post_webhook(echo_of(open_conversation, "mid-1", "Hi"))
        work()
        out = Message.objects.get(direction="out")
        assert (out.pk, out.status, out.mid, out.error) == (message.pk, Status.SENT, "mid-1", "")

    def test_a_text_that_instagram_changed_is_still_ours(self, open_conversation, post_webhook):
        message = outbox.queue_reply(open_conversation, "see http://x.example")
        (claimed,) = budgets.claim(1)
        post_webhook(echo_of(open_conversation, "mid-1", "see https://x.example/"))
        work()
        answered(claimed, "mid-1")
        assert Message.objects.get(direction="out").pk == message.pk


def test_a_slow_call_holds_up_nobody_else(instagram, open_conversation, connected, monkeypatch):
    slow = open_conversation.igsid
    instagram.control("faults", endpoint="messages", customer=slow, latency=1.5)
    said = instagram.say("Hello", customer="jonas.outdoors")
    other = Conversation.objects.create(
        account=connected, igsid=said["igsid"], last_inbound_at=timezone.now()
    )
    first = outbox.queue_reply(open_conversation, "slow")
    monkeypatch.setattr(sending, "TURN", 0.3)
    sending.send.work()
    second = outbox.queue_reply(other, "quick")
    sending.send.work()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == (Status.SENDING, Status.SENT)
    work()
    first.refresh_from_db()
    assert first.status == Status.SENT


def test_conversations_do_not_wait_for_each_other(instagram, open_conversation, connected):
    other_igsid = instagram.say("Hello", customer="jonas.outdoors")["igsid"]
    other = Conversation.objects.create(
        account=connected, igsid=other_igsid, last_inbound_at=timezone.now()
    )
    stuck = outbox.queue_reply(open_conversation, "stuck")
    stuck.retry_later(timedelta(minutes=5))
    outbox.queue_reply(other, "hello Jonas")
    work()
    assert instagram.sent_by_api() == ["hello Jonas"]


class TestToldBeforeOurMidIsKnown:
    """Instagram may speak of an answer of ours before it has told us what it calls it."""

    @pytest.fixture
    def sending_now(self, instagram, open_conversation):
        """Called, and not yet answered."""
        message = outbox.queue_reply(open_conversation, "PIN 1234")
        now = timezone.now()
        Message.objects.filter(pk=message.pk).update(
            status=Status.SENDING, called_at=now, due_at=now + timedelta(minutes=1)
        )
        message.refresh_from_db()
        return message

    def tell(self, post_webhook, conversation, **what):
        account = conversation.account.instagram_account_id
        event = {
            "sender": {"id": account}, "recipient": {"id": conversation.igsid},
            "timestamp": int(timezone.now().timestamp() * 1000), **what,
        }  # fmt: skip
        entry = {"id": account, "time": 1, "messaging": [event]}
        post_webhook({"object": "instagram", "entry": [entry]})
        inbound.process.run()

    @pytest.mark.parametrize("way", ["echo", "answer", "twin"])
    def test_a_reaction_stands_and_what_was_taken_back_is_gone(
        self, sending_now, post_webhook, way
    ):
        conversation = sending_now.conversation
        if way == "twin":  # Instagram changed the text: the echo looks like one from the phone.
            post_webhook(echo_of(conversation, "mid-1", "PIN: 1234"))
            inbound.process.run()
        heart = {"mid": "mid-1", "action": "react", "emoji": "❤️"}
        self.tell(post_webhook, conversation, reaction=heart)
        if way == "echo":
            post_webhook(echo_of(conversation, "mid-1", "PIN 1234"))
            inbound.process.run()
        else:
            answered(sending_now, "mid-1")
        sending_now.refresh_from_db()
        assert (sending_now.mid, sending_now.emoji()) == ("mid-1", ["❤️"])

        self.tell(post_webhook, conversation, message={"mid": "mid-1", "is_deleted": True})
        sending_now.refresh_from_db()
        assert (sending_now.text, sending_now.status) == ("", Status.SENT)

    @pytest.mark.parametrize("way", ["echo", "answer", "twin"])
    def test_one_that_was_taken_back_at_once_does_not_come_back(
        self, sending_now, post_webhook, way
    ):
        conversation = sending_now.conversation
        if way == "twin":
            post_webhook(echo_of(conversation, "mid-1", "PIN: 1234"))
        self.tell(post_webhook, conversation, message={"mid": "mid-1", "is_deleted": True})
        if way == "echo":
            post_webhook(echo_of(conversation, "mid-1", "PIN 1234"))
            inbound.process.run()
        else:
            answered(sending_now, "mid-1")
        message = Message.objects.get(mid="mid-1")
        assert (message.pk, message.text) == (sending_now.pk, "")
        assert message.unsent_at
        assert not [w.pk for w in WebhookEvent.objects.all() if b"1234" in bytes(w.body)]

    def test_an_equal_text_from_the_phone_is_given_back(self, sending_now, post_webhook):
        post_webhook(echo_of(sending_now.conversation, "mid-phone", "PIN 1234"))
        inbound.process.run()
        answered(sending_now, "mid-1")
        post_webhook(echo_of(sending_now.conversation, "mid-1", "PIN 1234"))
        inbound.process.run()
        found = dict(Message.objects.filter(direction="out").values_list("mid", "is_from_here"))
        assert found == {"mid-phone": False, "mid-1": True}


def test_a_fault_of_ours_before_the_call_sends_nothing_and_the_others_go_out(
    instagram, open_conversation, connected, monkeypatch
):
    faults = iter([OperationalError("database is locked")])
    ready = sending._body

    def busy(message):
        if error := next(faults, None):
            raise error
        return ready(message)

    monkeypatch.setattr(sending, "_body", busy)
    first = outbox.queue_reply(open_conversation, "later")
    work()
    first.refresh_from_db()
    assert (first.status, instagram.sent_by_api()) == (Status.QUEUED, [])
    assert "a fault" in first.error
    due_now()
    work()
    assert instagram.sent_by_api() == ["later"]


def test_an_answer_that_comes_after_the_turn_is_written_down_without_being_asked_for(
    instagram, open_conversation, monkeypatch
):
    monkeypatch.setattr(sending, "TURN", 0.1)
    monkeypatch.setattr(queues, "TURN", 0)
    monkeypatch.setattr(queues.Drain, "ask_here", ASK_HERE)
    monkeypatch.setattr(sending.send, "start_unless_waiting", lambda: None)
    instagram.control("faults", endpoint="messages", latency=0.8, times=1)
    message = outbox.queue_reply(open_conversation, "slowly")
    sending.send.run()
    message.refresh_from_db()
    assert message.status == Status.SENDING
    eventually(lambda: _status_now(message) == Status.SENT, 10)


def test_the_end_of_an_accounts_pause_is_known_before_the_sweep(open_conversation, connected):
    outbox.queue_reply(open_conversation, "soon")
    SendingPace.objects.create(account=connected)
    budgets.pause(connected, timedelta(seconds=20))
    at = budgets.next_due_at()
    assert timedelta(seconds=15) < at - timezone.now() <= timedelta(seconds=20)


def test_nothing_of_a_taken_back_answer_stays_not_even_what_it_offered_to_tap(
    instagram, open_conversation, post_webhook
):
    choices = [{"title": "Red", "payload": "RED"}]
    message = outbox.queue_reply(open_conversation, "Which one?", quick_replies=choices)
    work()
    message.refresh_from_db()
    event = echo_of(open_conversation, message.mid, None)
    event["entry"][0]["messaging"][0]["message"] = {
        "mid": message.mid, "is_deleted": True, "is_echo": True,
    }  # fmt: skip
    post_webhook(event)
    work()
    message.refresh_from_db()
    assert message.unsent_at
    assert (message.text, message.quick_replies) == ("", [])


def _status_now(message):
    """None while somebody writes: in memory a reader does not wait for that."""
    with suppress(OperationalError):
        return Message.objects.values_list("status", flat=True).get(pk=message.pk)


def test_a_thread_that_takes_the_place_of_a_dead_one_goes_on():
    queues.end_soon()
    assert all(drain.is_ending for drain in queues.Drain.all)
    queues.go_on()
    assert not any(drain.is_ending for drain in queues.Drain.all)
