"""Reactions of the account, its typing, and that it has read."""

import json
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.instagram import InstagramClient
from accounts.models import Account
from messaging import budgets, outbox, sender_actions
from messaging.calls import Calls
from messaging.models import Conversation, Delivery, Message, SenderAction, SendingPace, Tally
from tests.conftest import work

from .forwards import endpoint_to

pytestmark = pytest.mark.django_db(transaction=True)

Kind = SenderAction.Kind


def state(instagram):
    return instagram.control("state", method="GET")["conversations"][0]


def stands(instagram):
    """The reaction of the shop to the customer's message, as the customer sees it."""
    return state(instagram)["messages"][0]["reactions"].get("account", {}).get("emoji")


@pytest.fixture
def question(instagram, open_conversation):
    """What the customer has said, here and there."""
    mid = state(instagram)["messages"][0]["mid"]
    return Message.objects.create(
        account=open_conversation.account, conversation=open_conversation, direction="in",
        status="received", mid=mid, text="Is it still available?", timestamp=timezone.now(),
        due_at=None, change=open_conversation.next_change(),
    )  # fmt: skip


def page(client, user, conversation):
    client.force_login(user)
    return client.get(conversation.get_absolute_url()).content.decode()


def act(**changes):
    """Let what waits be due, and work."""
    SenderAction.objects.filter(due_at__isnull=False).update(due_at=timezone.now(), **changes)
    work()


class TestReactions:
    def test_crms_are_told_since_no_webhook_tells_of_our_own(self, question, receiver):
        endpoint_to(question.account, receiver, ["message.reaction"])
        sender_actions.react(question, "👍")
        work()
        told = json.loads(bytes(Delivery.objects.get().body))["data"]
        assert told["reaction"] == {"emoji": "👍", "by": "account"}

    def test_one_that_waited_for_a_day_is_given_up(self, instagram, question):
        sender_actions.react(question, "👍")
        act(created_at=timezone.now() - timedelta(hours=25))
        assert stands(instagram) is None
        assert "more than 24 hours" in SenderAction.objects.get().error

    def test_it_is_told_to_instagram_and_shown(self, instagram, question, client, user):
        before = question.conversation.change
        sender_actions.react(question, "👍")
        work()
        question.refresh_from_db()
        assert stands(instagram) == "👍"
        assert question.own_emoji == "👍"
        assert question.change > before
        assert not SenderAction.objects.exists()
        assert "<span>👍</span>" in page(client, user, question.conversation)

    def test_the_last_one_counts(self, instagram, question):
        for emoji in ("👍", "😮", "❤️"):
            sender_actions.react(question, emoji)
        work()
        assert stands(instagram) == "❤️"
        requests = instagram.control("requests", method="GET")["requests"]
        assert sum(one["path"].endswith("/me/messages") for one in requests) == 1

    def test_it_can_be_taken_back(self, instagram, question):
        sender_actions.react(question, "👍")
        work()
        sender_actions.react(question, "")
        work()
        question.refresh_from_db()
        assert stands(instagram) is None
        assert question.own_emoji == ""
        assert question.emoji() == []

    def test_the_customers_own_stays(self, instagram, question):
        question.reactions = {question.conversation.igsid: {"emoji": "😂", "at": 1}}
        question.save()
        sender_actions.react(question, "👍")
        work()
        question.refresh_from_db()
        assert sorted(question.emoji()) == sorted(["😂", "👍"])

    @pytest.mark.parametrize("emoji", ["love", "a", "👍 ", "<b>", "👍" * 17, "\0", "\ud83d"])
    def test_only_an_emoji(self, question, emoji):
        with pytest.raises(outbox.ReplyRefused, match="one emoji"):
            sender_actions.react(question, emoji)
        assert not SenderAction.objects.exists()

    def test_not_after_24_hours(self, question):
        question.conversation.last_inbound_at = timezone.now() - timedelta(hours=25)
        with pytest.raises(outbox.ReplyRefused, match="24-hour window"):
            sender_actions.react(question, "👍")

    @pytest.mark.parametrize("changes", [{"mid": ""}, {"unsent_at": timezone.now()}])
    def test_only_to_what_instagram_has(self, question, changes):
        for name, value in changes.items():
            setattr(question, name, value)
        with pytest.raises(outbox.ReplyRefused, match="Instagram has"):
            sender_actions.react(question, "👍")

    def test_not_of_a_disconnected_account(self, question):
        Account.objects.update(access_token=None, token_expires_at=None)
        question.conversation.account.refresh_from_db()
        with pytest.raises(outbox.ReplyRefused, match="is disconnected"):
            sender_actions.react(question, "👍")

    def test_a_refusal_is_shown_until_another_try(self, instagram, question, client, user):
        instagram.control("faults", endpoint="messages", error="100/2534029", times=1)
        sender_actions.react(question, "👍")
        before = question.conversation.change
        work()
        html = page(client, user, question.conversation)
        assert "The reaction was not sent. The customer has blocked this account" in html
        assert "<span>👍</span>" not in html
        question.refresh_from_db()
        assert question.change > before
        act()
        assert stands(instagram) is None
        sender_actions.react(question, "😮")
        assert "was not sent" not in page(client, user, question.conversation)
        work()
        assert stands(instagram) == "😮"

    @pytest.mark.parametrize(
        "fault", [{"drop": "before"}, {"drop": "after"}, {"error": "1"}, {"error": "613"}]
    )
    def test_an_unclear_answer_is_asked_again_since_twice_is_once(self, instagram, question, fault):
        instagram.control("faults", endpoint="messages", times=2, **fault)
        sender_actions.react(question, "👍")
        work()
        for _ in range(2):
            SendingPace.objects.update(paused_until=None)
            act()
        question.refresh_from_db()
        assert (stands(instagram), question.own_emoji) == ("👍", "👍")

    def test_after_a_few_times_it_is_given_up(self, instagram, question):
        instagram.control("faults", endpoint="messages", error="1")
        sender_actions.react(question, "👍")
        for _ in range(6):
            act()
        one = SenderAction.objects.get()
        assert (one.due_at, one.attempts) == (None, sender_actions.TRIES)
        assert one.error.startswith("The reaction was not sent.")

    @pytest.mark.parametrize(("error", "problem"), [("190/460", "revoked"), ("10", "held")])
    def test_a_problem_of_the_account_is_noted(
        self, instagram, question, connected, error, problem
    ):
        instagram.control("faults", endpoint="messages", error=error, times=1)
        sender_actions.react(question, "👍")
        work()
        connected.refresh_from_db()
        assert connected.problem == problem
        assert "was not sent" in SenderAction.objects.get().error

    def test_one_that_was_asked_for_meanwhile_is_not_lost(self, instagram, question):
        sender_actions.react(question, "👍")
        (taken,) = SenderAction.objects.claim(1)
        sender_actions.react(question, "😮")
        with Calls(1) as calls:
            sender_actions._begin(taken, calls, Counter())
            for (action, client), result in calls.ended(5):
                sender_actions._end(action, client, result)
        work()
        question.refresh_from_db()
        assert (stands(instagram), question.own_emoji) == ("😮", "😮")


