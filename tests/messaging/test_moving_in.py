"""Moving in: what the predecessor's file holds, brought here by `import_predecessor`."""

import base64
import hmac
import io
import json
import sqlite3
import subprocess
import sys
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from accounts.models import Account, Membership, Role, User
from crypto.commands import Exit
from crypto.keyring import KeyRing, derive
from crypto.models import Secret, SecurityEvent
from messaging import endpoints, inbound, media, moving_in, signatures
from messaging.events import mid_digest
from messaging.models import (
    Attachment,
    Conversation,
    CrmEndpoint,
    Delivery,
    FileToDelete,
    HistorySync,
    Message,
    SenderAction,
)

from ..conftest import work
from ..environment import child_environment
from ..waiting import A_WHILE
from .predecessor import ACCOUNT, CUSTOMER, OWN, PNG, TOKEN, Predecessor, encrypt

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parent.parent.parent
OTHER_ACCOUNT, OTHER_OWN = "acc_ffffffffffff", "17841400000000802"


@pytest.fixture
def old(tmp_path):
    """A file with one user and one account."""
    old = Predecessor(tmp_path / "old")
    old.user(1, "lena")
    old.account(users=(1,))
    yield old
    old.close()


def move_in(old, *options: str, code: int = 0) -> dict:
    """What the command reports, as JSON."""
    out = io.StringIO()
    expected = pytest.raises(SystemExit) if code else nullcontext()
    with expected as caught:
        call_command("import_predecessor", str(old.path), "--json", *options, stdout=out)
    assert (caught.value.code if code else 0) == code
    return json.loads(out.getvalue())


