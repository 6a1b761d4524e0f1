"""Recent conversations, read back: the same rows as webhooks give, at Instagram's pace."""

import json
import random
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import connecting
from accounts.models import Account
from crypto.keyring import KeyRing
from messaging import history, inbound, outbox, recovery, walking
from messaging.events import mid_digest
from messaging.models import (
    Attachment,
    Conversation,
    HistorySync,
    Message,
    MissingMessage,
    WebhookEvent,
)
from tests.conftest import work

pytestmark = pytest.mark.django_db(transaction=True)

DAY = 86400


@pytest.fixture(autouse=True)
def at_once(request, monkeypatch):
    """Without the pauses, where they are not the point."""
    if "at_its_pace" not in request.fixturenames:
        monkeypatch.setattr(history, "START", timedelta(0))
        monkeypatch.setattr(walking, "PAUSE", timedelta(0))
        monkeypatch.setattr(recovery, "PAUSE", timedelta(0))


@pytest.fixture
def at_its_pace():
    """With the pauses."""


@pytest.fixture
def walked(connected):
    """@luna.ceramics, connected and looked through while nobody had written."""
    history.sync.run()
    assert HistorySync.objects.get().state == "finished"
    a_minute_ago()
    return connected


def a_minute_ago():
    """The walks ended then: right after them nothing is asked."""
    done = HistorySync.objects.exclude(finished_at=None)
    done.update(finished_at=timezone.now() - timedelta(minutes=1))


def walk(account, reason="asked"):
    history.begin(account, reason)
    history.sync.run()
    return HistorySync.objects.latest("pk")


def old(instagram, count, customer="mila.tests", **how):
    order = {"account": "luna.ceramics", "customer": customer, "count": count, **how}
    return instagram.control("history", **order)["mids"]


def calls(instagram):
    """What the Conversations API was asked, oldest first."""
    listed = instagram.control("requests", method="GET")["requests"]
    return [one for one in listed if one["endpoint"] == "conversations"]


def rows():
    threads = Conversation.objects.order_by("igsid")
    messages = Message.objects.order_by("conversation__igsid", "timestamp", "mid")
    return (
        list(threads.values_list("igsid", "last_message_at", "last_inbound_at")),
        [
            (m.mid, m.text, m.direction, m.status, m.timestamp, m.edit_number, m.unsent_at,
             m.context, m.reactions, [a.kind for a in m.attachments.all()])
            for m in messages
        ],
    )  # fmt: skip


# --- Importing ------------------------------------------------------------------------------------


def test_connecting_brings_recent_conversations_in(instagram, user):
    old(instagram, 12, age=DAY)
    old(instagram, 3, "jonas.outdoors", age=5 * DAY, picture_every=2)
    url = connecting.begin(user, "browser")
    account = connecting.finish(user, "browser", instagram.consent(url)).account
    history.sync.run()
    done = HistorySync.objects.get()
    assert (done.account, done.reason, done.state) == (account, "connected", "finished")
    assert (done.conversations_seen, done.messages_seen, done.messages_new) == (2, 15, 15)
    mila = Conversation.objects.get(igsid="1691826132740054")
    assert mila.messages.count() == 12
    assert set(mila.messages.values_list("direction", "status")) == {
        ("in", "received"), ("out", "sent"),
    }  # fmt: skip
    assert Attachment.objects.get().kind == "image"


def test_what_is_old_is_no_news_and_opens_no_window(instagram, connected):
    old(instagram, 4, age=2 * DAY, by="customer")
    walk(connected)
    conversation = Conversation.objects.get()
    assert not conversation.is_unread
    assert not conversation.is_open
    assert conversation.last_inbound_at == Message.objects.latest("timestamp").timestamp


