"""Automatic replies in conversations, by webhooks and through the outbox."""

import threading
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import connecting
from accounts.models import Account, DeletionRequest, Membership, Role
from messaging import automation, inbound, ledger, outbox, projection, rules
from messaging.board import Told
from messaging.events import Event, Kind, mid_digest
from messaging.models import (
    Conversation,
    InboundEvent,
    Message,
    Rule,
    RuleSettings,
    WebhookEvent,
)
from tests.conftest import work

from . import events as e
from .test_sending import due_now, echo_of

pytestmark = pytest.mark.django_db(transaction=True)

DISCLOSURE = "This is an automatic reply. Write STOP if you want no more of them."


@pytest.fixture
def rule(account):
    return make_rule(account, "keyword", words="price", text="From 40 €.")


def make_rule(account, kind="any", **fields):
    fields = {"text": "We answer soon.", "cooldown_minutes": 0} | fields
    return Rule.objects.create(account=account, name=fields.pop("name", kind), kind=kind, **fields)


@pytest.fixture
def say(account, post_webhook):
    """A customer writes, `ago`; the workers read it. Nothing goes out to any Instagram."""

    def say(*texts, ago=timedelta(), customer=e.CUSTOMER, work=True, **more):
        now = timezone.now() - ago - timedelta(milliseconds=len(texts))
        told = [
            e.message(uuid4().hex, text, customer=customer, **more)
            | {"timestamp": int(now.timestamp() * 1000) + n}
            for n, text in enumerate(texts)
        ]
        body = e.body(*told)
        post_webhook(body)
        if work:
            inbound.process.run()
        return body

    return say


def answers():
    return list(
        Message.objects.filter(answers__isnull=False).order_by("pk").values_list("text", flat=True)
    )


def short(text):
    return text.removeprefix(f"{DISCLOSURE}\n\n")


def test_a_keyword_is_answered_once_under_the_name_of_its_rule(rule, say):
    say("What is the PRICE?")
    reply = Message.objects.get(direction="out")
    assert reply.text == f"{DISCLOSURE}\n\nFrom 40 €."
    assert (reply.status, reply.rule, reply.written_by) == ("queued", rule, None)
    assert reply.answers.text == "What is the PRICE?"
    assert reply.is_automatic


def test_the_answer_stands_below_its_message_and_counts_as_a_change(rule, say):
    say("price")
    conversation = Conversation.objects.get()
    assert [one.direction for one in conversation.messages.all()] == ["in", "out"]
    assert conversation.change == conversation.messages.last().change
    assert conversation.last_message_at == conversation.messages.last().timestamp
    assert conversation.is_unread  # A person is still to look at it.


def test_copies_and_replays_are_not_answered_again(rule, say, post_webhook):
    body = say("price")
    post_webhook(body)
    work()
    assert sum(ledger.replay(WebhookEvent.objects.all())) == 2
    work()
    assert len(answers()) == 1


def test_the_database_keeps_a_second_answer_out(rule, say):
    say("price")
    first = Message.objects.get(direction="out")
    again = outbox.queue_reply(first.conversation, "another", rule=rule, answers=first.answers)
    assert again == first
    first.pk, first.public_id = None, "msg_another"
    with pytest.raises(IntegrityError), transaction.atomic():
        first.save(force_insert=True)


def test_messages_of_one_batch_are_answered_one_after_the_other(account, say):
    make_rule(account, "first", text="Welcome!")
    make_rule(account, "keyword", words="price", text="40 €", cooldown_minutes=5)
    say("Hello", "the price?", "price", "thanks")
    assert [short(text) for text in answers()] == ["Welcome!", "40 €"]
    assert [text.startswith(DISCLOSURE) for text in answers()] == [True, False]


def test_each_customer_is_answered_for_themselves(account, say):
    make_rule(account, cooldown_minutes=60)
    say("a", customer="501")
    say("b", customer="502")
    say("c", customer="501")
    assert len(answers()) == 2


@pytest.mark.parametrize("ago", [timedelta(minutes=10), timedelta(hours=2)])
def test_what_is_read_late_is_not_answered(rule, say, ago):
    say("price", ago=ago)
    assert Message.objects.count() == 1


