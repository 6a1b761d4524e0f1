"""What the API tells of conversations and messages, to readers and to pollers."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Account, Membership
from messaging import outbox
from messaging.models import Attachment, Conversation, Message, SenderAction
from tests.accounts.test_api import assert_problem
from tests.conftest import work

from . import events

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def thread(account, post_webhook):
    """A conversation of one picture and three texts, of which the account wrote one."""
    now = int(timezone.now().timestamp() * 1000) - events.START - 60_000
    picture = events.attachment("image", url=f"{events.CDN}1")
    for event in (
        events.message("mid.1", "Is the blue one here?", now),
        events.message("mid.2", at=now + 1000, attachments=[picture]),
        events.echo("mid.3", "It is.", now + 2000),
        events.message("mid.4", "Great", now + 3000, reply_to={"mid": "mid.3"}),
    ):
        post_webhook(events.body(event))
    work()
    return Conversation.objects.get()


def add_conversation(account, igsid, **fields):
    now = timezone.now()
    defaults = {"last_message_at": now, "last_inbound_at": now, "change": 1}
    return Conversation.objects.create(account=account, igsid=igsid, **defaults | fields)


def texts(answer):
    return [message["text"] for message in answer["messages"]]


class TestConversations:
    def test_one_is_told_with_all_that_a_list_shows(self, ask, thread, account):
        [shown] = ask("get", "/conversations").json()["conversations"]
        assert shown["recipient_id"] == events.CUSTOMER
        assert (shown["account_id"], shown["is_unread"], shown["is_open"]) == (
            account.pk, True, True,
        )  # fmt: skip
        assert shown["last_message"]["text"] == "Great"
        assert shown["window_closes_at"] < shown["human_window_closes_at"]
        assert shown == ask("get", f"/conversations/{thread.pk}").json()

    def test_the_latest_is_first_and_pages_miss_none(self, ask, account):
        now = timezone.now()
        for n in range(5):
            add_conversation(account, str(n), last_message_at=now - timedelta(minutes=n // 2))
        seen, cursor = [], ""
        while cursor is not None:
            answer = ask("get", f"/conversations?limit=2{cursor and f'&cursor={cursor}'}").json()
            seen += [one["recipient_id"] for one in answer["conversations"]]
            cursor = answer["next"]
        assert seen == ["1", "0", "3", "2", "4"]

    def test_filters(self, ask, account, user):
        other = Account.objects.create(instagram_account_id="17841499", username="other.shop")
        Membership.objects.create(user=user, account=other)
        now, days = timezone.now(), timedelta(days=1)
        add_conversation(account, "unread", last_inbound_change=1)
        add_conversation(account, "old", last_message_at=now - 3 * days, last_inbound_at=None)
        add_conversation(account, "closed", last_inbound_at=now - 2 * days)
        add_conversation(other, "other")
        Conversation.objects.create(account=account, igsid="never begun")

        def shown(**wanted):
            answer = ask("get", "/conversations?" + "&".join(f"{k}={v}" for k, v in wanted.items()))
            return {one["recipient_id"] for one in answer.json()["conversations"]}

        assert shown() == {"unread", "old", "closed", "other"}
        assert shown(account_id=other.pk) == {"other"}
        assert shown(unread="true") == {"unread"}
        assert shown(open="true") == {"unread", "other"}
        yesterday = (now - days).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert shown(active_since=yesterday) == {"unread", "closed", "other"}
        assert len(shown(active_since="0001-01-01T00:00:00%2B14:00")) == 4
        assert shown(active_since="9999-12-31T23:59:59-12:00") == set()

    @pytest.mark.parametrize(
        "wanted",
        ["active_since=2026-01-01T00:00:00", "active_since=1e300", "active_since=x",
         "active_since=1767225600", "active_since=2026", "unread=perhaps", "cursor=x", "limit=0"],
    )  # fmt: skip
    def test_filters_that_make_no_sense_are_refused(self, ask, wanted):
        assert_problem(ask("get", f"/conversations?{wanted}"), 422)

    def test_an_account_of_others_is_none(self, ask, db):
        foreign = Account.objects.create(instagram_account_id="17841499", username="other.shop")
        assert_problem(ask("get", f"/conversations?account_id={foreign.pk}"), 404)

    def test_marking_as_read_leaves_what_came_later_unread(self, ask, thread):
        path = f"/conversations/{thread.pk}"
        before = ask("get", path).json()["change"]
        Conversation.objects.update(change=before + 1, last_inbound_change=before + 1)
        assert ask("post", f"{path}/read?up_to={before}").status_code == 204
        assert ask("get", path).json()["is_unread"]
        assert ask("post", f"{path}/read").status_code == 204
        assert not ask("get", path).json()["is_unread"]

    def test_automatic_replies_are_paused_in_one_conversation(self, ask, thread):
        path = f"/conversations/{thread.pk}"
        assert ask("get", path).json()["automation"] == "on"
        assert ask("patch", path, {"automation": "paused"}).json()["automation"] == "paused"
        assert ask("get", path).json()["automation"] == "paused"
        assert_problem(ask("patch", path, {"automation": "perhaps"}), 422)

    def test_reading_marks_nothing_as_read(self, ask, thread):
        ask("get", f"/conversations/{thread.pk}/messages")
        assert ask("get", f"/conversations/{thread.pk}").json()["is_unread"]

    @pytest.mark.parametrize(
        ("method", "path", "kind"),
        [("post", "seen", "mark_seen"), ("put", "typing", "typing_on"),
         ("delete", "typing", "typing_off")],
    )  # fmt: skip
    def test_the_customer_is_shown_typing_and_seen(
        self, ask, open_conversation, method, path, kind
    ):
        assert ask(method, f"/conversations/{open_conversation.pk}/{path}").status_code == 202
        assert SenderAction.objects.get().kind == kind

    def test_as_many_queries_for_many_as_for_few(self, ask, account, django_assert_max_num_queries):
        now = timezone.now()
        for n in range(20):
            one = add_conversation(account, str(n))
            Message.objects.create(
                account=account, conversation=one, direction="in", status="received",
                text=f"text {n}", timestamp=now, due_at=None,
            )  # fmt: skip
        ask("get", "/conversations")
        for limit in (1, 20):
            with django_assert_max_num_queries(7):
                answer = ask("get", f"/conversations?limit={limit}").json()
            assert len(answer["conversations"]) == limit
            assert all(one["last_message"]["text"] for one in answer["conversations"])


class TestMessages:
    def test_the_newest_is_first_and_pages_miss_none(self, ask, thread):
        path = f"/conversations/{thread.pk}/messages?limit=3"
        first = ask("get", path).json()
        second = ask("get", f"{path}&cursor={first['next']}").json()
        assert texts(first) + texts(second) == ["Great", "It is.", "", "Is the blue one here?"]
        assert second["next"] is None

    def test_a_message_tells_all_that_the_inbox_shows(self, ask, thread, account):
        latest, echo, picture, _ = ask("get", f"/conversations/{thread.pk}/messages").json()[
            "messages"
        ]
        assert (latest["direction"], latest["status"]) == ("in", "received")
        assert (latest["sender_id"], latest["recipient_id"]) == (
            events.CUSTOMER, account.instagram_account_id,
        )  # fmt: skip
        assert latest["reply_to"] == echo["instagram_message_id"] == "mid.3"
        assert (echo["direction"], echo["status"], echo["is_from_here"]) == ("out", "sent", False)
        assert (echo["sender_id"], echo["recipient_id"]) == (
            account.instagram_account_id, events.CUSTOMER,
        )  # fmt: skip
        [attachment] = picture["attachments"]
        assert (attachment["type"], attachment["url"]) == ("image", None)
        assert ask("get", f"/messages/{latest['message_id']}").json() == latest

    def test_reactions_and_what_was_taken_back(self, ask, thread, post_webhook):
        now = int(timezone.now().timestamp() * 1000) - events.START
        post_webhook(events.body(events.react("mid.3", at=now)))
        post_webhook(events.body(events.unsend("mid.1", now)))
        work()
        shown = ask("get", f"/conversations/{thread.pk}/messages").json()["messages"]
        [reaction] = shown[1]["reactions"]
        assert (reaction["by"], reaction["emoji"]) == ("customer", "\u2764\ufe0f")
        assert (shown[3]["text"], bool(shown[3]["unsent_at"])) == ("", True)

    def test_a_poller_gets_what_is_new_or_changed_and_nothing_twice(
        self, ask, thread, post_webhook
    ):
        path = f"/conversations/{thread.pk}/messages"
        first = ask("get", path).json()
        assert texts(ask("get", f"{path}?after={first['change']}").json()) == []
        now = int(timezone.now().timestamp() * 1000) - events.START
        post_webhook(events.body(events.message("mid.5", "And the red one?", now)))
        work()
        post_webhook(events.body(events.edit("mid.4", "Great!", at=now + 1000)))
        work()
        news = ask("get", f"{path}?after={first['change']}&limit=1").json()
        rest = ask("get", f"{path}?after={first['change']}&limit=1&cursor={news['next']}").json()
        assert texts(news) + texts(rest) == ["And the red one?", "Great!"]
        assert texts(ask("get", f"{path}?after={news['change']}").json()) == []

    def test_a_poller_that_has_the_answer_gets_none(self, ask, thread):
        path = f"/conversations/{thread.pk}/messages"
        etag = ask("get", path).headers["ETag"]
        assert ask("get", path, **{"If-None-Match": etag}).status_code == 304

    def test_as_many_queries_for_many_as_for_few(self, ask, thread, django_assert_max_num_queries):
        ask("get", "/conversations")
        for limit in (1, 4):
            with django_assert_max_num_queries(6):
                path = f"/conversations/{thread.pk}/messages?limit={limit}"
                assert len(ask("get", path).json()["messages"]) == limit

    def test_no_answer_holds_a_token(self, ask, thread, account):
        token = account.access_token.ciphertext
        for path in ("/conversations", f"/conversations/{thread.pk}/messages"):
            assert token not in ask("get", path).text


class TestStatus:
    def test_it_is_told_until_it_is_read(self, ask, instagram, open_conversation, user):
        message = outbox.queue_reply(open_conversation, "Yes, it is", by=user)
        path = f"/messages/{message.public_id}/status"
        assert ask("get", path).json() == {
            "message_id": message.public_id,
            "status": "pending",
            "account_id": open_conversation.account_id,
            "recipient_id": open_conversation.igsid,
            "instagram_message_id": None,
            "created_at": ask("get", path).json()["created_at"],
            "sent_at": None,
            "delivered_at": None,
            "read_at": None,
            "error": None,
        }
        work()
        shown = ask("get", path).json()
        message.refresh_from_db()
        assert (shown["status"], shown["instagram_message_id"]) == ("sent", message.mid)
        assert shown["sent_at"] >= shown["created_at"]
        assert shown["read_at"] is None
        Conversation.objects.update(seen_at=timezone.now())
        assert ask("get", path).json()["read_at"] >= shown["sent_at"]

    def test_a_failure_is_told_with_instagrams_code(self, ask, instagram, open_conversation):
        instagram.control("clock", advance=25 * 3600)
        message = outbox.queue_reply(open_conversation, "too late")
        work()
        shown = ask("get", f"/messages/{message.public_id}/status").json()
        assert (shown["status"], shown["sent_at"]) == ("failed", None)
        assert shown["error"]["code"].startswith("10")
        assert "24-hour window" in shown["error"]["message"]

    def test_an_error_that_is_not_instagrams_has_no_code(self, ask, open_conversation):
        message = outbox.queue_reply(open_conversation, "Yes")
        Message.objects.update(status="unconfirmed", error="No answer came.", due_at=None)
        error = ask("get", f"/messages/{message.public_id}/status").json()["error"]
        assert error == {"code": None, "message": "No answer came."}

    @pytest.mark.parametrize(("arrived", "status"), [(True, "sent"), (False, "failed")])
    def test_a_person_settles_what_is_unconfirmed(
        self, ask, open_conversation, user, arrived, status
    ):
        message = outbox.queue_reply(open_conversation, "Yes, it is", by=user)
        path = f"/messages/{message.public_id}/settle"
        problem = assert_problem(ask("post", path, {"arrived": arrived}), 409)
        assert problem["type"].endswith(":already-settled")
        Message.objects.update(status=Message.Status.UNCONFIRMED)
        answer = ask("post", path, {"arrived": arrived})
        assert (answer.status_code, answer.json()["status"]) == (200, status)
        assert_problem(ask("post", path, {"arrived": arrived}), 409)


class TestReactions:
    def test_the_account_reacts_and_takes_it_back(self, ask, instagram, connected, post_webhook):
        said = instagram.say("Is it still available?")
        now = timezone.now()
        conversation = add_conversation(connected, said["igsid"])
        message = Message.objects.create(
            account=connected, conversation=conversation, direction="in", status="received",
            text="Is it still available?", mid=said["mid"], timestamp=now, due_at=None,
        )  # fmt: skip
        path = f"/messages/{message.public_id}"
        assert ask("put", f"{path}/reaction", {"emoji": "❤️"}).status_code == 202
        work()
        [reaction] = ask("get", path).json()["reactions"]
        assert (reaction["by"], reaction["emoji"]) == ("account", "❤️")
        assert ask("delete", f"{path}/reaction").status_code == 202
        work()
        assert ask("get", path).json()["reactions"] == []

    @pytest.mark.parametrize("emoji", ["", "yes", "❤️ ", "❤️" * 20])
    def test_only_with_an_emoji(self, ask, thread, emoji):
        message = thread.messages.last()
        path = f"/messages/{message.public_id}/reaction"
        assert_problem(ask("put", path, {"emoji": emoji}), 422)
        assert not SenderAction.objects.exists()

    def test_not_once_the_window_is_closed(self, ask, thread):
        Conversation.objects.update(last_inbound_at=timezone.now() - timedelta(days=2))
        path = f"/messages/{thread.messages.last().public_id}/reaction"
        problem = assert_problem(ask("put", path, {"emoji": "❤️"}), 409)
        assert problem["type"].endswith(":window-closed")

    def test_one_that_instagram_refused_is_told(self, ask, thread):
        message = thread.messages.last()
        SenderAction.objects.create(
            conversation=thread, message=message, kind="reaction", emoji="❤️", due_at=None,
            error="The reaction was not sent. Instagram refuses it.",
        )  # fmt: skip
        shown = ask("get", f"/messages/{message.public_id}").json()
        assert "not sent" in shown["reaction_error"]
        assert Attachment.objects.count() == 1