def test_an_import_repeated_gives_the_same_rows(instagram, connected):
    old(instagram, 25, age=DAY, picture_every=4)
    old(instagram, 2, "jonas.outdoors")
    instagram.say("Is it still there?")
    instagram.control("react", account="luna.ceramics", customer="mila.tests")
    first = walk(connected)
    before = rows()
    HistorySync.objects.all().delete()
    again = walk(connected)
    assert rows() == before
    assert len(before[1]) == 22
    assert (first.messages_new, again.messages_new) == (22, 0)
    assert Conversation.objects.count() == 2


def test_of_more_than_20_messages_the_older_ones_are_not_asked_for(instagram, connected):
    old(instagram, 90, age=DAY)
    done = walk(connected)
    assert Message.objects.count() == 20
    assert (done.messages_new, done.messages_left) == (20, 0)  # Nobody has missed the others.
    assert len(calls(instagram)) == 3


def test_conversations_older_than_30_days_are_passed_over(instagram, connected):
    old(instagram, 2, age=31 * DAY)
    old(instagram, 2, "jonas.outdoors", age=29 * DAY)
    assert walk(connected).conversations_seen == 1
    assert Conversation.objects.get().igsid == "8545804826838371"


def test_many_conversations_come_in_pages(instagram, connected):
    for n in range(23):
        instagram.control("customers", username=f"guest.{n}", tester=True)
        old(instagram, 1, f"guest.{n}", age=DAY * (1 + n))
    assert walk(connected).conversations_seen == 23
    lists = [one for one in calls(instagram) if one["path"].endswith("/conversations")]
    assert len(lists) == 3


def test_the_list_is_left_where_only_older_conversations_follow(instagram, connected):
    for n in range(23):
        instagram.control("customers", username=f"guest.{n}", tester=True)
        old(instagram, 2, f"guest.{n}", age=DAY * (31 + n))
    assert walk(connected).conversations_seen == 0
    assert len(calls(instagram)) == 1


# --- Together with webhooks -----------------------------------------------------------------------


def webhooks_of(account, mids_at):
    """What the sandbox would have sent: a body for each event of a lively conversation."""
    sides = [{"id": "1691826132740054"}, {"id": account.instagram_account_id}]

    def body(sender, at, **event):
        ends = sides if sender == "customer" else sides[::-1]
        item = {"sender": ends[0], "recipient": ends[1], "timestamp": at, **event}
        entry = {"id": account.instagram_account_id, "time": at, "messaging": [item]}
        return json.dumps({"object": "instagram", "entry": [entry]}).encode()

    return [body(*one[:2], **one[2]) for one in mids_at]


def lively(instagram):
    """A conversation at the sandbox, and the events that its webhooks would have brought."""
    names = {"account": "luna.ceramics", "customer": "mila.tests"}
    hello = instagram.say("Is the blue one there?")["mid"]
    picture = instagram.control("say", **names, image=True)["mid"]
    heart = instagram.control("say", **names, kind="heart")["mid"]
    post = instagram.control("say", **names, kind="post")["mid"]
    reply = instagram.control("phone-reply", **names, text="Yes, it is")["mid"]
    gone = instagram.say("Never mind")["mid"]
    instagram.control("edit", **names, mid=hello, text="Is the red one there?")
    instagram.control("react", **names, mid=reply)
    instagram.control("unsend", **names, mid=gone)
    (chat,) = instagram.control("state", method="GET")["conversations"]
    kept = {m["mid"]: m for m in chat["messages"]}
    events = []
    for mid in (hello, picture, heart, post, reply):
        content = dict(kept[mid]["content"], mid=mid)
        if mid == hello:
            content["text"] = "Is the blue one there?"
        if mid == reply:
            content["is_echo"] = True
        writer = "shop" if mid == reply else "customer"
        events.append((writer, kept[mid]["at"], {"message": content}))
    end = max(m["at"] for m in kept.values()) + 1000
    events += [
        ("customer", kept[gone]["at"], {"message": {"mid": gone, "text": "Never mind"}}),
        ("customer", end, {"message_edit": {"mid": hello, "text": "Is the red one there?",
                                            "num_edit": 1}}),
        ("customer", end, {"reaction": {"mid": reply, "action": "react", "reaction": "love",
                                        "emoji": "❤️"}}),
        ("customer", end, {"message": {"mid": gone, "is_deleted": True}}),
    ]  # fmt: skip
    return events


