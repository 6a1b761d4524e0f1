"""Owners hear of a token that ends: at 14, 7, 3 and 1 days, at its end, and once each."""

import threading
from datetime import timedelta
from smtplib import SMTPServerDisconnected

import pytest
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.utils import timezone

from accounts import connecting, token_alerts
from accounts.models import Account, Membership, Role, User
from crypto.keyring import KeyRing
from messaging import tasks

from .passing_time import let_pass

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def mail_is_configured(settings):
    settings.EMAIL_IS_CONFIGURED = True


@pytest.fixture
def mara(user):
    user.email = "mara@shop.example"
    user.save()
    return user


@pytest.fixture
def watch(django_capture_on_commit_callbacks, mailoutbox):
    """The worker looks at the tokens; gives the mails of that look."""

    def watch():
        mailoutbox.clear()
        with django_capture_on_commit_callbacks(execute=True):
            tasks.watch_tokens.call_local()
        return list(mailoutbox)

    return watch


@pytest.fixture
def failing(instagram, connected, mara):
    """Refreshing does not work any more."""
    error = {"http": 400, "code": 424242, "message": "Not any more"}
    instagram.control("faults", endpoint="refresh_access_token", error=error)
    return connected


def test_the_owner_hears_at_each_limit_once_and_not_between(instagram, failing, watch):
    told = {}
    for hour in range(0, 62 * 24, 4):
        if mails := watch():
            assert len(mails) == 1
            told[60 - hour / 24] = mails[0].body
        let_pass(instagram, hours=4)
    days = [round(left) for left in told]
    assert days == [14, 7, 3, 1, 0]
    for left, body in zip(days[:-1], told.values(), strict=False):
        assert f"ends in {left} day{'' if left == 1 else 's'}, on" in body
    assert "permission ended on" in list(told.values())[-1]


def test_it_says_what_to_do(failing, instagram, watch):
    let_pass(instagram, days=50)
    [mail] = watch()
    assert mail.to == ["mara@shop.example"]
    assert mail.subject == "Please reconnect @luna.ceramics"
    assert "\n  @luna.ceramics: Instagram’s permission ends in 10 days, on " in mail.body  # noqa: RUF001
    assert "with the same Instagram account" in mail.body
    assert "\n  http://127.0.0.1:8000/accounts/\n" in mail.body
    assert "IGAA" not in mail.body


def test_of_one_that_is_refreshed_in_time_nobody_hears(instagram, connected, mara, watch):
    let_pass(instagram, days=59)
    assert watch() == []
    assert Account.objects.get().days_left == 60


def test_nor_of_one_at_which_another_worker_is(connected, mara, watch):
    now = timezone.now()
    Account.objects.update(
        token_issued_at=now - timedelta(days=50),
        token_expires_at=now + timedelta(days=10),
        token_refresh_at=now + timedelta(minutes=9),
    )
    assert watch() == []


def test_a_restart_repeats_nothing(instagram, failing, watch):
    let_pass(instagram, days=50)
    assert len(watch()) == 1
    assert watch() == []
    assert watch() == []


def test_a_worker_that_was_away_tells_the_last_limit_alone(instagram, failing, watch):
    let_pass(instagram, days=58, hours=12)
    assert len(watch()) == 1
    let_pass(instagram, hours=7)
    assert watch() == []


def test_a_reconnect_begins_anew(instagram, failing, mara, watch):
    let_pass(instagram, days=50)
    assert len(watch()) == 1
    url = connecting.begin(mara, "browser", failing)
    connecting.finish(mara, "browser", instagram.consent(url))
    assert watch() == []
    let_pass(instagram, days=50)
    assert len(watch()) == 1


@pytest.mark.parametrize("found_by", ["a refresh", "a send"])
def test_a_revoked_one_is_told_at_once_with_the_reason(instagram, connected, mara, watch, found_by):
    let_pass(instagram, hours=25)
    if found_by == "a refresh":
        instagram.control("revoke", account="luna.ceramics", subcode=460)
    else:
        watch()
        Account.objects.get().note_problem(
            Account.Problem.REVOKED, "The Instagram password was changed."
        )
    [mail] = watch()
    line = "@luna.ceramics: Instagram no longer accepts this site. The Instagram password was"
    assert line in mail.body
    for _ in range(61):  # Not again at its limits, nor when it ends.
        let_pass(instagram, days=1)
        assert watch() == []


def test_one_marked_by_hand_without_a_date_is_told_once_and_keeps_nobody(instagram, failing, watch):
    let_pass(instagram, days=50)
    Account.objects.update(problem="revoked")
    assert len(watch()) == 1
    assert watch() == []


