"""Who uses an API key hears before it ends, twice, and in time to make another."""

from datetime import timedelta
from smtplib import SMTPServerDisconnected

import pytest
from django.core.mail.backends.locmem import EmailBackend
from django.db.models import F
from django.utils import timezone
from django.utils.formats import date_format

from accounts import api_keys, key_alerts
from accounts.models import ApiKey, User
from messaging import tasks

pytestmark = pytest.mark.django_db

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture(autouse=True)
def mail_is_configured(settings):
    settings.EMAIL_IS_CONFIGURED = True


@pytest.fixture
def key(user):
    """Made 25 days ago for 30, and used an hour ago."""
    User.objects.filter(pk=user.pk).update(email="mara@shop.example")
    key, _ = api_keys.make(user, "Bottega CRM")
    now = timezone.now()
    ApiKey.objects.filter(pk=key.pk).update(
        created_at=now - 25 * DAY, expires_at=now + 5 * DAY, last_used_at=now - HOUR
    )
    return key


@pytest.fixture
def look(django_capture_on_commit_callbacks, mailoutbox):
    """The worker looks at the keys; gives the mails of that look."""

    def look():
        mailoutbox.clear()
        with django_capture_on_commit_callbacks(execute=True):
            tasks.watch_keys.call_local()
        return list(mailoutbox)

    return look


def test_its_user_hears_what_to_do(key, look, caplog):
    [mail] = look()
    assert mail.to == ["mara@shop.example"]
    assert mail.subject == "API keys of yours end soon"
    key.refresh_from_db()
    end = date_format(key.expires_at, "j F Y, H:i T")
    assert f"\n  Bottega CRM ({key.beginning}…): ends on {end}\n" in mail.body
    assert "\n  http://127.0.0.1:8000/accounts/keys\n" in mail.body
    end = f"{key.expires_at:%Y-%m-%d %H:%M} UTC"
    assert f"API key {key.pk} of user {key.user_id} is in use and ends on {end}" in caplog.text


def test_they_hear_a_week_and_a_day_before_and_not_between(key, look):
    heard = []
    ApiKey.objects.update(expires_at=timezone.now() + 9 * DAY)
    for left in range(9 * 24, -2, -1):
        ApiKey.objects.update(last_used_at=timezone.now())
        if look():
            heard.append(left)
        ApiKey.objects.update(
            expires_at=F("expires_at") - HOUR, end_told_at=F("end_told_at") - HOUR
        )
    assert heard == [7 * 24, 24]


def test_all_keys_of_a_user_are_in_one_mail(key, user, look):
    other, _ = api_keys.make(user, "Website\nBcc: otto@shop.example")
    names = ("created_at", "expires_at", "last_used_at")
    key.refresh_from_db()
    ApiKey.objects.filter(pk=other.pk).update(**{name: getattr(key, name) for name in names})
    [mail] = look()
    assert mail.recipients() == ["mara@shop.example"]
    assert "\n  Website Bcc: otto@shop.example (" in mail.body
    assert "\n  Bottega CRM (" in mail.body


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at": 8 * DAY},
        {"expires_at": -DAY},
        {"last_used_at": -8 * DAY},
        {"last_used_at": None},
        {"revoked_at": -DAY},
        {"created_at": -DAY},
    ],
    ids=["not yet", "ended", "used long ago", "never used", "revoked", "made for a week"],
)
def test_of_others_nobody_hears(key, look, changes):
    now = timezone.now()
    when = {name: None if moment is None else now + moment for name, moment in changes.items()}
    ApiKey.objects.update(**when)
    assert look() == []
    assert key_alerts.due().count() == 0


def test_nor_does_somebody_who_may_not_log_in(key, look):
    User.objects.update(is_active=False)
    assert look() == []


def test_while_the_mail_server_is_away_it_is_tried_again(key, look, monkeypatch):
    def fail(self, mails):
        raise SMTPServerDisconnected("Connection unexpectedly closed")

    with monkeypatch.context() as patch:
        patch.setattr(EmailBackend, "send_messages", fail)
        assert look() == []
        assert key_alerts.due().count() == 1
    assert len(look()) == 1


@pytest.mark.parametrize("missing", ["a mail server", "an address"])
def test_without_mail_the_log_has_it_once(key, look, settings, caplog, missing):
    if missing == "an address":
        User.objects.update(email="")
    else:
        settings.EMAIL_IS_CONFIGURED = False
    assert look() == look() == []
    assert caplog.text.count("is in use and ends on") == 1


def test_the_page_has_it(key, client, user):
    client.force_login(user)
    assert "Ends soon" in client.get("/accounts/keys").text
    ApiKey.objects.update(expires_at=timezone.now() + 8 * DAY)
    assert "Ends soon" not in client.get("/accounts/keys").text


def test_of_two_workers_that_saw_it_one_tells(key, look, monkeypatch):
    seen_by_the_other = key_alerts.due()
    assert len(seen_by_the_other) == 1
    assert len(look()) == 1
    monkeypatch.setattr(key_alerts, "due", lambda: seen_by_the_other)
    assert look() == []