def test_what_is_no_news_is_not_answered_though_a_wish_in_it_counts(account):
    make_rule(account)
    event = Event(Kind.MESSAGE, text="Stop", mid="m1", timestamp=timezone.now())
    digest = mid_digest(account.instagram_account_id, "m1")
    told = Told(event, account.pk, e.CUSTOMER, digest, timezone.now(), is_old=True)
    other = told._replace(event=replace(event, text="Hello", mid="m2"), digest=b"2" * 16)
    with transaction.atomic():
        projection.project([other])
    assert answers() == []
    with transaction.atomic():
        projection.project([told])
    assert Conversation.objects.get().has_opted_out


def test_neither_echoes_nor_notes_to_oneself_nor_reactions_are_answered(account, say, post_webhook):
    make_rule(account)
    now = int(timezone.now().timestamp() * 1000)
    told = [e.echo("m1", "from the phone"), e.message("m2", "note", is_self=True), e.seen("m1")]
    told += [e.react("m1"), e.unsend("m3")]
    post_webhook(e.body(*[one | {"timestamp": now} for one in told]))
    work()
    assert answers() == []


def test_what_was_taken_back_before_it_was_read_is_not_answered(account, say, post_webhook):
    make_rule(account)
    body = say("never mind", work=False)
    unsend = e.unsend(body["entry"][0]["messaging"][0]["message"]["mid"])
    post_webhook(e.body(unsend | {"timestamp": int(timezone.now().timestamp() * 1000)}))
    work()
    assert Message.objects.get().unsent_at
    assert answers() == []


def test_where_another_app_has_the_conversation_nothing_is_answered(account, post_webhook):
    make_rule(account)
    now = int(timezone.now().timestamp() * 1000)
    post_webhook(e.body(e.message("m1", "Hello") | {"timestamp": now}, field="standby"))
    work()
    assert Message.objects.count() == 1
    assert answers() == []


def test_a_picture_is_answered_by_rules_that_ask_for_no_words(account, rule, say):
    say(None, attachments=[e.attachment("like_heart")])
    assert answers() == []
    make_rule(account)
    say(None, attachments=[e.attachment("like_heart")])
    assert len(answers()) == 1


class TestPeople:
    """Where a person answers, rules are silent for a while."""

    @pytest.fixture
    def catch_all(self, account):
        return make_rule(account)

    def test_from_the_page(self, catch_all, say, user):
        say("Hello")
        conversation = Conversation.objects.get()
        outbox.queue_reply(conversation, "I am here now", by=user)
        say("Great")
        assert len(answers()) == 1

    def test_from_the_phone(self, catch_all, say, post_webhook):
        say("Hello")
        post_webhook(echo_of(Conversation.objects.get(), "typed", "I am here now"))
        say("Great")
        assert len(answers()) == 1

    def test_from_the_phone_in_the_same_batch(self, catch_all, say, post_webhook):
        say("Hello", work=False)
        conversation = Conversation(account=catch_all.account, igsid=e.CUSTOMER)
        post_webhook(echo_of(conversation, "typed", "I am here already"))
        work()
        assert answers() == []

    def test_and_afterwards_they_speak_again_and_say_so(self, catch_all, say, user):
        say("Hello")
        outbox.queue_reply(Conversation.objects.get(), "I am here now", by=user)
        yesterday = timezone.now() - timedelta(hours=25)
        Message.objects.filter(written_by=user).update(timestamp=yesterday)
        Message.objects.filter(answers__isnull=False).update(
            timestamp=yesterday - timedelta(minutes=1)
        )
        say("Hello again")
        assert answers()[1].startswith(DISCLOSURE)

    def test_the_echo_of_an_automatic_reply_is_no_person(self, instagram, connected, post_webhook):
        make_rule(connected)
        write(instagram, connected, post_webhook, "Hello")
        reply = Message.objects.get(answers__isnull=False)
        post_webhook(echo_of(reply.conversation, reply.mid, reply.text))
        work()
        write(instagram, connected, post_webhook, "And now?")
        assert len(answers()) == 2

    def test_nor_is_the_reply_of_a_rule_that_was_deleted_since(self, catch_all, account, say):
        say("Hello")
        catch_all.delete()
        make_rule(account)
        say("Still there?")
        assert len(answers()) == 2


