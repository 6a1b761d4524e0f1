"""Every access token is refreshed once a day, and nothing is made worse by trying."""

import logging
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from accounts import connecting, token_watch
from accounts.instagram import InstagramClient
from accounts.models import Account, Membership
from accounts.token_watch import Outcome
from crypto.keyring import KeyRing, derive
from crypto.models import Secret, SecurityEvent
from messaging import outbox, tasks
from messaging.models import Message

from ..conftest import work
from .passing_time import let_pass

pytestmark = pytest.mark.django_db

Problem, Status = Account.Problem, Account.Status


def calls(instagram):
    asked = instagram.control("requests", method="GET")["requests"]
    return [call for call in asked if call["endpoint"] == "refresh_access_token"]


def fail(instagram, **how):
    instagram.control("faults", endpoint="refresh_access_token", **how)


def error(code, subcode=None, http=400, message="No"):
    return {"http": http, "code": code, "subcode": subcode, "message": message}


def look():
    """One look at the tokens; the account as it is then."""
    token_watch.refresh_due()
    return Account.objects.get()


@pytest.fixture
def day_old(instagram, connected):
    let_pass(instagram, hours=24, seconds=5)
    connected.refresh_from_db()
    return connected


@pytest.fixture
def another(instagram, user, connected):
    """A second account, connected a moment later."""
    url = connecting.begin(user, "browser")
    return connecting.finish(user, "browser", instagram.consent(url, "north.bikes")).account


class TestDaily:
    def test_a_token_is_refreshed_on_each_of_its_days(self, instagram, connected):
        seen = {connected.access_token.reveal()}
        for _ in range(3):
            let_pass(instagram, hours=26, seconds=5)
            account = look()
            assert account.days_left == 60
            seen.add(account.access_token.reveal())
        assert len(seen) == 4
        assert [call["status"] for call in calls(instagram)] == [200] * 3

    def test_but_not_before_it_is_a_day_old(self, instagram, connected):
        let_pass(instagram, hours=23, minutes=59)
        look()
        assert calls(instagram) == []

    def test_nor_a_second_time_on_the_same_day(self, instagram, day_old):
        look()
        let_pass(instagram, hours=23, minutes=59)
        look()
        assert len(calls(instagram)) == 1

    def test_it_works_for_a_whole_year_without_anybody(self, instagram, connected):
        for _ in range(8):
            let_pass(instagram, days=47)
            assert look().days_left == 60
        assert connected.client().me

    def test_looks_that_were_missed_are_made_up_for(self, instagram, connected):
        let_pass(instagram, days=59)
        assert look().days_left == 60

    def test_one_that_has_expired_is_not_tried(self, instagram, connected):
        let_pass(instagram, days=61)
        assert look().status == Status.EXPIRED
        assert calls(instagram) == []

    def test_nor_one_of_a_disconnected_account(self, instagram, day_old):
        connecting.disconnect(day_old)
        look()
        assert calls(instagram) == []

    def test_tokens_that_came_together_drift_apart(self, instagram, day_old, another):
        let_pass(instagram, days=2)
        token_watch.refresh_due()
        waits = [
            at - timezone.now() for at in Account.objects.values_list("token_refresh_at", flat=True)
        ]
        assert all(timedelta(hours=23, minutes=59) < wait < timedelta(hours=26) for wait in waits)
        assert abs(waits[0] - waits[1]) > timedelta(milliseconds=100)

    def test_the_worker_looks_every_ten_minutes(self, instagram, day_old):
        tasks.watch_tokens.call_local()
        assert len(calls(instagram)) == 1
        is_time = tasks.watch_tokens.task_class().validate_datetime
        minutes = {m for m in range(60) if is_time(timezone.now().replace(minute=m))}
        assert minutes == {0, 10, 20, 30, 40, 50}