def refusal(*arguments: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        call_command("import_predecessor", *map(str, arguments), stdout=io.StringIO())
    return caught.value


def reasons(report: dict) -> dict[str, str]:
    return {one["what"]: one["reason"] for one in report["left"]}


def logs_in(username: str, password: str) -> bool:
    answer = Client().post("/login", {"username": username, "password": password})
    return answer.status_code == 302


def everything() -> dict[str, list]:
    """All that moving in writes, but for when it did."""
    models = [
        User,
        Account,
        Membership,
        CrmEndpoint,
        Conversation,
        Message,
        Attachment,
        FileToDelete,
    ]
    rows = {model.__name__: list(model.objects.order_by("pk").values()) for model in models}
    for row in rows["Account"]:
        row["access_token"] = row["access_token"].ciphertext
    for row in rows["CrmEndpoint"]:
        row["secret"] = row["secret"] and row["secret"].ciphertext
    return rows


class TestUsers:
    def test_log_in_with_their_passwords_which_are_hashed_anew_then(self, old, settings):
        settings.PASSWORD_HASHERS = [
            "django.contrib.auth.hashers.PBKDF2PasswordHasher",
            "django.contrib.auth.hashers.BCryptPasswordHasher",
        ]
        move_in(old)
        assert User.objects.get().password.startswith("bcrypt$$2b$")
        assert logs_in("lena", "correct horse 41")
        assert User.objects.get().password.startswith("pbkdf2_sha256$")
        assert logs_in("lena", "correct horse 41")

    def test_the_site_takes_bcrypt_and_prefers_its_own(self):
        from instamsg import settings

        first, *others = settings.PASSWORD_HASHERS
        assert first.endswith(".PBKDF2PasswordHasher")
        assert [one.rpartition(".")[2] for one in others] == ["BCryptPasswordHasher"]

    def test_whose_hash_is_unknown_need_a_new_password(self, old):
        old.user(2, "odd", password_hash="md5$abc")
        report = move_in(old, code=Exit.PARTLY)
        assert not User.objects.get(username="odd").has_usable_password()
        assert "changepassword" in reasons(report)["passwords"]

    def test_who_is_switched_off_stays_so(self, old):
        old.user(2, "gone", is_active=0)
        move_in(old)
        assert not User.objects.get(username="gone").is_active

    def test_whom_nobody_may_know_are_named(self, old):
        old.user(2, "stranger")
        assert "stranger (1 in all)" in move_in(old)["to_do"][0]

    def test_of_a_name_that_is_here_keep_what_they_have(self, old):
        mine = User.objects.create_user("lena", password="another one 43")
        report = move_in(old)
        assert report["moved"]["users"] == {"new": 0, "here": 1}
        assert User.objects.get().password == mine.password
        assert Account.objects.get().is_owned_by(mine)


class TestAccounts:
    def test_keep_their_id_and_their_ciphertext(self, old):
        ciphertext = encrypt(TOKEN)
        old.db.execute("UPDATE accounts SET access_token_encrypted = ?", [ciphertext])
        old.db.execute("UPDATE accounts SET token_expires_at = '2026-12-24 10:00:00'")
        move_in(old)
        account = Account.objects.get()
        assert account.pk == ACCOUNT
        assert account.access_token.ciphertext == ciphertext
        assert account.access_token.reveal() == TOKEN
        assert account.token_expires_at == datetime(2026, 12, 24, 10, tzinfo=UTC)
        assert account.linked_at == datetime(2025, 3, 1, 9, 0, 0, 123456, tzinfo=UTC)

    def test_belong_to_all_who_were_linked_to_them(self, old):
        old.user(2, "nils")
        old.add("user_accounts", user_id=2, account_id=ACCOUNT)
        move_in(old)
        roles = Membership.objects.values_list("user__username", "role")
        assert set(roles) == {("lena", Role.OWNER), ("nils", Role.OWNER)}

    def test_a_link_to_nobody_is_named(self, old):
        old.add("user_accounts", user_id=77, account_id=ACCOUNT)
        old.add("user_accounts", user_id=1, account_id="acc_gone")
        report = move_in(old, code=Exit.PARTLY)
        assert {one["reason"] for one in report["left"]} == {
            "their user is not in the file",
            "their account is not in the file",
        }

    def test_an_account_of_nobody_is_named(self, old):
        old.account(OTHER_ACCOUNT, OTHER_OWN)
        report = move_in(old)
        assert OTHER_ACCOUNT in report["to_do"][0]

    def test_the_channel_id_routes_where_there_is_one(self, old):
        old.account(OTHER_ACCOUNT, "260011", users=(1,), messaging_channel_id=OTHER_OWN)
        old.message("m1", account_id=None, recipient_id=OTHER_OWN)
        old.message("m2", account_id=None, recipient_id="260011")
        move_in(old)
        account = Account.objects.get(pk=OTHER_ACCOUNT)
        assert (account.instagram_account_id, account.app_scoped_id) == (OTHER_OWN, "260011")
        assert account.messages.count() == 2

    def test_else_instagram_is_asked_when_the_id_is_of_another_kind(self, old, connected):
        token = connected.access_token.ciphertext
        known = connected.instagram_account_id, connected.app_scoped_id
        Account.objects.all().delete()
        old.account(OTHER_ACCOUNT, known[1], users=(1,), access_token_encrypted=token)
        move_in(old)
        account = Account.objects.get(pk=OTHER_ACCOUNT)
        assert (account.instagram_account_id, account.app_scoped_id) == known

    def test_or_the_report_says_that_it_did_not_tell(self, old):
        old.account(OTHER_ACCOUNT, "260011", users=(1,))
        report = move_in(old, code=Exit.PARTLY)
        assert Account.objects.get(pk=OTHER_ACCOUNT).instagram_account_id == "260011"
        assert "delete it here and run this again" in reasons(report)["routing ids"]

    def test_one_that_was_connected_here_meanwhile_stays_and_gets_the_messages(self, old, account):
        before = Account.objects.values().get()
        old.account(
            OTHER_ACCOUNT, account.instagram_account_id, users=(1,), access_token_encrypted="gAAAA"
        )
        old.message("m1", recipient_id=account.instagram_account_id, account_id=OTHER_ACCOUNT)
        report = move_in(old, code=Exit.PARTLY)
        after = Account.objects.filter(pk=account.pk).values().get()
        assert after["access_token"].ciphertext == before["access_token"].ciphertext
        assert account.messages.get().mid == "m1"
        assert account.memberships.count() == 1
        assert account.pk in report["to_do"][0]
        assert "an owner invites them" in reasons(report)["members"]

    def test_that_they_came_is_recorded(self, old):
        move_in(old)
        event = SecurityEvent.objects.get(kind=SecurityEvent.Kind.CONNECTED)
        assert event.details == {"moved_in": True}

    def test_instagram_is_asked_for_what_the_predecessor_lost(self, old):
        move_in(old)
        assert HistorySync.objects.get().account_id == ACCOUNT

    def test_what_came_for_them_before_is_shown(self, old, deliver):
        deliver("text")
        work()
        assert not Message.objects.exists()
        old.db.execute("UPDATE accounts SET instagram_account_id = '17841405309213877'")
        move_in(old)
        work()
        assert Message.objects.get().account_id == ACCOUNT


class TestForwarding:
    URL = "https://crm.example.com/hook"

    @pytest.fixture
    def forwarding(self, old):
        sealed = encrypt("a secret of the CRM's own")
        old.db.execute(
            "UPDATE accounts SET crm_webhook_url = ?, webhook_secret = ?", [self.URL, sealed]
        )
        return sealed

    def test_comes_along_and_waits_for_an_owner(self, old, forwarding):
        old.message("m1")
        report = move_in(old)
        endpoint = CrmEndpoint.objects.get()
        assert (endpoint.url, endpoint.secret.ciphertext) == (self.URL, forwarding)
        assert endpoint.secrets() == ["a secret of the CRM's own"]
        assert not endpoint.is_enabled
        assert "switches it on" in report["to_do"][0]
        assert not Delivery.objects.exists()

    def test_tells_nothing_of_what_moves_in_although_it_is_on(self, old, forwarding):
        move_in(old)
        endpoints.enable(CrmEndpoint.objects.get())
        old.message("m1")
        move_in(old)
        assert Message.objects.exists()
        assert not Delivery.objects.exists()

    def test_signs_with_a_secret_of_any_form(self, old, forwarding):
        body = b"{}"
        for secret in ("a secret of the CRM's own", "whsec_no base64"):
            key = secret.encode()
            signed = hmac.digest(key, b"evt_1.7." + body, "sha256")
            found = signatures.headers([secret], "evt_1", 7, body)
            assert found["webhook-signature"] == "v1," + base64.b64encode(signed).decode()
            digest = hmac.digest(key, body, "sha256").hex()
            assert found["X-Hub-Signature-256"] == f"sha256={digest}"

    def test_to_an_address_that_cannot_be_used_is_named(self, old, forwarding):
        old.db.execute("UPDATE accounts SET crm_webhook_url = 'ftp://crm.example.com'")
        report = move_in(old, code=Exit.PARTLY)
        assert "cannot be used" in reasons(report)["CRM addresses"]

    def test_that_was_deleted_here_does_not_return(self, old, forwarding):
        move_in(old)
        endpoints.delete(CrmEndpoint.objects.get())
        work()
        move_in(old)
        assert not CrmEndpoint.objects.exists()

    def test_without_a_readable_secret_is_proven_with_the_rest(self, old, forwarding):
        old.db.execute("UPDATE accounts SET webhook_secret = 'odd'")
        report = move_in(old, code=Exit.PARTLY)
        assert report["left"][0]["examples"] == [f"webhook_secret of {ACCOUNT}"]
        assert CrmEndpoint.objects.get().secret.ciphertext == "odd"


class TestTheSecret:
    def test_is_proven_before_anything_is_written(self, old):
        foreign = encrypt(TOKEN, "Another-0ne-that-nobody-here-has-ever-seen")
        old.db.execute("UPDATE accounts SET access_token_encrypted = ?", [foreign])
        error = refusal(old.path)
        assert error.returncode == Exit.UNREADABLE
        assert "predecessor's SESSION_SECRET" in str(error)
        assert "SESSION_SECRET_FALLBACKS" in str(error)
        assert not User.objects.exists()

    def test_a_fallback_opens_too(self, old, settings):
        settings.KEYRING = KeyRing(
            "Quite-a-new-0ne-of-this-site-for-the-test",
            ["Tests-0nly-secret-never-used-anywhere-else"],
        )
        move_in(old)
        assert Account.objects.get().access_token.reveal() == TOKEN

    def test_a_single_unreadable_value_comes_along_as_it_is(self, old):
        old.account(OTHER_ACCOUNT, OTHER_OWN, users=(1,), access_token_encrypted="gAAAAAodd")
        report = move_in(old, code=Exit.PARTLY)
        assert Account.objects.get(pk=OTHER_ACCOUNT).access_token.ciphertext == "gAAAAAodd"
        (left,) = report["left"]
        assert left["examples"] == [f"access_token_encrypted of {OTHER_ACCOUNT}"]

    def test_without_one_nothing_begins(self, old, settings):
        settings.KEYRING = KeyRing(None)
        assert refusal(old.path).returncode == Exit.NOT_CONFIGURED

    def test_one_from_before_a_rotation_stores_nothing(self, old):
        Secret.objects.make_current(derive("Tests-0nly-secret-never-used-anywhere-else"))
        Secret.objects.make_current(derive("Quite-a-new-0ne-of-this-site-for-the-test"))
        assert "rotated to another SESSION_SECRET" in str(refusal(old.path))
        assert not User.objects.exists()

    def test_an_emptied_token_makes_a_disconnected_account(self, old):
        old.db.execute("UPDATE accounts SET access_token_encrypted = ''")
        move_in(old)
        assert Account.objects.get().status == Account.Status.DISCONNECTED


class TestMessages:
    def test_make_conversations_that_say_who_wrote(self, old):
        old.message("m1", "Is the blue one there?")
        old.message("m2", "It is.", out=True, timestamp="2025-04-01T10:01:00")
        old.add("instagram_profiles", sender_id=CUSTOMER, username="mila.tests")
        move_in(old)
        conversation = Conversation.objects.get()
        assert (conversation.account_id, conversation.igsid) == (ACCOUNT, CUSTOMER)
        assert conversation.username == "mila.tests"
        assert conversation.last_inbound_at == datetime(2025, 4, 1, 10, tzinfo=UTC)
        assert conversation.last_message_at == datetime(2025, 4, 1, 10, 1, tzinfo=UTC)
        asked, answered = conversation.messages.all()
        assert (asked.mid, asked.text, asked.status) == ("m1", "Is the blue one there?", "received")
        assert (answered.direction, answered.status) == ("out", "sent")
        assert bytes(asked.mid_digest) == mid_digest(OWN, "m1")

    def test_are_no_news_to_anybody(self, old, mailoutbox):
        old.message("m1", timestamp=timezone.now().isoformat())
        move_in(old)
        work()
        assert not Conversation.objects.get().is_unread
        assert not SenderAction.objects.exists()
        assert mailoutbox == []

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("2026-01-12 10:20:30.123456", datetime(2026, 1, 12, 10, 20, 30, 123456, UTC)),
            ("2026-01-12 10:20:30", datetime(2026, 1, 12, 10, 20, 30, tzinfo=UTC)),
            ("2026-01-12T10:20:30.5", datetime(2026, 1, 12, 10, 20, 30, 500000, UTC)),
            ("2026-01-12T10:20:30Z", datetime(2026, 1, 12, 10, 20, 30, tzinfo=UTC)),
            ("2026-01-12T12:20:30+02:00", datetime(2026, 1, 12, 10, 20, 30, tzinfo=UTC)),
        ],
    )  # fmt: skip
    def test_times_are_utc_however_they_are_written(self, old, written, meant):
        old.message("m1", timestamp=written)
        move_in(old)
        assert Message.objects.get().timestamp == meant

    def test_the_time_of_storing_stands_in_for_one_that_is_none(self, old):
        old.message("m1", timestamp="soon", created_at="2026-01-12 10:20:30")
        old.message("m2", timestamp=None)
        report = move_in(old, code=Exit.PARTLY)
        assert Message.objects.get().timestamp.hour == 10
        assert reasons(report) == {"messages": "they have no time that can be read"}

    def test_belong_to_the_account_that_their_ids_name(self, old):
        old.account(OTHER_ACCOUNT, OTHER_OWN, users=(1,))
        old.message("m1", account_id=None)
        old.message("m2", account_id="acc_unknown")
        old.message("m3", account_id=OTHER_ACCOUNT)  # Given to whichever account there was.
        move_in(old)
        assert set(Account.objects.get(pk=ACCOUNT).messages.values_list("mid", flat=True)) == {
            "m1", "m2", "m3",
        }  # fmt: skip

    def test_between_two_accounts_the_direction_tells_whose_copy_it_is(self, old):
        old.account(OTHER_ACCOUNT, OTHER_OWN, users=(1,))
        old.message("m1", sender_id=OTHER_OWN)
        old.message("m2", sender_id=OTHER_OWN, recipient_id=OWN, out=True, account_id=OTHER_ACCOUNT)
        move_in(old)
        found = Message.objects.values_list("mid", "account_id", "direction")
        assert set(found) == {("m1", ACCOUNT, "in"), ("m2", OTHER_ACCOUNT, "out")}

    def test_of_no_account_or_from_nobody_stay_behind_and_are_named(self, old):
        old.message("m1", account_id=None, recipient_id="5", sender_id="6")
        old.message("m2", sender_id=None)
        old.message("m3", sender_id=OWN)
        report = move_in(old, code=Exit.PARTLY)
        assert not Message.objects.exists()
        assert {one["reason"]: one["examples"] for one in report["left"]} == {
            "they belong to no account of the file": ["m1"],
            "they do not say who the customer is": ["m2"],
            "both sides are the account itself": ["m3"],
        }

    def test_what_no_database_takes_is_replaced(self, old):
        old.message("m1", "a\x00b")
        old.db.execute("UPDATE messages SET message_text = CAST(x'61ff62' AS TEXT) WHERE id = 'm1'")
        old.message("m2", "c\x00d")
        move_in(old)
        assert set(Message.objects.values_list("text", flat=True)) == {"a\ufffdb", "c\ufffdd"}

    def test_a_stop_of_the_customer_holds_here(self, old):
        old.message("m1", "STOP")
        move_in(old)
        assert Conversation.objects.get().has_opted_out

    def test_what_is_here_knows_more_than_the_file(self, old, account, deliver):
        body = deliver("image")
        inbound.process.run()
        mid = body["entry"][0]["messaging"][0]["message"]["mid"]
        Message.objects.update(context={"read_back": True})
        before = Message.objects.values().get(), Attachment.objects.values().get()
        old.account(OTHER_ACCOUNT, account.instagram_account_id, users=(1,))
        sender = Conversation.objects.get().igsid
        old.message(mid, "?", sender_id=sender, recipient_id=account.instagram_account_id)
        move_in(old)
        assert (Message.objects.values().get(), Attachment.objects.values().get()) == before

    def test_one_that_was_taken_back_here_does_not_return(self, old, account):
        old.account(OTHER_ACCOUNT, account.instagram_account_id, users=(1,))
        conversation = Conversation.objects.create(account=account, igsid=CUSTOMER)
        Message.objects.create(
            account=account, conversation=conversation, direction="in", status="received",
            mid="m1", mid_digest=mid_digest(account.instagram_account_id, "m1"),
            timestamp=timezone.now(), unsent_at=timezone.now(), due_at=None,
        )  # fmt: skip
        old.message("m1", "secret", recipient_id=account.instagram_account_id)
        old.attachment("m1")
        report = move_in(old)
        assert Message.objects.get().text == ""
        assert not Attachment.objects.exists()
        assert report["moved"]["attachments"]["here"] == 1


