from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Account, DeletionRequest, Membership
from messaging import outbox, outcomes, uploads
from messaging.models import Attachment, Conversation, Message, SenderAction
from tests.conftest import work

from . import events, files
from .files import upload

pytestmark = pytest.mark.django_db


def say(conversation, text, **fields):
    return Message.objects.create(
        account=conversation.account, conversation=conversation, direction="in",
        status="received", mid=uuid4().hex, text=text, timestamp=timezone.now(), due_at=None,
        change=conversation.next_change(), **fields,
    )  # fmt: skip


@pytest.fixture
def member(client, user, account):
    client.force_login(user)
    return client


def page(response):
    assert response.status_code == 200
    return response.content.decode()


def test_the_inbox_lists_conversations_the_latest_first(member, conversation):
    say(conversation, "Is it still available?")
    older = Conversation.objects.create(
        account=conversation.account, igsid="7", name="Jonas Lind",
        last_message_at=timezone.now() - timedelta(days=1),
    )  # fmt: skip
    html = page(member.get("/"))
    assert "Is it still available?" in html
    assert html.index("mila.tests") < html.index(older.name)


def test_texts_are_escaped(member, conversation):
    say(conversation, "<script>alert(1)</script>")
    for url in ("/", conversation.get_absolute_url()):
        assert "<script>alert" not in page(member.get(url))


def test_opening_a_thread_marks_it_read(member, conversation):
    assert conversation.is_unread
    member.get(conversation.get_absolute_url())
    conversation.refresh_from_db()
    assert not conversation.is_unread


def test_a_reply_is_queued_and_shown(member, conversation, user):
    response = member.post(
        f"/conversations/{conversation.pk}/reply", {"text": "Yes", "submission": uuid4()}
    )
    assert response.headers["Location"] == conversation.get_absolute_url()
    message = Message.objects.get()
    assert (message.text, message.written_by) == ("Yes", user)
    html = page(member.get(conversation.get_absolute_url()))
    assert "Yes" in html
    assert "Waiting" in html


def test_a_refused_reply_keeps_the_text_and_says_why(member, conversation):
    text = "x" * 1200
    response = member.post(f"/conversations/{conversation.pk}/reply", {"text": text})
    assert response.status_code == 422
    assert text in response.content.decode()
    assert "1000 bytes" in response.content.decode()
    assert not Message.objects.exists()


class TestReplyWithFiles:
    @pytest.fixture(autouse=True)
    def media_root(self, settings, tmp_path):
        settings.MEDIA_ROOT = tmp_path

    def reply(self, member, conversation, **fields):
        return member.post(f"/conversations/{conversation.pk}/reply", fields)

    def test_files_and_text_are_queued_and_shown(self, member, conversation, user):
        response = self.reply(
            member, conversation, text="Look", files=[upload(), upload(), upload(files.PDF)],
            submission=uuid4(), quick_replies="Nice\r\n\r\n  Not mine ",
        )  # fmt: skip
        assert response.headers["Location"] == conversation.get_absolute_url()
        rows = list(Message.objects.order_by("pk"))
        assert [row.attachments.count() for row in rows] == [2, 1, 0]
        assert {row.written_by for row in rows} == {user}
        assert [one["title"] for one in rows[2].quick_replies] == ["Nice", "Not mine"]
        html = page(member.get(conversation.get_absolute_url()))
        for one in Attachment.objects.all():
            assert f"/media/{one.public_id}" in html
        assert "Not mine" in html

    def test_files_alone_need_no_text(self, member, conversation):
        assert self.reply(member, conversation, text="", files=upload()).status_code == 302
        assert Message.objects.get().text == ""

    def test_a_refused_file_keeps_the_text_and_says_why(self, member, conversation):
        response = self.reply(member, conversation, text="Look", files=upload(files.EXE, "a.exe"))
        html = response.content.decode()
        assert response.status_code == 422
        assert "Instagram does not take a.exe" in html
        assert ">\nLook</textarea>" in html
        assert "Choose the files again" in html
        assert not Message.objects.exists()

    def test_an_empty_file_is_refused_by_name(self, member, conversation):
        response = self.reply(member, conversation, files=upload(b"", "cup.png"))
        assert response.status_code == 422
        assert "cup.png is empty" in response.content.decode()

    def test_a_name_is_no_markup(self, member, conversation):
        response = self.reply(member, conversation, files=upload(files.EXE, "<b>x</b>.exe"))
        assert "<b>x" not in response.content.decode()

    def test_an_upload_beyond_every_limit_is_ended(self, member, conversation, monkeypatch):
        monkeypatch.setattr(uploads, "LARGEST_REQUEST", 10)
        response = self.reply(member, conversation, text="Look", files=upload())
        assert response.status_code in (400, 413)
        assert not Message.objects.exists()

    def test_files_of_strangers_and_to_other_paths_end_after_1_mb(self, client, user, conversation):
        reply, large = f"/conversations/{conversation.pk}/reply", bytes(2 * 1024 * 1024)
        browser = Client(enforce_csrf_checks=True, headers={"Cookie": "csrftoken=" + "a" * 32})
        for path, status in (("/login", 400), (reply, 400)):
            answer = browser.post(path, {"files": upload(large)})
            assert answer.status_code == status, path
        client.force_login(user)
        assert client.post("/accounts/keys", {"files": upload(large)}).status_code == 400
        assert client.post(reply, {"files": upload(large)}).status_code == 422

    def test_the_second_click_sends_nothing(self, member, conversation):
        submission = uuid4()
        for _ in range(2):
            self.reply(member, conversation, text="Look", files=upload(), submission=submission)
        assert Message.objects.count() == 2
        assert Attachment.objects.count() == 1