class TestStored:
    def test_the_new_token_is_stored_sealed_with_its_dates(self, instagram, day_old):
        look()
        with connection.cursor() as cursor:
            cursor.execute("SELECT access_token_encrypted FROM accounts")
            [(column,)] = cursor.fetchall()
        account = Account.objects.get()
        token = account.access_token.reveal()
        newest = list(instagram.sandbox.world.tokens.values())[-1]
        assert (token, newest.kind) == (newest.value, "long")
        assert column.startswith("gAAAA")
        assert token not in column
        assert timezone.now() - account.token_issued_at < timedelta(minutes=1)
        assert account.token_expires_at - timezone.now() > timedelta(days=59, hours=23)

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("times", [1, 3])
    def test_a_busy_database_is_asked_again_since_nobody_else_knows_the_token(
        self, instagram, day_old, monkeypatch, times
    ):
        monkeypatch.setattr(token_watch, "PAUSES", (0.001,) * 3)
        busy = []

        def locked(execute, sql, params, many, context):
            if 'SET "access_token_encrypted" =' in sql and len(busy) < times:
                busy.append(sql)
                raise OperationalError("database is locked")
            return execute(sql, params, many, context)

        with connection.execute_wrapper(locked):
            account = look()
        assert len(busy) == times
        assert account.days_left == 60
        newest = list(instagram.sandbox.world.tokens.values())[-1]
        assert account.access_token.reveal() == newest.value
        assert len(calls(instagram)) == 1

    def test_no_token_reaches_a_log(self, instagram, day_old, caplog):
        caplog.set_level(logging.DEBUG)
        tokens = [day_old.access_token.reveal()]
        fail(instagram, times=1, error=error(2, http=500))
        look()
        let_pass(instagram, hours=7)
        tokens.append(look().access_token.reveal())
        ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("accounts"))
        assert "token not refreshed: RateLimited (code 2/None" in ours
        assert "refresh_access_token" not in ours
        assert not any(token in ours for token in tokens)

    def test_a_reconnect_during_the_call_wins(self, instagram, user, day_old, monkeypatch):
        refresh = InstagramClient.refresh

        def refresh_slowly(client):
            grant = refresh(client)
            url = connecting.begin(user, "browser", day_old)
            connecting.finish(user, "browser", instagram.consent(url))
            return grant

        monkeypatch.setattr(InstagramClient, "refresh", refresh_slowly)
        account = look()
        newest = list(instagram.sandbox.world.tokens.values())[-1]
        assert account.access_token.reveal() == newest.value
        assert len(calls(instagram)) == 1

    def test_so_does_a_disconnect(self, instagram, day_old, monkeypatch):
        refresh = InstagramClient.refresh

        def refresh_slowly(client):
            grant = refresh(client)
            connecting.disconnect(Account.objects.get())
            return grant

        monkeypatch.setattr(InstagramClient, "refresh", refresh_slowly)
        assert look().access_token is None

    def test_a_refusal_of_the_old_token_says_nothing_of_one_that_came_meanwhile(
        self, instagram, user, day_old, monkeypatch
    ):
        refresh = InstagramClient.refresh
        instagram.control("revoke", account="luna.ceramics", subcode=460)

        def refresh_slowly(client):
            url = connecting.begin(user, "browser", day_old)
            connecting.finish(user, "browser", instagram.consent(url))
            return refresh(client)

        monkeypatch.setattr(InstagramClient, "refresh", refresh_slowly)
        assert look().status == Status.CONNECTED

    def test_a_process_with_a_retired_secret_stores_nothing(self, instagram, day_old):
        before = day_old.access_token.ciphertext
        Secret.objects.make_current(derive("the-N3wer-secret-of-this-installation-2025"))
        result = token_watch.refresh(day_old)
        assert result.outcome == Outcome.LATER
        assert "still runs the old one" in result.reason
        account = Account.objects.get()
        assert account.access_token.ciphertext == before
        assert account.token_refresh_at > timezone.now() + timedelta(minutes=20)
        assert account.problem == ""