class TestWhatWasSentThroughTheApi:
    def test_keeps_its_id_and_is_one_with_its_echo(self, old):
        old.sent("msg_0123456789ab", "Gladly", mid="m2")
        old.message("m2", "Gladly", out=True, timestamp="2025-04-01 10:05:01.250000")
        move_in(old)
        message = Message.objects.get()
        assert (message.public_id, message.mid) == ("msg_0123456789ab", "m2")
        assert message.status == "sent"
        assert message.is_from_here
        assert message.timestamp.microsecond == 250000

    def test_comes_along_although_its_echo_was_lost(self, old):
        old.sent("msg_0123456789ab", mid="m2")
        move_in(old)
        assert Message.objects.get().timestamp == datetime(2025, 4, 1, 10, 5, 0, 500000, UTC)
        assert Conversation.objects.get().last_message_at == Message.objects.get().timestamp

    def test_a_mid_that_another_account_has_is_another_message(self, old):
        old.account(OTHER_ACCOUNT, OTHER_OWN, users=(1,))
        old.sent("msg_0123456789ab", "Gladly", mid="m2", account_id=OTHER_ACCOUNT)
        old.message("m2", "Hello", out=True)
        report = move_in(old)
        found = Message.objects.values_list("account_id", "mid", "text")
        assert set(found) == {(OTHER_ACCOUNT, "m2", "Gladly"), (ACCOUNT, "m2", "Hello")}
        assert report["moved"]["messages"]["new"] == 1

    def test_what_was_pending_is_not_sent_now(self, old, instagram):
        old.sent("msg_0123456789ab", "Old news")
        move_in(old)
        work()
        message = Message.objects.get()
        assert message.status == "unconfirmed"
        assert "predecessor" in message.error
        assert message.due_at is None
        assert instagram.sent_by_api() == []

    def test_what_was_pending_is_sent_once_its_echo_says_so(self, old):
        old.sent("msg_0123456789ab", "Gladly")
        old.message("m2", "Gladly", out=True, timestamp="2025-04-01 10:05:03")
        move_in(old)
        message = Message.objects.get()
        assert (message.public_id, message.mid, message.status) == (
            "msg_0123456789ab",
            "m2",
            "sent",
        )

    def test_what_failed_says_why(self, old):
        old.sent("msg_0123456789ab", status="failed", error_message="No such user.")
        move_in(old)
        message = Message.objects.get()
        assert message.status == "failed"
        assert message.error == "The predecessor could not send it. No such user."

    def test_what_a_restart_called_failed_may_have_arrived(self, old):
        old.sent("msg_0123456789ab", status="failed", error_code="server_restart")
        move_in(old)
        assert Message.objects.get().status == "unconfirmed"

    def test_a_message_that_failed_beside_the_api_is_no_sent_one(self, old):
        old.message("msg_ffff00001111", "Hm", out=True, delivery_status="failed")
        move_in(old)
        message = Message.objects.get()
        assert (message.public_id, message.mid, message.status) == (
            "msg_ffff00001111",
            "",
            "failed",
        )