def test_mixed_with_webhooks_in_any_order_it_gives_the_same_rows(
    instagram, connected, post_webhook
):
    seed = random.randrange(2**32)  # noqa: S311  (an order, no secret)
    print(f"seed {seed}")  # noqa: T201  (what a failing run needs)
    rng = random.Random(seed)  # noqa: S311
    bodies = webhooks_of(connected, lively(instagram))
    results = []
    for turn in range(6):
        Conversation.objects.all().delete()
        WebhookEvent.objects.all().delete()
        HistorySync.objects.all().delete()
        acts = [*rng.sample(bodies * 2, len(bodies) * 2), *(["walk"] * (turn % 3))]
        if turn:
            rng.shuffle(acts)
        if turn == 1:
            acts = ["walk", *acts]
        for act in acts:
            if act == "walk":
                inbound.process.run()
                HistorySync.objects.all().delete()
                walk(connected)
            else:
                post_webhook(act)
        inbound.process.run()
        results.append(rows())
    assert len(results[0][1]) == 6
    assert [kinds for *_, kinds in results[0][1]].count(["ig_post"]) == 1
    for result in results[1:]:
        assert result == results[0]


def test_a_webhook_completes_what_was_read_back_before_it(instagram, connected, post_webhook):
    events = lively(instagram)
    walk(connected)
    post = events[3][2]["message"]["mid"]
    assert Message.objects.get(mid=post).context == {"read_back": True}
    for body in webhooks_of(connected, events):
        post_webhook(body)
    work()
    message = Message.objects.get(mid=post)
    assert message.context == {}
    assert message.attachments.get().kind == "ig_post"
    assert Message.objects.filter(context__read_back=True).count() == 0


def test_what_was_taken_back_here_stays_a_tombstone(instagram, connected, post_webhook):
    mid = instagram.say("Never mind")["mid"]
    walk(connected)
    at = int(timezone.now().timestamp() * 1000)
    gone = ("customer", at, {"message": {"mid": mid, "is_deleted": True}})
    for body in webhooks_of(connected, [gone]):
        post_webhook(body)
    inbound.process.run()
    HistorySync.objects.all().delete()
    walk(connected)  # Instagram still tells it.
    message = Message.objects.get()
    assert message.unsent_at
    assert (message.text, message.attachments.count()) == ("", 0)


def test_an_unsend_that_overtook_its_message_holds_for_the_import(
    instagram, connected, post_webhook
):
    mid = instagram.say("Never mind")["mid"]
    at = int(timezone.now().timestamp() * 1000)
    gone = ("customer", at, {"message": {"mid": mid, "is_deleted": True}})
    post_webhook(webhooks_of(connected, [gone])[0])
    inbound.process.run()
    walk(connected)
    assert Message.objects.get().unsent_at
    assert Message.objects.get().text == ""


def test_an_answer_whose_outcome_was_not_known_is_found_sent(
    instagram, connected, open_conversation
):
    from messaging import sending

    instagram.control("faults", endpoint="messages", drop="after")
    message = outbox.queue_reply(open_conversation, "Yes, it is")
    sending.send.run()
    message.refresh_from_db()
    assert message.status == "unconfirmed"
    done = walk(connected)
    message.refresh_from_db()
    assert (message.status, message.error) == ("sent", "")
    assert message.mid
    assert done.messages_new == 1  # The customer's; ours was here.
    assert Message.objects.count() == 2


