"""Whoever loses the use of an account hears of it: on its pages, and by mail."""

from smtplib import SMTPRecipientsRefused

import pytest
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection, transaction
from django.utils import timezone

from accounts import connecting, notices
from accounts.models import Account, Membership, Role, User
from crypto import reset
from crypto.keyring import KeyRing, get_keyring
from crypto.models import Secret
from messaging import outbox
from messaging.models import Message
from tests.conftest import work

pytestmark = pytest.mark.django_db

LOST = KeyRing("another-S3cret-that-opens-nothing-here-99")
BY_HAND = "UPDATE accounts SET access_token_encrypted = NULL, token_expires_at = NULL;"


@pytest.fixture(autouse=True)
def mail_is_configured(settings):
    settings.EMAIL_IS_CONFIGURED = True


@pytest.fixture
def mara(user):
    user.email = "mara@shop.example"
    user.save()
    return user


@pytest.fixture
def another(user):
    """An account that `user` also answers for."""
    account = Account.objects.create(
        instagram_account_id="17841405309213999",
        username="sol.ceramics",
        access_token="IGAATestTokenThatOpensNothing00000000001",
    )
    Membership.objects.create(user=user, account=account)
    return account


@pytest.fixture
def lose(django_capture_on_commit_callbacks):
    """The secret is lost, and every token that it alone opened is cleared."""

    def lose(scope=None):
        with django_capture_on_commit_callbacks(execute=True):
            reset.clear(LOST, scope or reset.Scope(), lambda name: None)

    return lose


@pytest.fixture
def announce(django_capture_on_commit_callbacks):
    def announce():
        with django_capture_on_commit_callbacks(execute=True):
            reset.announce(LOST, reset.Scope())

    return announce


class TestPages:
    def test_the_account_is_disconnected_and_says_why(self, account, lose):
        account.note_problem(Account.Problem.UNREADABLE, "It cannot be opened.")
        Account.objects.update(token_issued_at=timezone.now())
        lose()
        account.refresh_from_db()
        assert account.status == Account.Status.DISCONNECTED
        assert (account.problem, account.token_issued_at, account.token_expires_at) == (
            "",
            None,
            None,
        )
        assert account.problem_reason.startswith(
            "This site had to forget the permission that Instagram gave. Reconnect"
        )
        assert account.problem_at is not None

    def test_one_that_was_kept_shows_nothing_of_it(self, account, another, lose):
        lose(reset.Scope(pks=frozenset([another.pk])))
        account.refresh_from_db()
        assert (account.status, account.problem_reason) == (Account.Status.CONNECTED, "")

    def test_one_that_has_a_token_again_is_left_alone(self, account):
        notices.tokens_cleared([account.pk])
        account.refresh_from_db()
        assert (account.status, account.problem_reason) == (Account.Status.CONNECTED, "")

    @pytest.mark.parametrize("way", ["reset", "by hand"])
    def test_its_owner_finds_reconnect_on_its_page_and_in_the_list(
        self, client, user, account, lose, way
    ):
        if way == "reset":
            lose()
        else:
            with connection.cursor() as cursor:
                cursor.execute(BY_HAND)
        client.force_login(user)
        for path in (account.get_absolute_url(), "/accounts/"):
            html = client.get(path).content.decode()
            assert "Disconnected" in html
            assert f'action="/accounts/{account.pk}/reconnect"' in html
            assert ">Reconnect<" in html
            assert ("had to forget the permission" in html) is (
                way == "reset" and path != "/accounts/"
            )

    def test_a_member_is_told_that_an_owner_can(self, client, stranger, account, lose):
        Membership.objects.create(user=stranger, account=account, role=Role.MEMBER)
        lose()
        client.force_login(stranger)
        for path in (account.get_absolute_url(), "/accounts/"):
            html = client.get(path).content.decode()
            assert f"/accounts/{account.pk}/reconnect" not in html
            assert "owner can reconnect" in html

    def test_what_works_offers_no_reconnect_in_the_list(self, client, user, account):
        client.force_login(user)
        assert "/reconnect" not in client.get("/accounts/").content.decode()

    def test_after_reconnecting_all_is_as_before_and_what_waited_is_sent(
        self, instagram, user, open_conversation, lose
    ):
        account = open_conversation.account
        outbox.queue_reply(open_conversation, "Yes, it is!")
        lose()
        work()
        assert Message.objects.get(direction="out").status == Message.Status.QUEUED
        Secret.objects.make_current(get_keyring().primary)  # As a start with it does.
        url = connecting.begin(user, "browser", account)
        connecting.finish(user, "browser", instagram.consent(url))
        account.refresh_from_db()
        assert (account.status, account.problem_reason, account.problem_at) == (
            Account.Status.CONNECTED,
            "",
            None,
        )
        work()
        assert Message.objects.get(direction="out").status == Message.Status.SENT