class TestFiles:
    def test_lie_under_new_names_with_the_type_that_they_are(self, old):
        old.message("m1", None)
        old.attachment("m1", media_mime_type="text/html")
        move_in(old)
        one = Attachment.objects.get()
        assert (one.state, one.content_type) == ("stored", "image/png")
        assert one.file.name.endswith(".png")
        assert "m1" not in one.file.name
        with default_storage.open(one.file.name) as file:
            assert file.read() == PNG
        assert (old.media / "attachments" / "m1_0.jpg").exists()
        assert not FileToDelete.objects.exists()

    def test_are_seen_by_members_alone(self, old, client, stranger):
        old.message("m1", None)
        old.attachment("m1")
        move_in(old)
        url = Attachment.objects.get().get_absolute_url()
        client.force_login(stranger, backend="django.contrib.auth.backends.ModelBackend")
        assert client.get(url).status_code == 404
        client.force_login(
            User.objects.get(username="lena"), backend="django.contrib.auth.backends.ModelBackend"
        )
        assert b"".join(client.get(url)) == PNG

    def test_of_stories_and_posts_are_not_taken_along(self, old):
        old.message("m1", None)
        old.attachment("m1", "story_mention")
        old.attachment("m1", "share", n=1, media_url="https://www.instagram.com/p/abc/")
        report = move_in(old)
        assert {one.state for one in Attachment.objects.all()} == {"not_kept"}
        assert not Attachment.objects.exclude(file="").exists()
        assert "work of others" in reasons(report)["files"]

    def test_that_are_missing_leave_a_placeholder(self, old):
        old.message("m1", None)
        old.attachment("m1", data=None)
        report = move_in(old, code=Exit.PARTLY)
        assert Attachment.objects.get().state == "unavailable"
        assert reasons(report)["files"] == "their file is not in the media folder"

    def test_that_are_missing_are_fetched_while_instagrams_link_works(self, old):
        old.message("m1", None, timestamp=timezone.now().isoformat())
        old.attachment("m1", data=None, media_url="https://lookaside.fbsbx.com/x")
        report = move_in(old)
        assert Attachment.objects.get().state == "pending"
        assert report["moved"]["files"]["to fetch"] == 1

    @pytest.mark.parametrize(
        "path",
        ["media/../../secret.txt", "../secret.txt", "/etc/hostname", "media/attachments/link"],
    )
    def test_outside_of_the_folder_are_refused(self, old, path):
        (old.path.parent.parent / "secret.txt").write_bytes(PNG)
        (old.path.parent / "secret.txt").write_bytes(PNG)
        (old.media / "attachments" / "link").symlink_to(old.path.parent / "secret.txt")
        old.message("m1", None)
        old.attachment("m1", media_url_local=path)
        report = move_in(old, code=Exit.PARTLY)
        assert Attachment.objects.get().file.name == ""
        assert "out of the media folder" in reasons(report)["files"]

    @pytest.mark.parametrize(
        "path",
        [
            "/opt/dm/media/attachments/m1_0.jpg",
            "attachments/m1_0.jpg",
            "media\\attachments\\m1_0.jpg",
            "https://dm.shop.example/media/attachments/m1_0",
            None,
        ],
    )
    def test_are_found_however_their_path_is_told(self, old, tmp_path, path):
        old.message("m1", None)
        old.attachment("m1", media_url_local=path)
        old.media.rename(tmp_path / "elsewhere")
        move_in(old, "--media", str(tmp_path / "elsewhere"))
        assert Attachment.objects.get().state == "stored"

    def test_that_are_web_pages_or_too_large_are_left(self, old, monkeypatch):
        monkeypatch.setattr(media, "MAX_BYTES", 1000)
        old.message("m1", None)
        old.attachment("m1", data=b"<!doctype html><html>", n=0)
        old.attachment("m1", data=PNG * 100, n=1)
        report = move_in(old, code=Exit.PARTLY)
        assert {one.state for one in Attachment.objects.all()} == {"unavailable"}
        assert len(report["left"]) == 2

    def test_of_no_message_are_named(self, old):
        old.attachment("m9")
        report = move_in(old, code=Exit.PARTLY)
        assert reasons(report)["attachments"].startswith("their message is not in the file")

    def test_many_are_stored_some_at_a_time(self, old, monkeypatch):
        monkeypatch.setattr(moving_in.files, "AT_ONCE", 100)
        old.message("m1", None)
        for n in range(7):
            old.attachment("m1", n=n)
        move_in(old)
        assert Attachment.objects.filter(state="stored").count() == 7