class TestReact:
    @pytest.fixture
    def question(self, conversation):
        return say(conversation, "Is it still available?")

    def test_it_waits_to_be_told(self, member, question):
        response = member.post(f"/messages/{question.public_id}/reaction", {"emoji": "👍"})
        assert response.headers["Location"] == question.conversation.get_absolute_url()
        action = SenderAction.objects.get()
        assert (action.message, action.emoji) == (question, "👍")

    @pytest.mark.parametrize("emoji", ["love", "x" * 500, "\0"])
    def test_a_refusal_is_said_on_the_page(self, member, question, emoji):
        response = member.post(
            f"/messages/{question.public_id}/reaction", {"emoji": emoji}, follow=True
        )
        assert "React with one emoji." in page(response)
        assert not SenderAction.objects.filter(kind=SenderAction.Kind.REACTION).exists()

    def test_the_choice_is_offered_while_the_window_is_open(self, member, question):
        conversation = question.conversation
        assert "/reaction" in page(member.get(conversation.get_absolute_url()))
        conversation.last_inbound_at = timezone.now() - timedelta(hours=25)
        conversation.save()
        assert "/reaction" not in page(member.get(conversation.get_absolute_url()))

    @pytest.mark.parametrize("method", ["get", "put"])
    def test_only_by_a_form(self, member, question, method):
        url = f"/messages/{question.public_id}/reaction"
        assert getattr(member, method)(url).status_code == 405
        assert member.post("/messages/msg_unknown/reaction", {"emoji": "👍"}).status_code == 404


def test_typing_is_told_once_and_answers_nothing(member, conversation):
    for _ in range(3):
        response = member.post(f"/conversations/{conversation.pk}/typing")
        assert (response.status_code, response.content) == (204, b"")
    assert SenderAction.objects.get().kind == SenderAction.Kind.TYPING_ON


def test_opening_a_thread_tells_the_customer_once(member, conversation):
    for _ in range(2):
        member.get(conversation.get_absolute_url())
    assert SenderAction.objects.get().kind == SenderAction.Kind.MARK_SEEN


class TestWriteItAgain:
    def test_a_failed_text_stands_in_the_form(self, member, conversation):
        message = outbox.queue_reply(conversation, "Yes, <it> is")
        outcomes.move(message, "queued", status="failed", error="The customer is gone.")
        link = f"{conversation.get_absolute_url()}?again={message.public_id}"
        assert link in page(member.get(conversation.get_absolute_url()))
        html = page(member.get(link))
        assert ">\nYes, &lt;it&gt; is</textarea>" in html
        assert Message.objects.count() == 1

    @pytest.mark.parametrize("again", ["", "msg_unknown", "%00", "x" * 3000])
    def test_what_is_not_there_leaves_it_empty(self, member, conversation, again):
        html = page(member.get(f"{conversation.get_absolute_url()}?again={again}"))
        assert ">\n</textarea>" in html

    def test_nothing_of_another_conversation(self, member, conversation, stranger):
        other = Account.objects.create(instagram_account_id="1784", username="other.shop")
        theirs = Conversation.objects.create(account=other, igsid="7")
        secret = say(theirs, "PIN 1234")
        html = page(member.get(f"{conversation.get_absolute_url()}?again={secret.public_id}"))
        assert "PIN 1234" not in html