class TestWorkers:
    def test_two_that_saw_the_same_row_make_one_call(self, instagram, day_old):
        first, second = Account.objects.get(), Account.objects.get()
        assert token_watch.refresh(first).outcome == Outcome.REFRESHED
        assert token_watch.refresh(second).outcome == Outcome.TAKEN
        assert len(calls(instagram)) == 1

    @pytest.mark.skipif(connection.vendor == "sqlite", reason="in memory there is one connection")
    @pytest.mark.django_db(transaction=True)
    def test_four_at_once_make_one_call(self, instagram, day_old):
        together = threading.Barrier(4)
        outcomes = []

        def worker():
            account = Account.objects.get()
            together.wait(10)
            outcomes.append(token_watch.refresh(account).outcome)
            connection.close()

        workers = [threading.Thread(target=worker) for _ in range(4)]
        for one in workers:
            one.start()
        for one in workers:
            one.join(30)
        assert sorted(outcomes) == [Outcome.REFRESHED, *[Outcome.TAKEN] * 3]
        assert len(calls(instagram)) == 1

    @pytest.mark.parametrize("moment", ["before the call", "before it is stored"])
    def test_one_that_dies_is_followed_by_another(self, instagram, day_old, monkeypatch, moment):
        class Killed(BaseException):
            pass

        refresh = InstagramClient.refresh

        def die(client):
            if moment == "before it is stored":
                refresh(client)
            raise Killed

        old = day_old.access_token.reveal()
        monkeypatch.setattr(InstagramClient, "refresh", die)
        with pytest.raises(Killed):
            look()
        monkeypatch.setattr(InstagramClient, "refresh", refresh)
        tried = len(calls(instagram))
        assert look().access_token.reveal() == old
        assert len(calls(instagram)) == tried  # For a while it may be at it still.
        let_pass(instagram, minutes=10, seconds=5)
        assert look().access_token.reveal() != old
        assert look().days_left == 60

    def test_trouble_with_one_account_does_not_keep_the_others(
        self, instagram, day_old, another, monkeypatch, caplog
    ):
        let_pass(instagram, days=2)
        refresh = InstagramClient.refresh
        broken = []

        def break_once(client):
            if not broken:
                broken.append(client)
                raise RuntimeError("a bug")
            return refresh(client)

        monkeypatch.setattr(InstagramClient, "refresh", break_once)
        token_watch.refresh_due()
        assert [a.days_left == 60 for a in Account.objects.all()].count(True) == 1
        assert "token not refreshed" in caplog.text


class TestRejected:
    @pytest.mark.parametrize(
        ("subcode", "reason"),
        [
            (None, "Instagram no longer accepts the access token."),
            (458, "The app was removed in Instagram's settings."),
            (460, "The Instagram password was changed."),
            (463, "The access token has expired."),
        ],
    )
    def test_the_account_shows_why_in_plain_words(
        self, client, user, instagram, day_old, subcode, reason
    ):
        instagram.control("revoke", account="luna.ceramics", subcode=subcode)
        account = look()
        assert (account.status, account.problem_reason) == (Status.REVOKED, reason)
        client.force_login(user)
        for path in (account.get_absolute_url(), "/accounts/"):
            html = client.get(path).content.decode().replace("&#x27;", "'")
            assert reason in html
            assert f'action="/accounts/{account.pk}/reconnect"' in html

    def test_it_is_recorded_once_a_day_with_its_codes(self, instagram, day_old):
        instagram.control("revoke", account="luna.ceramics", subcode=460)
        for _ in range(3):
            look()
            Account.objects.update(token_refresh_at=None)
        [event] = SecurityEvent.objects.filter(kind=SecurityEvent.Kind.REFRESH_FAILED)
        assert event.subject == f"account {day_old.pk} @luna.ceramics"
        assert event.details["reason"] == "The Instagram password was changed."
        assert (event.details["code"], event.details["subcode"]) == (190, 460)
        assert len(calls(instagram)) == 3

    def test_since_when_it_is_stays_as_it_was(self, instagram, day_old):
        instagram.control("revoke", account="luna.ceramics")
        since = look().problem_at
        Account.objects.update(token_refresh_at=None)
        assert look().problem_at == since

    def test_once_a_day_instagram_is_asked_whether_that_still_holds(self, instagram, day_old):
        fail(instagram, times=1, error=error(190))
        assert look().status == Status.REVOKED
        let_pass(instagram, hours=19)
        assert look().status == Status.REVOKED
        let_pass(instagram, hours=10)
        account = look()
        assert (account.status, account.problem_reason, account.problem_at) == (
            Status.CONNECTED, "", None,
        )  # fmt: skip