class TestTyping:
    def test_the_customer_sees_it(self, instagram, open_conversation):
        sender_actions.show(open_conversation, Kind.TYPING_ON)
        work()
        assert state(instagram)["typing_until"]
        assert not SenderAction.objects.exists()

    def test_what_is_no_longer_so_is_not_told(self, instagram, open_conversation):
        sender_actions.show(open_conversation, Kind.TYPING_ON)
        act(created_at=timezone.now() - timedelta(seconds=16))
        assert not state(instagram)["typing_until"]
        assert not SenderAction.objects.exists()

    def test_it_is_told_once_however_often_it_is_said(self, open_conversation):
        for _ in range(5):
            sender_actions.show(open_conversation, Kind.TYPING_ON)
        assert SenderAction.objects.count() == 1

    def test_a_refusal_is_nobodys_concern(self, instagram, open_conversation, client, user):
        instagram.control("faults", endpoint="messages", error="551")
        sender_actions.show(open_conversation, Kind.TYPING_ON)
        work()
        assert not SenderAction.objects.exists()
        assert "not sent" not in page(client, user, open_conversation)

    @pytest.mark.parametrize("kind", [Kind.TYPING_ON, Kind.MARK_SEEN])
    def test_not_in_a_closed_window(self, open_conversation, kind):
        open_conversation.last_inbound_at = timezone.now() - timedelta(hours=25)
        sender_actions.show(open_conversation, kind)
        assert not SenderAction.objects.exists()

    def test_not_of_an_account_that_cannot_send(self, open_conversation):
        open_conversation.account.note_problem(Account.Problem.HELD, "Why.")
        sender_actions.show(open_conversation, Kind.TYPING_ON)
        assert not SenderAction.objects.exists()


class TestSeen:
    def test_opening_a_thread_tells_the_customer(self, instagram, question, client, user):
        conversation = question.conversation
        conversation.last_inbound_change = conversation.change
        conversation.save()
        page(client, user, conversation)
        work()
        assert state(instagram)["seen_at"]

    def test_opening_it_again_tells_nothing(self, question, client, user):
        page(client, user, question.conversation)
        assert not SenderAction.objects.exists()