@pytest.fixture
def full(old, tmp_path):
    """One of everything, the odd ones included."""
    old.user(2, "nils", password_hash="odd")
    old.account(OTHER_ACCOUNT, OTHER_OWN, users=(2,), access_token_encrypted="odd")
    for n in range(30):
        old.message(f"m{n}", f"No. {n}", sender_id=f"88{n % 4}")
    old.message("m98", sender_id=None)
    old.db.execute("UPDATE accounts SET crm_webhook_url = 'https://crm.example.com/hook'")
    old.sent("msg_0123456789ab", "Gladly", mid="m99")
    old.message("m99", "Gladly", out=True)
    old.sent("msg_0123456789ac", "Pending")
    old.attachment("m1")
    old.attachment("m2", data=None)
    old.attachment("m3", "ig_story")
    old.add("api_keys", id="k", user_id=1, key_hash="x")
    old.add("oauth_states", state="s", user_id=1)
    return old


class TestTheCommand:
    def test_run_again_adds_and_changes_nothing(self, full):
        move_in(full, code=Exit.PARTLY)
        before = everything()
        report = move_in(full, code=Exit.PARTLY)
        assert everything() == before
        assert {
            thing: counter["new"] for thing, counter in report["moved"].items()
        } == dict.fromkeys(report["moved"], 0)

    def test_run_again_brings_what_came_meanwhile(self, full):
        move_in(full, code=Exit.PARTLY)
        full.message("m50", "And now?", sender_id="881")
        assert move_in(full, code=Exit.PARTLY)["moved"]["messages"]["new"] == 1

    def test_a_dry_run_reports_the_same_and_writes_nothing(self, full):
        before = everything()
        dry = move_in(full, "--dry-run", code=Exit.PARTLY)
        assert everything() == before
        assert not SecurityEvent.objects.exists()
        wet = move_in(full, code=Exit.PARTLY)
        assert dry.pop("dry_run") is True
        assert wet.pop("dry_run") is False
        assert dry == wet

    def test_broken_off_it_can_be_run_again(self, full, monkeypatch):
        monkeypatch.setattr(moving_in.source, "BATCH", 10)
        project, calls = moving_in.messages.projection.project, []

        def break_off(told):
            calls.append(told)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return project(told)

        monkeypatch.setattr(moving_in.messages.projection, "project", break_off)
        error = refusal(full.path)
        assert error.returncode == Exit.PARTLY
        assert 0 < Message.objects.count() < 33
        monkeypatch.undo()
        move_in(full, code=Exit.PARTLY)
        assert Message.objects.count() == 32

    def test_the_file_stays_as_it_was(self, full):
        before = full.path.read_bytes()
        move_in(full, code=Exit.PARTLY)
        assert full.path.read_bytes() == before

    def test_what_still_stands_in_the_wal_comes_along(self, old):
        old.db.execute("PRAGMA journal_mode = WAL")
        old.message("m1")
        assert old.path.with_name("instagram_automation.db-wal").stat().st_size
        move_in(old)
        assert Message.objects.get().mid == "m1"

    def test_says_what_does_not_come_along_and_why(self, full):
        report = move_in(full, code=Exit.PARTLY)
        assert "make new ones" in reasons(report)["API keys"]
        losses = {one["what"] for one in report["left"] if one["is_loss"]}
        assert losses == {"encrypted values", "passwords", "messages", "files"}

    def test_people_read_the_same_in_lines(self, full):
        out = io.StringIO()
        with pytest.raises(SystemExit):
            call_command("import_predecessor", str(full.path), "--dry-run", stdout=out)
        lines = out.getvalue().splitlines()
        assert "messages: 30 would be new, 1 here already" in lines
        assert "  messages (1), they do not say who the customer is: m98" in lines
        assert lines[-1] == "Nothing was changed."

    def test_tells_nothing_secret(self, full):
        out = io.StringIO()
        with pytest.raises(SystemExit):
            call_command("import_predecessor", str(full.path), stdout=out)
        for secret in (TOKEN, "gAAAA", "No. 3", "$2b$"):
            assert secret not in out.getvalue()