def test_what_an_echo_told_of_our_answer_is_not_made_coarser(
    instagram, connected, open_conversation, post_webhook
):
    from messaging import sending

    instagram.control("settings", echo="none")
    message = outbox.queue_reply(open_conversation, "Yes, it is")
    sending.send.run()
    message.refresh_from_db()
    at = int(timezone.now().timestamp()) * 1000 + 123
    echo = ("shop", at, {"message": {"mid": message.mid, "text": message.text, "is_echo": True}})
    post_webhook(webhooks_of(connected, [echo])[0])
    inbound.process.run()
    before = rows()
    walk(connected)
    assert Message.objects.get(pk=message.pk).timestamp.microsecond == 123000
    assert before[1][0] in rows()[1]


# --- Gaps -----------------------------------------------------------------------------------------


def test_a_lost_webhook_is_found_counted_and_shown_as_unread(instagram, walked):
    instagram.say("Did you get this?")
    done = walk(walked, "outage")
    assert (done.gaps_found, done.messages_new, done.messages_left) == (1, 1, 0)
    assert Message.objects.get().text == "Did you get this?"
    conversation = Conversation.objects.get()
    assert conversation.is_unread
    assert conversation.is_open


def test_what_was_missed_and_answered_on_the_phone_is_not_unread(instagram, walked):
    instagram.say("Did you get this?")
    instagram.control(
        "phone-reply", account="luna.ceramics", customer="mila.tests", text="Yes, we did"
    )
    assert walk(walked).messages_new == 2
    assert not Conversation.objects.get().is_unread


def test_of_more_than_20_missed_messages_those_that_cannot_be_read_are_counted(
    instagram, walked, monkeypatch
):
    walked.linked_at -= timedelta(days=1)
    walked.save()
    HistorySync.objects.all().delete()
    mids = old(instagram, 33, age=60, every=60)
    done = walk(walked)
    assert (done.gaps_found, done.messages_new, done.messages_left) == (33, 20, 13)
    assert {m.mid for m in Message.objects.all()} == set(mids[-20:])


def test_what_instagram_does_not_show_counts_as_not_read(instagram, walked):
    instagram.control("say", account="luna.ceramics", customer="mila.tests", kind="unsupported")
    done = walk(walked)
    assert (done.gaps_found, done.messages_new, done.messages_left) == (1, 0, 1)
    assert Attachment.objects.get().kind == "unsupported"


def test_after_a_walk_only_what_changed_since_is_read_again(instagram, connected):
    old(instagram, 5, age=DAY)
    walk(connected)
    HistorySync.objects.update(started_at=timezone.now() - timedelta(hours=1))
    instagram.say("One more", customer="jonas.outdoors")
    done = walk(connected)
    assert (done.conversations_seen, done.messages_seen) == (1, 1)


def test_a_walk_that_saw_nothing_does_not_stand_for_those_before(instagram, walked):
    old(instagram, 5, age=DAY)
    assert walk(walked).messages_new == 5


# --- At the pace and in the pages that Instagram takes --------------------------------------------


@pytest.mark.parametrize("limit", [5, 3, 1])
def test_too_much_data_makes_the_pages_smaller(instagram, connected, limit):
    mids = old(instagram, 7, age=DAY) + old(instagram, 4, "jonas.outdoors")
    instagram.control("settings", big_page_limit=limit)
    done = walk(connected)
    assert (done.state, done.messages_new, done.error) == ("finished", 11, "")
    assert {m.mid for m in Message.objects.all()} == set(mids)
    assert 500 in {one["status"] for one in calls(instagram)}


@pytest.mark.usefixtures("at_its_pace")
def test_no_more_than_two_calls_a_second_are_made(instagram, connected):
    instagram.control("settings", conversation_rate=2)
    old(instagram, 12, age=DAY)
    missing(connected, "no-such-message-1")
    missing(connected, "no-such-message-2")
    missing(connected, "no-such-message-3")
    walk(connected)
    assert len(calls(instagram)) == 3
    time.sleep(1.1)  # The worker's next sweep would be later.
    history.sync.run()
    made = calls(instagram)
    assert [one["status"] for one in made] == [200] * 3 + [400] * 3
    assert not MissingMessage.objects.exists()
    moments = [one["at"] for one in made]
    assert all(late - early >= 1 for early, late in zip(moments, moments[2:], strict=False))