class TestWishes:
    def test_stop_holds_until_start(self, account, say):
        make_rule(account)
        say("Hello")
        say("STOP")
        say("Hello?")
        assert len(answers()) == 1
        say("Start")
        say("Hello again")
        assert len(answers()) == 3

    def test_stop_holds_in_this_conversation_alone(self, account, say):
        make_rule(account)
        say("stop", customer="501")
        say("Hello", customer="502")
        assert len(answers()) == 1

    def test_stop_written_before_there_were_rules_holds(self, account, say):
        say("stop")
        make_rule(account)
        say("Hello")
        assert answers() == []

    def test_the_later_wish_counts_whichever_comes_first(self, account, say):
        make_rule(account)
        say("start", ago=timedelta(minutes=1))
        say("stop", ago=timedelta(minutes=2))
        assert not Conversation.objects.get().has_opted_out
        say("Hello")
        assert short(answers()[-1]) == "We answer soon."

    def test_the_team_can_pause_a_conversation(self, account, say):
        make_rule(account)
        say("Hello")
        automation.switch(Conversation.objects.get(), Conversation.Automation.PAUSED)
        say("And now?")
        automation.switch(Conversation.objects.get(), Conversation.Automation.ON)
        say("And then?")
        assert len(answers()) == 2


class TestLoops:
    def test_a_machine_that_always_says_the_same_is_left_alone(self, account, say):
        make_rule(account)
        for _ in range(5):
            say("Thank you for your message!")
        assert len(answers()) == 2
        conversation = Conversation.objects.get()
        assert conversation.automation == "stopped"
        marked = conversation.messages.filter(context__automation_stopped=True).get()
        assert marked.change <= conversation.change

    def test_a_machine_with_many_words_meets_the_cap(self, account, say):
        make_rule(account)
        say(*[f"tell me more, part {n}" for n in range(rules.MOST_PER_HOUR + 5)])
        assert len(answers()) == rules.MOST_PER_HOUR
        assert Conversation.objects.get().automation == "stopped"

    def test_words_of_an_automatic_reply_of_the_teams_other_account_are_not_answered(
        self, account, user, say
    ):
        make_rule(account)
        other = Account.objects.create(instagram_account_id="178", username="north.bikes")
        Membership.objects.create(user=user, account=other, role=Role.OWNER)
        theirs = Conversation.objects.create(account=other, igsid="5")
        asked = Message.objects.create(
            account=other, conversation=theirs, direction="in", status="received",
            text="Hi", timestamp=timezone.now(), due_at=None,
        )  # fmt: skip
        Message.objects.create(
            account=other, conversation=theirs, direction="out", status="sent", due_at=None,
            text="Away till Monday", timestamp=timezone.now(), answers=asked, is_from_here=True,
        )  # fmt: skip
        say("Away till Monday")
        assert answers() == ["Away till Monday"]
        say("Are you there?")
        assert len(answers()) == 2


@pytest.mark.skipif(settings.IS_SQLITE, reason="SQLite has one writer")
def test_a_rule_deleted_while_it_answers_costs_no_message(rule, say, monkeypatch):
    def delete():
        Rule.objects.all().delete()
        connection.close()

    def decide_late(*args):
        decision = rules.decide(*args)
        deleting = threading.Thread(target=delete)
        deleting.start()
        deleting.join()
        return decision

    monkeypatch.setattr(automation, "decide", decide_late)
    say("price")
    assert Message.objects.get().text == "price"
    assert InboundEvent.objects.get().state == "processed"


def test_an_account_that_cannot_send_gives_no_automatic_replies(account, rule, say):
    Account.objects.update(token_expires_at=timezone.now() - timedelta(minutes=1))
    say("price")
    assert answers() == []


def test_an_account_that_is_being_deleted_gives_none(account, rule, say):
    Account.objects.update(deletion=DeletionRequest.objects.create())
    say("price")
    assert answers() == []


def test_rules_of_another_account_do_not_answer(account, say):
    other = Account.objects.create(instagram_account_id="178", username="north.bikes")
    make_rule(other)
    say("Hello")
    assert answers() == []


def test_a_fault_in_the_rules_costs_no_message(rule, say, monkeypatch, caplog):
    monkeypatch.setattr(automation, "decide", lambda *args: 1 / 0)
    say("price")
    assert Message.objects.get().text == "price"
    assert InboundEvent.objects.get().state == "processed"
    assert "not answered automatically" in caplog.text


def test_without_rules_a_batch_costs_one_query_more_and_an_old_one_none(account, say):
    def queries(ago):
        say("first", ago=ago, work=False)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            inbound.process.run_dry()
        return [one["sql"] for one in captured if '"rules"' in one["sql"]]

    assert len(queries(timedelta())) == 1
    assert queries(timedelta(minutes=11)) == []