def test_a_paused_account_waits(instagram, question):
    SendingPace.objects.create(
        account=question.account, paused_until=timezone.now() + timedelta(minutes=1)
    )
    sender_actions.react(question, "👍")
    work()
    assert stands(instagram) is None
    SendingPace.objects.update(paused_until=None)
    act()
    assert stands(instagram) == "👍"


def test_a_block_for_a_day_pauses_the_account(instagram, question):
    instagram.control("faults", endpoint="messages", error="368", times=1)
    sender_actions.react(question, "👍")
    work()
    paused_until = SendingPace.objects.get().paused_until
    assert paused_until > timezone.now() + timedelta(hours=23)


def test_messages_and_actions_together_keep_within_instagrams_limit(
    instagram, open_conversation, monkeypatch
):
    account = open_conversation.account
    monkeypatch.setattr(budgets, "A_SECOND", 8)
    instagram.control("settings", send_limit="613", send_rate=9)
    people = [open_conversation]
    for name in ("a", "b", "c", "d", "e", "f", "g", "h", "i"):
        instagram.control("customers", username=name)
        igsid = instagram.say("Hello", customer=name)["igsid"]
        people.append(
            Conversation.objects.create(
                account=account, igsid=igsid, last_inbound_at=timezone.now()
            )
        )  # fmt: skip
    for person in people:
        outbox.queue_reply(person, "Yes")
        sender_actions.show(person, Kind.MARK_SEEN)
    work()
    assert len(instagram.sent_by_api()) == 10
    assert dict(Tally.objects.filter(kind="send").values_list("outcome", "count")) == {"sent": 10}
    assert SendingPace.objects.get().paused_until is None


class TestSlowAccounts:
    @pytest.fixture
    def told(self, monkeypatch):
        """Whom Instagram was told of; for customers named slow it takes its time."""
        told = []

        def act(client, igsid, body):
            time.sleep(0.6 if igsid.startswith("slow") else 0)
            told.append(igsid)

        monkeypatch.setattr(InstagramClient, "act", act)
        return told

    def show(self, account, igsids):
        for igsid in igsids:
            conversation = Conversation.objects.create(
                account=account, igsid=igsid, last_inbound_at=timezone.now()
            )
            sender_actions.show(conversation, Kind.MARK_SEEN)

    def test_one_does_not_keep_the_others_waiting(self, connected, told):
        other = Account.objects.create(
            instagram_account_id="1784other", username="other", access_token="IGAATestToken",
            token_expires_at=timezone.now() + timedelta(days=60),
        )  # fmt: skip
        self.show(connected, [f"slow {n}" for n in range(20)])
        self.show(other, ["quick"])
        sender_actions.perform.run()
        assert told[0] == "quick"
        assert len(told) == 21
        assert not SenderAction.objects.exists()

    def test_no_more_is_taken_than_is_called_at_once(self, connected, told):
        self.show(connected, [f"slow {n}" for n in range(30)])
        worker = threading.Thread(target=_perform_alone)
        worker.start()
        time.sleep(0.3)
        taken = SenderAction.objects.exclude(lease=None).count()
        assert 1 < taken <= sender_actions.SIDE_BY_SIDE
        worker.join()
        assert len(told) == 30

    def test_a_turn_ends_though_work_keeps_coming(self, connected, told, monkeypatch):
        monkeypatch.setattr(sender_actions, "TURN", 0.3)
        self.show(connected, [f"slow {n}" for n in range(30)])
        count = sender_actions.perform.work()
        assert count == len(told) < 30
        assert SenderAction.objects.filter(lease=None).count() == 30 - count


def _perform_alone():
    from django.db import connection

    try:
        sender_actions.perform.run()
    finally:
        connection.close()


def test_a_reaction_that_is_taken_back_while_it_is_on_its_way_goes_first(
    question, instagram, monkeypatch
):
    arrived, is_under_way = [], threading.Event()
    act = InstagramClient.act

    def slowly(client, igsid, body):
        if not is_under_way.is_set():
            is_under_way.set()
            time.sleep(0.5)
        act(client, igsid, body)
        arrived.append(body["sender_action"])

    monkeypatch.setattr(InstagramClient, "act", slowly)
    begin = sender_actions._begin

    def take_back_meanwhile(action, *args):
        begin(action, *args)
        if action.emoji:
            is_under_way.wait(5)
            sender_actions.react(question, "")

    monkeypatch.setattr(sender_actions, "_begin", take_back_meanwhile)
    sender_actions.react(question, "❤️")
    work()
    assert arrived == ["react", "unreact"]
    question.refresh_from_db()
    assert question.own_emoji == ""
    assert not SenderAction.objects.exists()