class TestMail:
    def test_a_member_gets_one_for_all_their_accounts(
        self, mara, account, another, lose, mailoutbox
    ):
        lose()
        [mail] = mailoutbox
        assert mail.to == ["mara@shop.example"]
        assert mail.subject == "Please reconnect 2 Instagram accounts"
        assert "\n  @luna.ceramics\n  @sol.ceramics (an owner has to reconnect it)\n" in mail.body
        assert "\n  http://127.0.0.1:8000/accounts/\n" in mail.body
        assert mail.content_subtype == "plain"

    def test_a_single_one_stands_in_the_subject(self, mara, account, lose, mailoutbox):
        lose()
        assert mailoutbox[0].subject == "Please reconnect @luna.ceramics"

    def test_each_member_reads_of_their_own_accounts_only(
        self, mara, stranger, account, another, lose, mailoutbox
    ):
        User.objects.filter(pk=stranger.pk).update(email="otto@shop.example")
        Membership.objects.create(user=stranger, account=account)
        lose()
        texts = {mail.to[0]: mail.body for mail in mailoutbox}
        assert len(mailoutbox) == 2
        assert set(texts) == {"mara@shop.example", "otto@shop.example"}
        assert "@sol.ceramics" not in texts["otto@shop.example"]

    def test_of_an_account_that_was_kept_nothing_is_said(
        self, mara, account, another, lose, mailoutbox
    ):
        lose(reset.Scope(pks=frozenset([another.pk])))
        assert "@luna.ceramics" not in mailoutbox[0].body

    @pytest.mark.parametrize("field", [{"email": ""}, {"is_active": False}])
    def test_who_has_no_address_or_no_login_gets_none(self, mara, account, lose, mailoutbox, field):
        User.objects.update(**field)
        lose()
        assert mailoutbox == []

    def test_a_site_without_a_mail_server_sends_none(
        self, mara, account, lose, mailoutbox, settings
    ):
        settings.EMAIL_IS_CONFIGURED = False
        lose()
        assert mailoutbox == []
        assert Account.objects.get().problem_reason

    def test_it_goes_out_only_once_the_tokens_are_gone(
        self, mara, account, mailoutbox, django_capture_on_commit_callbacks
    ):
        with django_capture_on_commit_callbacks(execute=True) as waiting:
            with transaction.atomic():
                reset.clear(LOST, reset.Scope(), lambda name: None)
                transaction.set_rollback(True)
            assert mailoutbox == []
        assert waiting == []
        assert mailoutbox == []
        assert Account.objects.get().access_token is not None

    def test_announced_beforehand_it_changes_nothing(self, mara, account, announce, mailoutbox):
        before = Account.objects.values().get()
        before["access_token"] = account.access_token.ciphertext
        announce()
        after = Account.objects.values().get()
        after["access_token"] = after["access_token"].ciphertext
        assert after == before
        [mail] = mailoutbox
        assert mail.subject == "Soon to be reconnected: @luna.ceramics"
        assert "Nothing needs to be done yet" in mail.body
        assert "\n  @luna.ceramics\n" in mail.body

    def test_names_reach_it_as_they_are(self, mara, account, lose, mailoutbox):
        User.objects.update(username="mara & <co>")
        lose()
        assert mailoutbox[0].body.startswith("Hello mara & <co>,")

    def test_no_secret_or_token_stands_in_it(self, mara, account, lose, mailoutbox):
        ciphertext, token = account.access_token.ciphertext, account.access_token.reveal()
        lose()
        assert ciphertext not in mailoutbox[0].body
        assert token not in mailoutbox[0].body
        assert get_keyring().primary.fingerprint not in mailoutbox[0].body


class TestMailThatFails:
    @pytest.fixture
    def otto(self, stranger, account):
        User.objects.filter(pk=stranger.pk).update(email="otto@shop.example")
        Membership.objects.create(user=stranger, account=account)
        return stranger

    def test_a_server_that_is_down_is_logged_and_the_reset_stands(
        self, mara, otto, account, lose, monkeypatch, caplog
    ):
        def refuse(self):
            raise ConnectionRefusedError("Connection refused")

        monkeypatch.setattr(EmailBackend, "open", refuse)
        lose()
        assert Account.objects.get().access_token is None
        assert "2 users could not be told by mail: Connection refused" in caplog.text

    def test_one_address_that_is_refused_does_not_keep_the_others(
        self, mara, otto, account, lose, monkeypatch, caplog, mailoutbox
    ):
        send = EmailBackend.send_messages

        def refuse_mara(self, mails):
            if mails[0].to == ["mara@shop.example"]:
                raise SMTPRecipientsRefused({"mara@shop.example": (550, b"no such user")})
            return send(self, mails)

        monkeypatch.setattr(EmailBackend, "send_messages", refuse_mara)
        lose()
        assert [mail.to for mail in mailoutbox] == [["otto@shop.example"]]
        assert f"user {mara.pk} could not be told by mail: SMTPRecipientsRefused" in caplog.text
        assert "mara@shop.example" not in caplog.text