def test_updates_bring_what_changed_and_nothing_else(member, conversation):
    first = say(conversation, "first")
    conversation.save()
    url = f"/conversations/{conversation.pk}/updates"
    assert member.get(url, {"after": conversation.change}).status_code == 204
    second = say(conversation, "second")
    response = member.get(url, {"after": first.change})
    assert "second" in page(response)
    assert "first" not in page(response)
    assert response.headers["X-Change"] == str(second.change)
    assert "no-store" in response.headers["Cache-Control"]


def test_a_change_of_state_is_news(member, conversation):
    message = outbox.queue_reply(conversation, "Yes")
    before = Conversation.objects.get().change
    outcomes.move(message, "queued", status="failed", error="The customer is gone.")
    html = page(member.get(f"/conversations/{conversation.pk}/updates", {"after": before}))
    assert "The customer is gone." in html
    assert message.public_id in html


@pytest.mark.parametrize(
    "url", ["/?page=999999999999999999", "/?page=-1", "/?page=x", "/?account=%00", "/media/%00",
            "/accounts/%00/", "/?account=acc_nobody", "/conversations/99999999999999999999/"]
)  # fmt: skip
def test_odd_addresses_are_no_server_error(member, url):
    assert member.get(url).status_code in (200, 404)


def test_after_a_long_absence_the_news_come_in_portions(member, conversation):
    for n in range(450):
        say(conversation, f"text-{n:03}.")
    url = f"/conversations/{conversation.pk}/updates"
    first = member.get(url, {"after": 1})
    assert "text-000." in page(first)
    assert "text-449." not in page(first)
    second = member.get(url, {"after": first.headers["X-Change"]})
    assert "text-449." in page(second)
    assert member.get(url, {"after": second.headers["X-Change"]}).status_code == 204


@pytest.mark.parametrize("after", ["", "x", "-1", "9" * 40, "1e3", "²"])
def test_an_odd_change_number_means_from_the_start(member, conversation, after):
    say(conversation, "first")
    response = member.get(f"/conversations/{conversation.pk}/updates", {"after": after})
    assert "first" in page(response)


def test_the_list_is_sent_again_only_when_it_changed(member, conversation):
    say(conversation, "first")
    response = member.get("/updates", {"after": "old"})
    known = response.headers["X-Change"]
    assert member.get("/updates", {"after": known}).status_code == 204
    say(conversation, "second")
    assert "second" in page(member.get("/updates", {"after": known}))


def test_whoever_is_logged_out_is_told_by_the_poll(client, conversation):
    assert client.get("/updates").status_code == 401
    assert client.get(f"/conversations/{conversation.pk}/updates").status_code == 401
    assert client.get("/").status_code == 302


def test_long_threads_come_in_pages(member, conversation):
    messages = [say(conversation, f"text-{n:03}.") for n in range(120)]
    html = page(member.get(conversation.get_absolute_url()))
    assert "text-119." in html
    assert "text-070." in html
    assert "text-069." not in html
    html = page(member.get(conversation.get_absolute_url(), {"before": messages[70].pk}))
    assert "text-069." in html
    assert "text-070." not in html


class TestStranger:
    """Somebody who signs in here but belongs to another account."""

    @pytest.fixture
    def urls(self, conversation, account):
        message = outbox.queue_reply(conversation, "Yes")
        gets = [
            conversation.get_absolute_url(),
            f"/conversations/{conversation.pk}/updates",
            account.get_absolute_url(),
            f"/?account={account.pk}",
            f"/updates?account={account.pk}",
        ]
        posts = [
            f"/conversations/{conversation.pk}/reply",
            f"/conversations/{conversation.pk}/typing",
            f"/messages/{message.public_id}/reaction",
            f"/messages/{message.public_id}/arrived",
            f"/messages/{message.public_id}/not-arrived",
            f"/accounts/{account.pk}/reconnect",
            f"/accounts/{account.pk}/subscribe",
            f"/accounts/{account.pk}/disconnect",
            f"/accounts/{account.pk}/invite",
        ]
        return [("get", url) for url in gets] + [("post", url) for url in posts]

    def test_gets_404_for_everything_of_the_account(self, client, stranger, urls):
        client.force_login(stranger)
        for method, url in urls:
            assert getattr(client, method)(url).status_code == 404, url
        assert Message.objects.count() == 1

    def test_sees_an_empty_inbox_and_no_account(self, client, stranger, urls, account):
        client.force_login(stranger)
        assert account.username not in page(client.get("/"))
        assert account.username not in page(client.get("/accounts/"))

    def test_and_whoever_is_not_logged_in_gets_the_login_page(self, client, urls):
        for method, url in urls:
            response = getattr(client, method)(url)
            assert response.status_code in (302, 401), url