def test_a_walk_killed_in_the_middle_goes_on_where_it_was(instagram, connected, monkeypatch):
    for customer in ("mila.tests", "jonas.outdoors", "amara.k"):
        old(instagram, 12, customer, age=DAY)
    history.begin(connected, "asked")
    for _ in range(4):
        walking.step_of(HistorySync.objects.all())

    def killed(*args):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(walking.projection, "project", killed)
        with pytest.raises(SystemExit):
            walking.step_of(HistorySync.objects.all())
    row = HistorySync.objects.get()
    assert row.state == "running"
    assert row.lease  # Nobody else takes it until its lease ends.
    before = len(calls(instagram))
    HistorySync.objects.update(due_at=timezone.now())
    history.sync.run()
    done = HistorySync.objects.get()
    assert (done.state, done.conversations_seen, done.messages_seen) == ("finished", 3, 36)
    assert len(calls(instagram)) - before == 3
    assert Message.objects.count() == 36


def test_a_passing_fault_is_waited_for(instagram, connected):
    instagram.say("Hello")
    instagram.control("faults", endpoint="conversations", status=502, body="<html>", times=1)
    row = walk(connected)
    assert (row.state, row.failures) == ("pending", 1)
    assert row.error
    assert row.due_at > timezone.now() + timedelta(seconds=20)
    assert history.begin(connected, "asked") == row  # Whoever asks need not wait.
    history.sync.run()
    row.refresh_from_db()
    assert (row.state, row.messages_new, row.failures, row.error) == ("finished", 1, 0, "")


def test_an_instagram_out_of_reach_for_a_day_ends_the_walk(instagram, connected, settings):
    settings.INSTAGRAM_GRAPH_URL = "http://127.0.0.1:9"
    row = history.begin(connected, "asked")
    for _ in range(walking.GIVE_UP + 1):
        HistorySync.objects.update(due_at=timezone.now())
        walking.step_of(HistorySync.objects.all())
    row.refresh_from_db()
    assert (row.state, row.due_at) == ("failed", None)
    assert "cannot be reached" in row.error


def test_a_revoked_token_stops_the_walk_and_shows_at_the_account(instagram, connected):
    instagram.control("revoke", account="luna.ceramics", subcode=460)
    row = walk(connected)
    assert (row.state, row.due_at) == ("failed", None)
    assert "password" in row.error
    connected.refresh_from_db()
    assert connected.status == Account.Status.REVOKED


def test_a_missing_permission_stops_the_walk_but_says_nothing_of_the_token(instagram, connected):
    instagram.control("permissions", account="luna.ceramics", keep=["instagram_business_basic"])
    row = walk(connected)
    assert row.state == "failed"
    assert row.error
    connected.refresh_from_db()
    assert connected.problem == ""


def test_a_conversation_that_cannot_be_read_does_not_keep_the_others(instagram, connected):
    old(instagram, 2, age=DAY)
    old(instagram, 2, "jonas.outdoors", age=2 * DAY)
    error = {"http": 400, "code": 100, "subcode": 33, "message": "Object does not exist"}
    instagram.control("faults", endpoint="conversations", nth=2, error=error)
    row = walk(connected)
    assert (row.state, row.conversations_seen) == ("finished", 1)
    assert "left out" in row.error


