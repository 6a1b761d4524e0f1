"""Who did what to tokens and logins can be read afterwards."""

import getpass
import threading
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts import audit, connecting
from accounts.models import Account, Invitation, TokenUnreadable, User
from crypto.keyring import KeyRing
from crypto.models import SecurityEvent

Kind = SecurityEvent.Kind
PASSWORD = "correct horse 41"
pytestmark = pytest.mark.django_db


def recorded(kind):
    return list(SecurityEvent.objects.filter(kind=kind).order_by("pk"))


def lose_the_table():
    """From now on the database refuses every record."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE security_events RENAME TO elsewhere")


@pytest.fixture
def owner(client, user):
    client.force_login(user)
    client.defaults["REMOTE_ADDR"] = "192.0.2.7"
    return client


class TestConnecting:
    def connect(self, client, instagram, path="/accounts/connect"):
        url = client.post(path).headers["Location"]
        return client.get("/oauth/instagram/callback", instagram.consent(url))

    def test_it_is_recorded_with_who_from_where_and_until_when(self, owner, instagram):
        assert self.connect(owner, instagram).status_code == 200
        account = Account.objects.get()
        [event] = recorded(Kind.CONNECTED)
        assert (event.actor, event.address) == ("mara", "192.0.2.7")
        assert event.subject == f"account {account.pk} @luna.ceramics"
        assert event.details == {
            "reconnected": False,
            "token_expires_at": account.token_expires_at.isoformat(),
        }
        assert timezone.now() - event.at < timedelta(minutes=1)

    def test_connecting_again_says_so(self, owner, instagram, connected):
        self.connect(owner, instagram, f"/accounts/{connected.pk}/reconnect")
        details = [event.details["reconnected"] for event in recorded(Kind.CONNECTED)]
        assert details == [False, True]

    def test_no_token_stands_in_any_record(self, owner, instagram, connected):
        token = connected.access_token.reveal()
        owner.post(f"/accounts/{connected.pk}/disconnect")
        assert recorded(Kind.DISCONNECTED)
        everything = str(list(SecurityEvent.objects.values()))
        assert token not in everything
        assert connected.access_token.ciphertext not in everything

    def test_what_failed_is_not_recorded(self, owner, instagram):
        url = owner.post("/accounts/connect").headers["Location"]
        back = instagram.consent(url) | {"code": "another"}
        assert owner.get("/oauth/instagram/callback", back).status_code == 400
        assert recorded(Kind.CONNECTED) == []

    def test_no_token_is_stored_without_its_record(self, instagram, user, account):
        back = instagram.consent(connecting.begin(user, "browser"))
        lose_the_table()
        with pytest.raises(DatabaseError, match="security_events"):
            connecting.finish(user, "browser", back)
        assert Account.objects.get() == account


class TestDisconnecting:
    def test_it_is_recorded_once_however_often_it_is_asked_for(self, owner, connected):
        for _ in range(2):
            owner.post(f"/accounts/{connected.pk}/disconnect")
        [event] = recorded(Kind.DISCONNECTED)
        assert (event.actor, event.address) == ("mara", "192.0.2.7")
        assert event.subject == f"account {connected.pk} @luna.ceramics"

    def test_two_who_ask_at_once_are_one_event(self, account):
        also = Account.objects.get()
        connecting.disconnect(account)
        connecting.disconnect(also)
        assert len(recorded(Kind.DISCONNECTED)) == 1

    def test_nothing_is_recorded_when_it_was_connected_anew_meanwhile(self, account):
        Account.objects.update(allowed_at=timezone.now())
        connecting.disconnect(account)
        assert recorded(Kind.DISCONNECTED) == []
        assert Account.objects.get().access_token is not None

    def test_what_else_was_known_is_cleared_without_a_token_too(self, account):
        Account.objects.update(access_token=None, subscribed_fields=["messages"])
        connecting.disconnect(account)
        assert Account.objects.get().subscribed_fields == []
        assert recorded(Kind.DISCONNECTED) == []

    def test_no_token_is_forgotten_without_its_record(self, account):
        lose_the_table()
        with pytest.raises(DatabaseError, match="security_events"):
            connecting.disconnect(account)
        assert Account.objects.get().access_token is not None

    def test_deleting_an_account_forgets_its_token_as_well(self, account):
        pk = account.pk
        account.delete()
        [event] = recorded(Kind.DISCONNECTED)
        assert event.subject == f"account {pk} @luna.ceramics"
        assert event.details == {"deleted": True}

    def test_deleting_many_at_once_does_too(self, account):
        Account.objects.create(instagram_account_id="2", username="no.token")
        Account.objects.all().delete()
        assert len(recorded(Kind.DISCONNECTED)) == 1

    def test_the_admin_deletes_none_because_its_files_would_stay(self, admin_client, account):
        url = f"/admin/accounts/account/{account.pk}/delete/"
        assert admin_client.post(url, {"post": "yes"}).status_code == 403
        order = {"action": "delete_selected", "_selected_action": [account.pk], "post": "yes"}
        admin_client.post("/admin/accounts/account/", order)
        assert Account.objects.get().access_token is not None

    def test_records_outlive_the_account_and_the_user(self, owner, connected, user):
        owner.post(f"/accounts/{connected.pk}/disconnect")
        before = list(SecurityEvent.objects.values())
        connected.delete()
        user.delete()
        assert list(SecurityEvent.objects.filter(pk__lte=before[0]["id"]).values()) == before
        assert {event["kind"] for event in before} >= {Kind.CONNECTED, Kind.DISCONNECTED}


class TestUnreadableToken:
    @pytest.fixture
    def unreadable(self, account, settings):
        settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
        return account

    def fail(self, account):
        with pytest.raises(TokenUnreadable):
            account.client()

    def test_it_is_recorded_once_and_logged_each_time(self, unreadable, caplog):
        for _ in range(3):
            self.fail(unreadable)
        [event] = recorded(Kind.DECRYPTION_FAILED)
        assert event.subject == f"account {unreadable.pk} @luna.ceramics"
        assert "no key on the ring opens it" in event.details["reason"]
        line = f"Failed to decrypt access token for account {unreadable.pk}: no key on the ring"
        assert sum(m.startswith(line) for m in caplog.messages) == 3

    def test_the_worker_acts_as_whoever_runs_it(self, unreadable):
        self.fail(unreadable)
        [event] = recorded(Kind.DECRYPTION_FAILED)
        assert event.actor.startswith(f"{getpass.getuser()} on ")
        assert event.address is None

    def test_each_account_is_counted_for_itself(self, unreadable):
        # Its id begins like the other's.
        longer = Account.objects.create(
            pk=f"{unreadable.pk}1", instagram_account_id="2", username="b", access_token="y" * 30
        )
        Account.objects.filter(pk=longer.pk).update(access_token=unreadable.access_token)
        longer.refresh_from_db()
        for account in (longer, unreadable, longer, unreadable):
            self.fail(account)
        assert len(recorded(Kind.DECRYPTION_FAILED)) == 2

    @pytest.mark.parametrize(("minutes", "events"), [(59, 1), (61, 2)])
    def test_after_an_hour_it_is_recorded_again(self, unreadable, minutes, events):
        SecurityEvent.objects.create(
            kind=Kind.DECRYPTION_FAILED,
            actor="worker",
            subject=f"account {unreadable.pk} @former.name",
            at=timezone.now() - timedelta(minutes=minutes),
        )
        self.fail(unreadable)
        assert len(recorded(Kind.DECRYPTION_FAILED)) == events

    def test_the_account_shows_it_even_when_it_cannot_be_recorded(self, unreadable, caplog):
        lose_the_table()
        self.fail(unreadable)
        assert Account.objects.get().status == Account.Status.UNREADABLE
        assert "decryption_failed could not be recorded" in caplog.text

    def test_a_name_as_long_as_its_column_is_cut(self, unreadable):
        unreadable.username = "x" * 255
        self.fail(unreadable)
        [event] = recorded(Kind.DECRYPTION_FAILED)
        assert len(event.subject) == 255

    @pytest.mark.skipif(connection.vendor == "sqlite", reason="in memory nobody waits for a lock")
    @pytest.mark.django_db(transaction=True)
    def test_workers_who_meet_it_at_once_record_it_once(self, unreadable):
        together = threading.Barrier(4)

        def work():
            account = Account.objects.get()
            together.wait(10)
            self.fail(account)
            connection.close()

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
        assert len(recorded(Kind.DECRYPTION_FAILED)) == 1


class TestLogin:
    def log_in(self, password=PASSWORD, username="mara", ip="192.0.2.7", path="/login"):
        form = {"username": username, "password": password}
        return Client(REMOTE_ADDR=ip).post(path, form).status_code

    def fail(self, times=1, **how):
        for _ in range(times):
            status = self.log_in("wrong", **how)
        return status

    @pytest.mark.parametrize("path", ["/login", "/admin/login/"])
    def test_it_is_recorded_with_who_and_from_where(self, user, path):
        User.objects.update(is_staff=True)
        assert self.log_in(path=path) == 302
        [event] = recorded(Kind.LOGGED_IN)
        assert (event.actor, event.address, event.subject) == ("mara", "192.0.2.7", "mara")

    def test_a_new_colleague_comes_in_by_name(self, client, user, account):
        _, secret = Invitation.issue(timedelta(days=1), account=account, invited_by=user)
        client.get(f"/accounts/invitations/{secret}")
        form = {"username": "nina", "password1": PASSWORD, "password2": PASSWORD}
        assert client.post("/accounts/invitation", form).status_code == 302
        assert [event.actor for event in recorded(Kind.LOGGED_IN)] == ["nina"]

    @pytest.mark.parametrize("username", ["mara", "nobody"])
    def test_a_failed_one_is_recorded_under_the_name_that_was_tried(self, user, username):
        self.fail(username=username)
        [event] = recorded(Kind.LOGIN_FAILED)
        assert event.actor == "somebody not logged in"
        assert (event.address, event.subject) == ("192.0.2.7", username)
        assert event.details == {}
        assert recorded(Kind.LOGGED_IN) == []

    def test_the_password_is_in_no_record(self, user):
        self.log_in("my-private-guess")
        self.log_in()
        assert SecurityEvent.objects.count() == 2
        everything = str(list(SecurityEvent.objects.values()))
        assert "my-private-guess" not in everything
        assert PASSWORD not in everything

    def test_the_lock_out_is_recorded_and_attempts_during_it_are_not(self, user):
        assert self.fail(5) == 429
        assert self.fail(10) == 429
        assert self.log_in() == 429
        assert [e.details for e in recorded(Kind.LOGIN_FAILED)] == [{}] * 4 + [{"locked": True}]

    def test_each_address_is_locked_out_for_itself(self, user):
        self.fail(7)
        self.fail(7, ip="2001:db8::7")
        locked = [e.address for e in recorded(Kind.LOGIN_FAILED) if e.details]
        assert locked == ["192.0.2.7", "2001:db8::7"]

    def test_each_name_is_locked_out_for_itself(self, user):
        self.fail(5)
        self.fail(5, username="otto")
        locked = [e.subject for e in recorded(Kind.LOGIN_FAILED) if e.details]
        assert locked == ["mara", "otto"]

    def test_a_later_lock_out_is_recorded_again(self, user):
        SecurityEvent.objects.create(
            kind=Kind.LOGIN_FAILED,
            actor="somebody not logged in",
            address="192.0.2.7",
            subject="mara",
            details={"locked": True},
            at=timezone.now() - timedelta(minutes=16),
        )
        self.fail(6)
        assert sum(e.details == {"locked": True} for e in recorded(Kind.LOGIN_FAILED)) == 2

    def test_guessing_names_from_one_address_is_recorded_up_to_a_limit(self, user):
        for n in range(25):
            self.fail(username=f"name-{n}")
        events = recorded(Kind.LOGIN_FAILED)
        assert len(events) == audit.FAILURES_PER_ADDRESS
        assert events[-1].details == {"more_may_follow_unrecorded": True}
        assert not any(event.details for event in events[:-1])
        self.fail(username="mara", ip="192.0.2.8")
        assert recorded(Kind.LOGIN_FAILED)[-1].address == "192.0.2.8"
        assert self.log_in() == 302
        assert recorded(Kind.LOGGED_IN)

    def test_logins_that_succeed_do_not_count(self, user, monkeypatch):
        monkeypatch.setattr(audit, "FAILURES_PER_ADDRESS", 2)
        for _ in range(2):
            self.log_in()
        self.fail()
        assert [event.details for event in recorded(Kind.LOGIN_FAILED)] == [{}]

    def test_from_ever_new_addresses_too(self, user, monkeypatch):
        monkeypatch.setattr(audit, "FAILURES_IN_ALL", 6)
        for n in range(9):
            self.fail(username=f"name-{n}", ip=f"2001:db8::{n}")
        events = recorded(Kind.LOGIN_FAILED)
        assert len(events) == 6
        assert events[-1].details == {"more_may_follow_unrecorded": True}

    def test_a_quarter_of_an_hour_later_failures_are_recorded_again(self, user):
        SecurityEvent.objects.bulk_create(
            SecurityEvent(
                kind=Kind.LOGIN_FAILED,
                actor="x",
                address="192.0.2.7",
                at=timezone.now() - timedelta(minutes=16),
            )
            for _ in range(audit.FAILURES_IN_ALL)
        )
        self.fail()
        assert recorded(Kind.LOGIN_FAILED)[-1].subject == "mara"

    @pytest.mark.parametrize(
        ("tried", "subject"),
        [
            ("nul\0byte", "nul�byte"),
            ("half\ud800character", "half�character"),
            ("two\r\nlines \u202egnissim", "two��lines �gnissim"),
            ("mära 😀", "mära 😀"),
            ("x" * 5000, "x" * 255),
            (None, ""),
            (7, "7"),
        ],
    )
    def test_whatever_was_tried_as_a_name_can_be_stored(self, tried, subject):
        audit.login_failed({"username": tried}, request=RequestFactory().post("/login"))
        [event] = recorded(Kind.LOGIN_FAILED)
        assert event.subject == subject

    def test_so_can_the_name_of_who_is_locked_out(self):
        for _ in range(2):
            audit.locked_out("nul\0byte\ud800")
        [event] = recorded(Kind.LOGIN_FAILED)
        assert event.subject == "nul�byte�"

    def test_nobody_is_kept_out_or_let_in_because_it_cannot_be_recorded(self, user, caplog):
        lose_the_table()
        assert self.log_in() == 302
        assert self.fail() == 200
        assert self.fail(5) == 429
        assert "logged_in could not be recorded" in caplog.text
        assert "login_failed could not be recorded" in caplog.text

    def test_one_without_a_request_or_a_name_is_recorded_as_well(self):
        audit.login_failed({})
        [event] = recorded(Kind.LOGIN_FAILED)
        assert event.actor.startswith(f"{getpass.getuser()} on ")


def test_a_user_name_of_any_length_is_a_failed_login_and_no_error(client, db):
    for address in ("/login", "/admin/login/"):
        answer = client.post(address, {"username": "x" * 5000, "password": "wrong"})
        assert answer.status_code == 200
    assert SecurityEvent.objects.filter(kind=SecurityEvent.Kind.LOGIN_FAILED).count() == 2