class TestHeld:
    def test_a_refusal_of_every_call_holds_the_account(self, instagram, day_old):
        fail(instagram, times=1, error=error(200, message="API access blocked."))
        account = look()
        assert account.status == Status.HELD
        assert account.problem_reason.startswith("The permission could not be extended. ")
        assert account.problem_reason.endswith("API access blocked.")

    def test_and_the_next_good_refresh_frees_it(self, instagram, day_old):
        fail(instagram, times=1, error=error(200, message="API access blocked."))
        look()
        let_pass(instagram, hours=7)
        assert look().status == Status.CONNECTED

    def test_an_account_without_a_role_is_told_of_the_invitation(self, instagram, day_old):
        instagram.control("accounts", username="luna.ceramics", tester=False)
        assert "tester invitation" in look().problem_reason
        instagram.control("accounts", username="luna.ceramics", tester=True)
        let_pass(instagram, hours=7)
        assert look().status == Status.CONNECTED

    def test_what_held_a_message_back_stands_until_one_goes_out(self, instagram, day_old):
        day_old.note_problem(Problem.HELD, "Blocked for a day, for what was sent.")
        account = look()
        assert len(calls(instagram)) == 1
        assert (account.status, account.problem_reason) == (
            Status.HELD,
            "Blocked for a day, for what was sent.",
        )

    def test_and_is_not_written_over(self, instagram, day_old):
        day_old.note_problem(Problem.HELD, "Blocked for a day, for what was sent.")
        fail(instagram, times=1, error=error(10))
        assert look().problem_reason == "Blocked for a day, for what was sent."


class TestLater:
    """What says nothing about the token changes nothing but the time of the next attempt."""

    def untouched(self, account, before):
        assert (account.problem, account.status) == ("", Status.CONNECTED)
        assert account.access_token.ciphertext == before.access_token.ciphertext
        assert account.token_expires_at == before.token_expires_at
        assert account.token_refresh_at > timezone.now() + timedelta(minutes=20)

    @pytest.mark.parametrize(
        "fault",
        [
            {"error": error(4, http=403)},
            {"error": error(613, http=429)},
            {"error": error(2, http=500)},
            {"error": error(-1, http=500)},
            {"error": error(100, message="(#100) too young")},
            {"error": error(424242)},
            {"status": 502, "body": "<html>Bad gateway"},
            {"status": 200, "body": "not json"},
            {"status": 200, "body": "{}"},
            {"status": 200, "body": '{"access_token": "IGAAx"}'},
            {"status": 200, "body": '{"access_token": "", "expires_in": 5183944}'},
            {"drop": "before"},
            {"drop": "after"},
        ],
        ids=str,
    )
    def test_trouble_at_instagram(self, instagram, day_old, fault):
        fail(instagram, times=1, **fault)
        self.untouched(look(), day_old)
        let_pass(instagram, hours=8)
        assert look().days_left == 60

    def test_instagram_out_of_reach_stops_the_look(self, instagram, day_old, another, settings):
        let_pass(instagram, days=2)
        there, settings.INSTAGRAM_GRAPH_URL = settings.INSTAGRAM_GRAPH_URL, "http://127.0.0.1:9"
        token_watch.refresh_due()
        plans = sorted((a.token_refresh_at is not None, a.problem) for a in Account.objects.all())
        assert plans == [(False, ""), (True, "")]
        settings.INSTAGRAM_GRAPH_URL = there
        let_pass(instagram, minutes=40)
        token_watch.refresh_due()
        assert [a.days_left for a in Account.objects.all()] == [60, 60]

    def test_the_longer_it_fails_the_longer_it_waits(self, instagram, day_old):
        fail(instagram, error=error(2, http=500))
        waits = []
        for _ in range(12):
            account = look()
            waits.append(account.token_refresh_at - timezone.now())
            let_pass(instagram, seconds=waits[-1].total_seconds() + 1)
        assert timedelta(minutes=23) < waits[0] < timedelta(minutes=37)
        assert waits[-1] > timedelta(hours=4, minutes=45)
        assert max(waits) < timedelta(hours=7, minutes=13)
        assert account.status == Status.CONNECTED

    def test_a_token_of_unknown_age_that_is_too_young_is_kept(self, instagram, connected):
        Account.objects.update(token_issued_at=None, linked_at=timezone.now() - timedelta(days=3))
        before = Account.objects.get()
        self.untouched(look(), before)
        assert calls(instagram)[0]["status"] == 400
        let_pass(instagram, hours=25)
        assert look().days_left == 60

    def test_one_of_unknown_age_is_not_tried_on_the_first_day_here(self, instagram, connected):
        Account.objects.update(token_issued_at=None)
        look()
        assert calls(instagram) == []