def test_a_conversation_that_cannot_be_written_does_not_keep_the_others(
    instagram, connected, monkeypatch
):
    old(instagram, 2, age=DAY)
    old(instagram, 2, "jonas.outdoors", age=2 * DAY)
    project = walking.projection.project

    def stumble(told):
        if told[0].igsid == "1691826132740054":
            raise RuntimeError
        return project(told)

    monkeypatch.setattr(walking.projection, "project", stumble)
    history.begin(connected, "asked")
    for _ in range(8):
        HistorySync.objects.filter(finished_at=None).update(due_at=timezone.now())
        walking.step_of(HistorySync.objects.all())
    row = HistorySync.objects.get()
    assert (row.state, row.conversations_seen) == ("finished", 1)
    assert "left out" in row.error


# --- When -----------------------------------------------------------------------------------------


def test_an_account_has_one_walk_at_a_time(connected):
    row = HistorySync.objects.get()
    assert history.begin(connected, "asked") == row
    assert row.reason == "connected"
    assert HistorySync.objects.count() == 1


def test_reconnecting_looks_again(instagram, user, walked):
    url = connecting.begin(user, "browser", walked)
    connecting.finish(user, "browser", instagram.consent(url))
    assert HistorySync.objects.latest("pk").reason == "reconnected"


def webhook_at(moment):
    WebhookEvent.objects.create(body=b"{}", received_at=moment)


def test_a_silent_hour_makes_one_walk_a_day(walked):
    HistorySync.objects.update(created_at=timezone.now() - timedelta(days=2))
    for hour in range(24):
        webhook_at(timezone.now() - timedelta(hours=hour, minutes=30))
    history.look()
    assert HistorySync.objects.count() == 1
    WebhookEvent.objects.order_by("received_at")[5].delete()
    history.look()
    history.look()
    assert HistorySync.objects.latest("pk").reason == "outage"
    history.sync.run()
    history.look()
    assert HistorySync.objects.count() == 2


def test_a_disconnected_account_is_not_looked_through(walked):
    HistorySync.objects.all().delete()
    connecting.disconnect(walked)
    history.look()
    assert not HistorySync.objects.exists()


def test_disconnecting_ends_the_walk(connected):
    row = HistorySync.objects.get()
    connecting.disconnect(connected)
    history.sync.run()
    row.refresh_from_db()
    assert (row.state, row.error) == ("failed", "The account is disconnected.")


def test_a_lost_key_keeps_the_walk_waiting_until_it_is_back(
    instagram, walked, settings, monkeypatch
):
    instagram.say("Are you there?")
    other = KeyRing("Another-secret-that-opens-nothing-here-000")
    with monkeypatch.context() as patch:
        patch.setattr("crypto.fields.get_keyring", lambda: other)
        with pytest.raises(Exception, match="cannot be opened"):
            Account.objects.get().client()
        history.look()
        history.sync.run()
        row = HistorySync.objects.latest("pk")
        assert (row.reason, row.state) == ("key_recovered", "pending")
        assert "SESSION_SECRET" in row.error
    HistorySync.objects.filter(pk=row.pk).update(due_at=timezone.now())
    history.sync.run()
    row.refresh_from_db()
    assert (row.state, row.messages_new, row.error) == ("finished", 1, "")


# --- Edits without their message ------------------------------------------------------------------


def missing(account, mid):
    return MissingMessage.objects.create(
        account=account, mid=mid, mid_digest=mid_digest(account.instagram_account_id, mid)
    )


def bare_edit(account, mid, post_webhook):
    item = {"timestamp": 1760000300000, "message_edit": {"mid": mid, "num_edit": 0}}
    entry = {"id": account.instagram_account_id, "time": 1760000300000, "messaging": [item]}
    post_webhook({"object": "instagram", "entry": [entry]})
    inbound.process.run()
    MissingMessage.objects.update(due_at=timezone.now())


def test_a_message_of_which_only_an_edit_came_is_recovered(instagram, walked, post_webhook):
    mid = instagram.say("Did you get this?")["mid"]
    bare_edit(walked, mid, post_webhook)
    assert MissingMessage.objects.get().mid == mid
    history.sync.run()
    message = Message.objects.get()
    assert (message.mid, message.text) == (mid, "Did you get this?")
    assert message.conversation.is_unread
    assert not MissingMessage.objects.exists()
    assert WebhookEvent.objects.get().state == "processed"