def test_one_that_its_owner_removed_at_instagram_is_told_as_well(connected, mara, watch):
    Account.objects.update(
        access_token=None, token_issued_at=None, token_expires_at=None, problem="revoked",
        problem_reason="Removed at Instagram.", problem_at=timezone.now(),
    )  # fmt: skip
    [mail] = watch()
    assert "Instagram no longer accepts this site. Removed at Instagram." in mail.body
    assert watch() == []


def test_one_that_was_disconnected_here_is_not(instagram, failing, watch):
    let_pass(instagram, days=50)
    connecting.disconnect(Account.objects.get())
    assert watch() == []


def test_one_that_no_secret_opens_is_told_at_its_limits(instagram, failing, watch, settings):
    settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
    let_pass(instagram, hours=25)
    assert watch() == []
    let_pass(instagram, days=50)
    [mail] = watch()
    assert "cannot be opened with the current SESSION_SECRET" in mail.body


def test_members_are_not_asked_for_what_only_owners_can_do(instagram, failing, stranger, watch):
    User.objects.filter(pk=stranger.pk).update(email="otto@shop.example")
    Membership.objects.create(user=stranger, account=failing, role=Role.MEMBER)
    let_pass(instagram, days=50)
    assert [mail.to for mail in watch()] == [["mara@shop.example"]]


@pytest.fixture
def otto(stranger, failing):
    """Another owner, who is told after Mara."""
    User.objects.filter(pk=stranger.pk).update(email="otto@shop.example")
    Membership.objects.create(user=stranger, account=failing, role=Role.OWNER)
    return stranger


def lose_the_mail_server(monkeypatch, after):
    """It takes `after` mails; then the connection is gone."""
    send, taken = EmailBackend.send_messages, []

    def send_or_fail(self, mails):
        if len(taken) == after:
            raise SMTPServerDisconnected("Connection unexpectedly closed")
        taken.append(mails)
        return send(self, mails)

    monkeypatch.setattr(EmailBackend, "send_messages", send_or_fail)


def test_while_the_mail_server_is_away_it_is_tried_again(instagram, failing, watch, monkeypatch):
    let_pass(instagram, days=50)
    with monkeypatch.context() as patch:
        lose_the_mail_server(patch, after=0)
        assert watch() == []
        assert watch() == []
        assert len(token_alerts.due()) == 1
    assert len(watch()) == 1
    assert watch() == []


def test_an_owner_who_was_told_does_not_hear_it_again_for_the_sake_of_others(
    instagram, failing, watch, monkeypatch, otto
):
    let_pass(instagram, days=50)
    with monkeypatch.context() as patch:
        lose_the_mail_server(patch, after=1)
        assert len(watch()) == 1
    assert watch() == []


def test_without_a_mail_server_the_log_has_it(instagram, failing, watch, settings, caplog):
    settings.EMAIL_IS_CONFIGURED = False
    let_pass(instagram, days=50)
    assert watch() == []
    line = f"account {failing.pk}: expiring, 10 days left: an owner has to reconnect it"
    assert caplog.messages.count(line) == 1
    watch()
    assert caplog.messages.count(line) == 1


def test_the_pages_have_it(instagram, failing, watch, client, mara):
    let_pass(instagram, days=50)
    watch()
    client.force_login(mara)
    for path in (failing.get_absolute_url(), "/accounts/"):
        html = client.get(path).content.decode()
        assert "permission ends in 10 days" in html
        assert f'action="/accounts/{failing.pk}/reconnect"' in html


def test_a_page_of_one_that_is_well_says_how_long_it_lasts(connected, client, user):
    client.force_login(user)
    html = client.get(connected.get_absolute_url()).content.decode()
    assert "(60 days left; extended by itself every day)" in html


def test_the_admin_has_it(instagram, failing, admin_client):
    let_pass(instagram, days=50)
    url = "/admin/accounts/account/"
    html = admin_client.get(url, {"status": "expiring"}).content.decode()
    assert failing.pk in html
    assert '<td class="field-days_left">10</td>' in html
    for status in ("connected", "expired", "revoked", "nonsense"):
        assert failing.pk not in admin_client.get(url, {"status": status}).content.decode()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="in memory there is one connection")
@pytest.mark.django_db(transaction=True)
def test_workers_at_once_tell_it_once(instagram, failing, mailoutbox):
    let_pass(instagram, days=50)
    Account.objects.update(token_refresh_at=timezone.now() + timedelta(hours=3))
    together = threading.Barrier(4)

    def worker():
        together.wait(10)
        token_alerts.send()
        connection.close()

    workers = [threading.Thread(target=worker) for _ in range(4)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(30)
    assert len(mailoutbox) == 1