class TestUnreadable:
    @pytest.fixture
    def lost(self, day_old, settings):
        right = settings.KEYRING
        settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
        return right

    def test_it_is_found_before_it_is_sent_anywhere(self, instagram, lost, caplog):
        before = instagram.control("requests", method="GET")["requests"]
        account = look()
        assert instagram.control("requests", method="GET")["requests"] == before
        assert account.status == Status.UNREADABLE
        assert f"Failed to decrypt access token for account {account.pk}" in caplog.text
        assert account.token_refresh_at > timezone.now()

    def test_with_the_right_secret_it_is_refreshed_again(self, instagram, lost, settings):
        look()
        settings.KEYRING = lost
        let_pass(instagram, hours=8)
        account = look()
        assert (account.status, account.days_left) == (Status.CONNECTED, 60)


def test_a_status_in_the_database_is_the_status_of_the_account(account):
    now, moment = timezone.now(), timedelta(minutes=1)
    ends = [None, now - moment, now + moment, now + timedelta(days=14), now + timedelta(days=15)]
    token = account.access_token.reveal()
    seen = set()
    for problem in ("", *Problem):
        for end in ends:
            for stored in (token, None):
                account.access_token = stored
                account.problem, account.token_expires_at = problem, end
                account.save()
                fresh = Account.objects.get()
                found = [s for s in Status if Account.objects.in_status(s).exists()]
                assert found == [fresh.status], (problem, end, stored is None)
                seen.add(fresh.status)
    assert seen == set(Status)


def test_reconnecting_keeps_conversations_members_and_what_waits(
    instagram, user, stranger, open_conversation
):
    account = open_conversation.account
    Membership.objects.create(user=stranger, account=account)
    reply = outbox.queue_reply(open_conversation, "Yes, it is!")
    linked_at = account.linked_at
    instagram.control("revoke", account="luna.ceramics", subcode=460)
    work()
    assert Account.objects.get().status == Status.REVOKED
    url = connecting.begin(user, "browser", account)
    result = connecting.finish(user, "browser", instagram.consent(url))
    assert (result.account.pk, result.is_new) == (account.pk, False)
    assert result.account.linked_at == linked_at
    assert account.conversations.get() == open_conversation
    assert {m.user for m in account.memberships.all()} == {user, stranger}
    work()
    reply.refresh_from_db()
    assert reply.status == Message.Status.SENT