def test_one_that_came_meanwhile_is_not_asked_for(instagram, walked, post_webhook):
    mid = instagram.say("Did you get this?")["mid"]
    bare_edit(walked, mid, post_webhook)
    walk(walked)
    a_minute_ago()
    before = len(calls(instagram))
    history.sync.run()
    assert len(calls(instagram)) == before
    assert not MissingMessage.objects.exists()
    assert Message.objects.count() == 1


def test_one_that_is_gone_at_instagram_is_forgotten(instagram, walked, post_webhook):
    bare_edit(walked, "aWdfZAG1faXRlbToxNOSUCH", post_webhook)
    history.sync.run()
    assert not MissingMessage.objects.exists()
    assert not Message.objects.exists()
    assert WebhookEvent.objects.get().state == "unhandled"


def test_a_passing_fault_is_no_answer(instagram, walked):
    missing(walked, instagram.say("Hello")["mid"])
    instagram.control("faults", endpoint="conversations", status=502, body="<html>")
    history.sync.run()
    row = MissingMessage.objects.get()
    assert row.due_at > timezone.now() + timedelta(seconds=30)
    for _ in range(recovery.ATTEMPTS):
        MissingMessage.objects.update(due_at=timezone.now())
        history.sync.run()
    assert not MissingMessage.objects.exists()


def test_of_an_account_one_is_asked_for_at_a_time(walked):
    for n in range(3):
        missing(walked, f"mid-{n}")
    (first,) = MissingMessage.objects.claim(5)
    assert MissingMessage.objects.claim(5) == []
    first.delete()
    assert len(MissingMessage.objects.claim(5)) == 1


def test_a_token_that_is_dead_keeps_what_is_missing_for_later(instagram, walked, user):
    missing(walked, instagram.say("Hello")["mid"])
    instagram.control("revoke", account="luna.ceramics", subcode=460)
    history.sync.run()
    assert MissingMessage.objects.count() == 1
    assert Account.objects.get().status == Account.Status.REVOKED
    url = connecting.begin(user, "browser")
    connecting.finish(user, "browser", instagram.consent(url))
    history.sync.run()  # A walk, which finds it.
    a_minute_ago()
    MissingMessage.objects.update(due_at=timezone.now())
    history.sync.run()
    assert not MissingMessage.objects.exists()
    assert Message.objects.get().text == "Hello"


# --- The account's page ---------------------------------------------------------------------------


def page(client, account):
    response = client.get(account.get_absolute_url())
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_the_page_shows_progress_and_result(instagram, connected, client, user):
    client.force_login(user)
    old(instagram, 12, age=DAY)
    for _ in range(2):
        walking.step_of(HistorySync.objects.all())
    assert "Importing recent conversations: 0 conversations, 10 messages so far" in page(
        client, connected
    )
    history.sync.run()
    html = page(client, connected)
    assert "1 conversation with 12 messages looked through; 12 were not here" in html
    assert "Importing" not in html


def test_a_member_may_have_missed_messages_looked_for(walked, client, stranger):
    url = f"/accounts/{walked.pk}/history"
    client.force_login(stranger)
    assert client.post(url).status_code == 404
    walked.memberships.create(user=stranger)
    assert "Look for missed messages" in page(client, walked)
    assert client.get(url).status_code == 405
    assert client.post(url).headers["Location"] == walked.get_absolute_url()
    assert HistorySync.objects.latest("pk").reason == "asked"
    html = page(client, walked)
    assert "Looking for missed messages" in html
    assert '<button class="button plain">Look for missed messages' not in html


def test_what_cannot_be_asked_is_not_begun(walked, client, user):
    connecting.disconnect(walked)
    client.force_login(user)
    client.post(f"/accounts/{walked.pk}/history")
    assert HistorySync.objects.count() == 1