class TestOtherFiles:
    def test_a_missing_one_is_wrong_usage(self, tmp_path):
        assert refusal(tmp_path / "nothing.db").returncode == Exit.USAGE

    def test_one_that_is_no_database_is_refused(self, tmp_path):
        (tmp_path / "a.db").write_bytes(b"no database " * 1000)
        assert "cannot be read as a SQLite database" in str(refusal(tmp_path / "a.db"))

    def test_a_damaged_one_is_refused(self, old):
        for n in range(2000):
            old.message(f"m{n}", "x" * 100)
        old.close()
        data = bytearray(old.path.read_bytes())
        data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
        old.path.write_bytes(data)
        error = refusal(old.path)
        assert "cannot be read" in str(error)
        assert "Nothing was changed" in str(error)
        assert not User.objects.exists()

    def test_of_another_program_it_is_refused(self, tmp_path):
        db = sqlite3.connect(tmp_path / "a.db")
        db.execute("CREATE TABLE users (id)")
        db.close()
        assert "not the predecessor's database" in str(refusal(tmp_path / "a.db"))

    def test_of_our_own_it_is_refused(self, old):
        old.db.execute("CREATE TABLE django_migrations (id)")
        assert "database of InstaMsg" in str(refusal(old.path))

    def test_of_an_older_predecessor_it_is_read_as_far_as_it_goes(self, old):
        old.db.executescript(
            "DROP TABLE crm_outbound_messages; DROP TABLE instagram_profiles; "
            "DROP TABLE message_attachments; ALTER TABLE messages DROP COLUMN error_code; "
            "ALTER TABLE accounts DROP COLUMN conversations_api_id;"
        )
        old.message("m1")
        move_in(old)
        assert Message.objects.get().mid == "m1"


@pytest.mark.processes
def test_migrate_over_its_file_names_the_command_in_place_of_a_table_that_exists(old):
    old.close()
    found = subprocess.run(
        [sys.executable, "manage.py", "migrate"],
        cwd=ROOT,
        env=child_environment(DATABASE_URL=f"sqlite:///{old.path}"),
        capture_output=True,
        text=True,
        timeout=A_WHILE,
    )
    assert found.returncode == Exit.FAILED
    assert f"{old.path} is the predecessor's database" in found.stderr
    assert "manage.py import_predecessor predecessor.db" in found.stderr
    with closing(sqlite3.connect(old.path)) as db:
        names = db.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("django_migrations",) not in names
    assert ("crm_outbound_messages",) in names