def test_many_messages_ask_as_few_questions_as_one(account, say):
    make_rule(account, "keyword", words="price")

    def queries(count):
        for n in range(count):
            say("Hello", customer=f"70{n}", work=False)
        with CaptureQueriesContext(connection) as captured:
            inbound.process.run_dry()
        return len([one for one in captured if one["sql"].startswith("SELECT")])

    assert queries(1) == queries(15)


def test_an_automatic_reply_that_had_to_wait_is_given_up(instagram, connected, post_webhook):
    make_rule(connected)
    write(instagram, connected, post_webhook, "Hello", send=False)
    Message.objects.filter(direction="out").update(
        created_at=timezone.now() - timedelta(minutes=11)
    )
    work()
    assert Message.objects.get(direction="out").status == "failed"
    assert instagram.sent_by_api() == []


def write(instagram, account, post_webhook, text, customer="mila.tests", send=True):
    """The customer writes on the phone; the webhook that comes of it is read."""
    said = instagram.say(text, account=account.username, customer=customer)
    told = e.message(said["mid"], text, customer=said["igsid"])
    told |= {"recipient": {"id": account.instagram_account_id}}
    told |= {"timestamp": int(timezone.now().timestamp() * 1000)}
    post_webhook(e.body(told, entry=account.instagram_account_id))
    if send:
        work()
    else:
        inbound.process.run()


def test_a_keyword_on_the_phone_is_answered_there_once(instagram, connected, post_webhook):
    make_rule(connected, "keyword", words="price", text="From 40 €.")
    write(instagram, connected, post_webhook, "What is the price?")
    write(instagram, connected, post_webhook, "Thanks")
    due_now()
    work()
    assert instagram.sent_by_api() == [f"{DISCLOSURE}\n\nFrom 40 €."]


def test_two_machines_that_write_to_each_other_stop(instagram, connected, post_webhook):
    make_rule(connected, text="What else would you like to know?")
    text, heard = "Hello, I am a machine", []
    for n in range(40):
        write(instagram, connected, post_webhook, text)
        if len(instagram.sent_by_api()) == len(heard):
            break
        heard = instagram.sent_by_api()
        text = f"{n}: you said {heard[-1]!r}"[:900]
    assert len(heard) == rules.MOST_PER_HOUR
    assert Conversation.objects.get().automation == "stopped"


def test_two_accounts_here_that_write_to_each_other_stop(instagram, connected, user, post_webhook):
    url = connecting.begin(user, "browser")
    bikes = connecting.finish(user, "browser", instagram.consent(url, "north.bikes")).account
    for account in (connected, bikes):
        instagram.control("customers", username=f"{account.username}.as.a.customer")
        make_rule(account, text=f"{account.username} answers soon.")
    text, sides = "Hello, do you sell bells?", [connected, bikes]
    for _ in range(20):
        here, there = sides
        before = len(answers())
        customer = f"{there.username}.as.a.customer"
        write(instagram, here, post_webhook, text, customer=customer)
        if len(answers()) == before:
            break
        text, sides = answers()[-1], [there, here]
    assert len(answers()) == 1


@pytest.mark.parametrize("is_shared", [True, False])
def test_rules_fall_silent_at_the_words_of_their_own_team_alone(
    account, user, stranger, say, is_shared
):
    other = Account.objects.create(
        instagram_account_id="17841499999999999", username="otto.shop",
        access_token="IGAATestTokenThatOpensNothing00000000001",
        token_expires_at=timezone.now() + timedelta(days=60),
    )  # fmt: skip
    owner = user if is_shared else stranger
    Membership.objects.create(user=owner, account=other, role=Role.OWNER)
    customer = Conversation.objects.create(
        account=other, igsid="555", last_inbound_at=timezone.now(), last_message_at=timezone.now()
    )
    question = Message.objects.create(
        account=other, conversation=customer, direction="in", status="received", mid="q",
        mid_digest=b"q" * 16, text="?", timestamp=timezone.now(), due_at=None,
    )  # fmt: skip
    reply = outbox.queue_reply(customer, "ok", rule=make_rule(other, text="ok"), answers=question)
    make_rule(account)
    say(reply.text)
    assert Message.objects.filter(account=account, answers__isnull=False).exists() != is_shared


def test_settings_of_an_account_without_any_are_the_defaults(account, rule, say):
    RuleSettings.objects.create(account=account, disclosure="Réponse automatique.")
    say("price")
    assert answers() == ["Réponse automatique.\n\nFrom 40 €."]