@pytest.fixture
def opened(monkeypatch):
    """Counts every opening of a token."""
    from crypto.keyring import KeyRing

    calls = []
    decrypt = KeyRing.decrypt
    monkeypatch.setattr(KeyRing, "decrypt", lambda *a: calls.append(a) or decrypt(*a))
    return calls


def queries_of(client, url):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        page(client.get(url))
    return len(captured)


@pytest.mark.parametrize("url", ["/", "/updates", "/accounts/"])
def test_lists_cost_the_same_queries_for_ten_rows_and_a_thousand_and_open_no_token(
    member, user, opened, url
):
    def grow(start, end):
        accounts = Account.objects.bulk_create(
            Account(instagram_account_id=f"1784{n}", username=f"shop{n}", access_token="IGAAx")
            for n in range(start, end)
        )
        Membership.objects.bulk_create(Membership(user=user, account=a) for a in accounts)
        threads = Conversation.objects.bulk_create(
            Conversation(account=a, igsid="7", name=f"Customer {a.username}",
                         last_message_at=timezone.now())
            for a in accounts
        )  # fmt: skip
        Message.objects.bulk_create(
            Message(account_id=c.account_id, conversation=c, direction="in", status="received",
                    mid="m", text="Hello", timestamp=timezone.now(), due_at=None)
            for c in threads
        )  # fmt: skip

    grow(0, 10)
    member.get(url)
    few = queries_of(member, url)
    grow(10, 1000)
    assert queries_of(member, url) == few
    assert opened == []


class TestWhatTheThreadTells:
    @pytest.fixture
    def thread(self, account, client, user, post_webhook):
        """The page of the only conversation after these events."""

        def thread(*happened):
            post_webhook(events.body(*happened))
            work()
            client.force_login(user)
            return client.get(Conversation.objects.get().get_absolute_url()).content.decode()

        return thread

    def test_a_message_that_was_taken_back(self, thread, client):
        page = thread(events.message("m", "secret plans"), events.unsend("m", at=5))
        assert "took this message back" in page
        assert "secret plans" not in page
        assert "Message taken back" in client.get("/").content.decode()

    def test_an_edit_and_reactions(self, thread):
        page = thread(
            events.message("m", "tow cups"), events.edit("m", "two cups"), events.react("m", "😮")
        )
        assert "two cups" in page
        assert "tow cups" not in page
        assert ">edited<" in page
        assert "<span>😮</span>" in page

    def test_which_message_is_answered(self, thread):
        page = thread(
            events.echo("q", "Blue or red?"),
            events.message("a", "the first", at=5, reply_to={"mid": "q"}),
            events.message("b", "and this", at=6, reply_to={"mid": "never seen"}),
            events.message("c", "lovely", at=7, reply_to={"story": {"id": "1", "url": events.CDN}}),
        )
        assert "Answers: </span>Blue or red?" in page
        assert "Answers: </span>An earlier message" in page
        assert "Answers your story" in page

    def test_that_the_customer_has_read_it(self, thread, client):
        page = thread(events.echo("m", "Yes, it is", at=5))
        assert 'id="seen"></p>' in page
        page = thread(events.seen("m", at=60_000))
        assert "Seen 9 Oct, " in page
        thread(events.echo("n", "Anything else?", at=90_000))
        conversation = Conversation.objects.get()
        news = client.get(f"/conversations/{conversation.pk}/updates?after=1").content.decode()
        assert 'id="seen"></p>' in news

    def test_how_the_customer_came(self, thread):
        ad = {"source": "ADS", "ads_context_data": {"ad_title": "Spring sale"}}
        assert "came by the ad “Spring sale”" in thread(events.message("m", "Hi", referral=ad))

    def test_a_conversation_in_which_nothing_was_said_is_not_listed(self, account, thread, client):
        thread(events.seen("unknown"))
        assert "No messages yet" in client.get("/").content.decode()


def test_an_account_that_is_being_deleted_has_no_news(member, user, conversation):
    Conversation.objects.update(last_message_at=timezone.now())
    assert Conversation.objects.news(user)[0] == 1
    wish = DeletionRequest.objects.create()
    Account.objects.filter(pk=conversation.account_id).update(deletion=wish)
    assert Conversation.objects.news(user) == (0, 0, 0)
    assert Conversation.objects.news(user, conversation.account_id) == (0, 0, 0)
