"""Every kind of event that Instagram sends, as the team sees it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from messaging.models import (
    Attachment,
    Conversation,
    FileToDelete,
    InboundEvent,
    Message,
    MissingMessage,
    WebhookEvent,
)
from tests.conftest import work

from . import events as e

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tell(account, post_webhook):
    """Instagram tells this, in one body, and the worker works."""

    def tell(*events):
        assert post_webhook(e.body(*events)).status_code == 200
        work()

    return tell


def at(milliseconds):
    return datetime.fromtimestamp((e.START + milliseconds) / 1000, UTC)


def outcome():
    event = InboundEvent.objects.latest("pk")
    return event.kind, event.state, event.reason


class TestContent:
    @pytest.mark.parametrize(
        ("attachment", "kind", "title"),
        [
            (e.attachment("image", url=e.CDN + "1"), "image", ""),
            (e.attachment("video", url=e.CDN + "2"), "video", ""),
            (e.attachment("audio", url=e.CDN + "3"), "audio", ""),
            (e.attachment("file", url=e.CDN + "4"), "file", ""),
            (e.attachment("image", url=e.CDN + "5", sticker_id=369239263222822), "sticker", ""),
            (e.attachment("like_heart"), "like_heart", ""),
            (e.attachment("share", url=e.CDN + "6"), "share", ""),
            (e.attachment("ig_post", url=e.CDN + "7", title="New bowls"), "ig_post", "New bowls"),
            (e.attachment("ig_reel", url="https://www.instagram.com/reel/D/"), "ig_reel", ""),
            (e.attachment("reel", url=e.CDN + "8"), "reel", ""),
            (e.attachment("story_mention", url=e.CDN + "9"), "story_mention", ""),
            (e.attachment("story_mention", story={"url": e.CDN + "9"}), "story_mention", ""),
            (e.attachment("ig_story", story_media_id="1", story_media_url=e.CDN), "ig_story", ""),
            (e.attachment("template", generic={"elements": []}), "template", ""),
            (e.attachment("ephemeral"), "ephemeral", ""),
            (e.attachment("fallback", url="https://shop.example", title="A shop"), "fallback",
             "A shop"),
        ],
    )  # fmt: skip
    def test_each_attachment_keeps_its_kind_address_and_title(self, tell, attachment, kind, title):
        tell(e.message("m", attachments=[attachment]))
        found = Attachment.objects.get()
        assert (found.kind, found.title) == (kind, title)
        address = json.dumps(attachment)
        assert found.url in address if "https" in address else found.url == ""
        assert found.url or "https" not in address

    def test_an_unknown_one_names_its_kind_and_leads_nowhere(self, tell):
        tell(e.message("m", attachments=[e.attachment("hologram", url=e.CDN)]))
        assert (Attachment.objects.get().kind, Attachment.objects.get().url) == ("hologram", "")

    def test_what_instagram_cannot_tell_leaves_a_visible_place(self, tell):
        tell(e.message("poll", is_unsupported=True), e.message("new", future={"a": 1}, at=1))
        kinds = Attachment.objects.order_by("pk").values_list("kind", flat=True)
        assert list(kinds) == ["unsupported", "unknown"]
        assert Conversation.objects.get().last_inbound_at == at(1)

    def test_one_shared_post_that_comes_as_two_attachments_is_shown_once(self, tell):
        both = [e.attachment("share", url=e.CDN), e.attachment("ig_post", url=e.CDN, title="Cup")]
        tell(e.message("m", attachments=both))
        assert Attachment.objects.get().kind == "ig_post"

    def test_text_and_several_pictures_may_come_as_one_message(self, tell):
        pictures = [e.attachment("image", url=f"{e.CDN}{n}") for n in range(3)]
        tell(e.message("m", "These three", attachments=pictures))
        assert Message.objects.get().text == "These three"
        assert Attachment.objects.count() == 3

    def test_a_reply_names_the_message_or_the_story(self, tell):
        tell(
            e.message("a", "this one", reply_to={"mid": "earlier"}),
            e.message("b", "Love it!", at=1, reply_to={"story": {"id": "1", "url": e.CDN}}),
        )
        a, b = Message.objects.order_by("timestamp")
        assert a.context == {"reply_to": "earlier"}
        assert b.context == {"story": e.CDN}

    def test_a_quick_reply_keeps_its_payload(self, tell):
        tell(e.message("m", "Red", quick_reply={"payload": "COLOR_RED"}))
        assert Message.objects.get().context == {"payload": "COLOR_RED"}

    def test_a_postback_is_what_the_customer_said_and_opens_the_window(self, tell):
        tell(e.postback("Opening hours", "HOURS", mid="p"))
        message = Message.objects.get()
        assert (message.text, message.direction) == ("Opening hours", "in")
        assert message.context == {"payload": "HOURS"}
        assert Conversation.objects.get().last_inbound_at == at(0)

    def test_a_postback_without_a_mid_is_known_again_by_who_when_and_what(self, tell):
        tell(e.postback("Opening hours", "HOURS"), e.postback("Opening hours", "HOURS"))
        tell(e.postback("Opening hours", "HOURS", at=5000))
        assert Message.objects.count() == 2

    def test_where_somebody_came_from_stays_with_the_conversation(self, tell):
        ad = {"ad_id": "120200000000000001", "source": "ADS",
              "ads_context_data": {"ad_title": "Spring sale"}}  # fmt: skip
        tell(e.message("m", "Hello", at=5, referral=ad))
        assert Conversation.objects.get().referral["ad_title"] == "Spring sale"
        tell(e.referral("qr-42", at=9), e.referral("older", at=7))
        conversation = Conversation.objects.get()
        assert conversation.referral["ref"] == "qr-42"
        assert Message.objects.count() == 1
        assert conversation.last_inbound_at == at(5)

    def test_a_message_that_another_app_answers_is_shown_and_marked(self, account, post_webhook):
        post_webhook(e.body(e.message("m", "are you there?"), field="standby"))
        work()
        assert Message.objects.get().context == {"standby": True}

    def test_a_note_to_oneself_makes_no_customer(self, tell):
        tell(e.echo("m", "note", is_self=True))
        assert not Conversation.objects.exists()
        assert outcome() == ("self", "unhandled", "a message to oneself")


class TestEdit:
    def test_the_highest_edit_stands(self, tell):
        tell(e.message("m", "one"), e.edit("m", "three", "2", at=9), e.edit("m", "two", 1, at=5))
        message = Message.objects.get()
        assert (message.text, message.edit_number, message.edited_at) == ("three", 2, at(9))

    def test_an_edit_that_comes_before_its_message_waits_for_it(self, tell):
        tell(e.edit("m", "corrected", at=9))
        assert outcome() == ("edit", "unhandled", InboundEvent.NOT_HERE)
        assert not Message.objects.exists()
        tell(e.message("m", "corected"))
        assert Message.objects.get().text == "corrected"
        assert not InboundEvent.objects.exclude(state="processed").exists()
        assert not WebhookEvent.objects.exclude(state="processed").exists()

    def test_the_edits_without_a_text_change_nothing(self, tell):
        tell(e.message("m", "as it was"), e.edit("m", None, 0, at=5), e.nameless_edit("m", at=6))
        message = Message.objects.get()
        assert (message.text, message.edited_at) == ("as it was", None)

    def test_an_edit_of_a_message_that_never_came_is_a_message_to_ask_for(self, tell):
        tell(e.nameless_edit("lost"))
        missing = MissingMessage.objects.get()
        assert missing.mid == "lost"
        assert missing.due_at > timezone.now()
        assert not Message.objects.exists()


class TestReaction:
    def test_one_stands_per_person_and_a_later_one_replaces_it(self, tell):
        tell(e.message("m", "Hi"), e.react("m", "😮", at=9), e.react("m", "❤️", at=5))
        assert Message.objects.get().emoji() == ["😮"]
        tell(e.unreact("m", at=12))
        assert Message.objects.get().emoji() == []
        tell(e.react("m", "👍", at=11))  # Late: it was taken back since.
        assert Message.objects.get().emoji() == []

    def test_both_sides_may_react(self, tell):
        tell(e.message("m", "Hi"), e.react("m", "❤️"), e.react("m", "👍", by_shop=True))
        assert sorted(Message.objects.get().emoji()) == ["❤️", "👍"]

    def test_one_to_a_message_we_never_saw_is_kept_and_fails_nothing(self, tell):
        tell(e.react("unknown"), e.message("m", "Hi"))
        assert Message.objects.count() == 1
        tell(e.message("unknown", "Late", at=-5))
        assert Message.objects.get(mid="unknown").emoji() == ["❤️"]


class TestSeen:
    def test_the_marker_only_moves_forward(self, tell):
        tell(e.echo("m", "Yes"), e.seen("m", at=50), e.seen("m", at=30))
        assert Conversation.objects.get().seen_at == at(50)


class TestUnsend:
    def test_nothing_of_it_stays_but_that_there_was_something(self, tell, instagram, account):
        tell(
            e.message(
                "m", "my address is 5 Mill Lane", attachments=[e.attachment("file", url="x")]
            ),
            e.message("other", "keep me", at=1),
        )
        stored = Attachment.objects.get()
        stored.file.save("secret.txt", ContentFile(b"my address"))
        name = stored.file.name
        tell(e.edit("m", "my address is 6 Mill Lane", at=5), e.react("m", at=6))
        tell(e.unsend("m", at=9))

        gone = Message.objects.get(mid="m")
        assert (gone.text, gone.reactions, gone.edited_at) == ("", {}, None)
        assert (gone.unsent_at, gone.timestamp) == (at(9), at(0))
        assert not Attachment.objects.exists()
        assert not default_storage.exists(name)
        assert not FileToDelete.objects.exists()
        assert Message.objects.get(mid="other").text == "keep me"
        bodies = b"".join(bytes(webhook.body) for webhook in WebhookEvent.objects.all())
        assert b"Mill Lane" not in bodies
        assert b"keep me" in bodies

    def test_no_table_holds_the_text_afterwards(self, tell):
        from django.apps import apps

        tell(e.message("m", "quite-private", reply_to={"mid": "x"}), e.edit("m", "quite-private!"))
        tell(e.unsend("m", at=9))
        for model in apps.get_models():
            for row in model.objects.all().values():
                for value in row.values():
                    value = bytes(value) if isinstance(value, memoryview) else value
                    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                    assert "quite-private" not in str(text), (model, row)

    @pytest.mark.parametrize("copies", [1, 2])
    def test_it_may_come_before_its_message(self, tell, copies):
        tell(e.unsend("m", at=9))
        for _ in range(copies):
            tell(e.message("m", "too late", attachments=[e.attachment("image", url=e.CDN)]))
        message = Message.objects.get()
        assert (message.text, message.unsent_at) == ("", at(9))
        assert not Attachment.objects.exists()
        assert not any(b"too late" in bytes(w.body) for w in WebhookEvent.objects.all())

    @pytest.mark.parametrize("order", [1, -1])
    def test_what_made_no_message_goes_from_the_ledger_too(self, tell, account, order):
        """A note to oneself, something that names nobody, an account that is not ours."""
        nobody, stranger = e.message("b", "pin 2222"), e.message("c", "pin 3333")
        del nobody["sender"]
        events = [e.echo("a", "pin 1111", is_self=True), nobody, e.unsend("a"), e.unsend("b")]
        for event in events[::order]:
            tell(event)
        account.instagram_account_id = "1"
        account.save()
        for event in [stranger, e.unsend("c")][::order]:
            tell(event)
        assert not [w.pk for w in WebhookEvent.objects.all() if b"pin" in bytes(w.body)]

    def test_a_replay_does_not_move_the_time_of_it(self, tell):
        from messaging import ledger

        tell(e.message("m", "taken back"), e.unsend("m", at=9))
        sum(ledger.replay(WebhookEvent.objects.all()))
        work()
        assert Message.objects.get().unsent_at == at(9)

    def test_replaying_everything_gives_the_tombstone_again(self, tell):
        from messaging import ledger

        tell(e.message("m", "taken back"), e.react("m"), e.unsend("m", at=9))
        Message.objects.all().delete()
        assert sum(ledger.replay(WebhookEvent.objects.all())) == 1
        work()
        tell(e.message("m", "taken back"))
        assert Message.objects.get().text == ""

    def test_of_two_accounts_that_share_a_mid_only_the_one_it_came_for(self, tell, post_webhook):
        from accounts.models import Account

        other = Account.objects.create(instagram_account_id="17841400000000202", username="north")
        tell(e.message("shared", "for luna"))
        event = e.message("shared", "for north")
        event["recipient"] = {"id": other.instagram_account_id}
        post_webhook(e.body(event, entry=other.instagram_account_id))
        work()
        tell(e.unsend("shared", at=9))
        texts = Message.objects.order_by("account__username").values_list("text", flat=True)
        assert list(texts) == ["", "for north"]


class TestKeptOnly:
    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (e.change("comments", {"id": "1", "text": "price?", "from": {"id": "5"}}), "comment"),
            (e.change("live_comments", {"id": "2", "from": {"id": "5"}}), "comment"),
            (e.change("mentions", {"media_id": "3", "comment_id": "4"}), "mention"),
            (e.change("story_insights", {"media_id": "7", "reach": 44}), "insights"),
            ({"object": "instagram", "entry": [
                {"id": e.ACCOUNT, "field": "comments", "value": {"id": "6"}}]}, "comment"),
            (e.body(e.told(optin={"type": "notification_messages"})), "optin"),
            (e.body(e.told(pass_thread_control={"metadata": None})), "handover"),
            (e.body(e.told(hologram={})), "unknown"),
            (e.change("messages", e.message("random_mid", "random_text"), entry="0"), "test"),
            (e.body(e.message("random_mid", "random_text"), entry="0"), "test"),
            (e.change("comments", {"id": "1"}, entry="0"), "test"),
        ],
    )  # fmt: skip
    def test_it_is_kept_under_its_own_kind_and_makes_no_customer(
        self, account, post_webhook, content, kind
    ):
        assert post_webhook(content).status_code == 200
        work()
        found, state, reason = outcome()
        assert (found, state) == (kind, "unhandled")
        assert reason
        assert not Conversation.objects.exists()


class TestLedger:
    def test_a_copy_has_the_same_dedupe_key_and_what_is_told_of_it_has_not(self, tell):
        events = [
            e.message("m", "Hi"), e.edit("m", "Hi!"), e.unsend("n"), e.react("m"), e.unreact("m"),
            e.react("m", at=7), e.seen("m"),
        ]  # fmt: skip
        tell(*events)
        tell(*events)
        keys = [bytes(row.dedupe_key) for row in InboundEvent.objects.order_by("pk")]
        assert keys[: len(events)] == keys[len(events) :]
        assert len(set(keys)) == len(events)

    def test_what_came_before_the_account_was_connected_is_shown_once_it_is(
        self, instagram, user, post_webhook
    ):
        from accounts import connecting

        luna = "17841400000000101"
        event = e.message("early", "Anybody there?")
        event["recipient"] = {"id": luna}
        post_webhook(e.body(event, entry=luna))
        work()
        assert outcome()[2] == f"unknown account {luna}"
        url = connecting.begin(user, "browser")
        connecting.finish(user, "browser", instagram.consent(url))
        work()
        assert Message.objects.get(mid="early").text == "Anybody there?"
        assert outcome()[1] == "processed"

    def test_webhooks_are_pruned_when_they_are_old_and_read(self, tell, post_webhook):
        from messaging import ledger

        tell(e.message("m", "Hi"))
        post_webhook(e.body(e.message("unread", "Hi")))
        long_ago = timezone.now() - timedelta(days=settings.WEBHOOK_RETENTION_DAYS, seconds=1)
        WebhookEvent.objects.update(received_at=long_ago)
        tell_again = e.body(e.message("new", "Hi"))
        post_webhook(tell_again)
        assert ledger.prune() == 1
        assert WebhookEvent.objects.count() == 2
        assert Message.objects.get().text == "Hi"
        assert not InboundEvent.objects.exists()


@pytest.mark.parametrize("timestamp", ["1760000000", "1760000000000", 1760000000, None])
def test_times_and_ids_come_in_many_shapes(account, post_webhook, timestamp):
    event = e.message("m", "Hi")
    event["timestamp"] = timestamp
    event["sender"] = {"id": 90071992547409931234}
    content = e.body(event, entry=int(e.ACCOUNT))
    content["entry"][0]["time"] = 1760000000
    post_webhook(content)
    work()
    assert Message.objects.get().timestamp == at(0)
    assert Conversation.objects.get().igsid == "90071992547409931234"
