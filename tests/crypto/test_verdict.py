"""One verdict per state, each with what to do."""

import logging
import subprocess
import sys
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core import checks
from django.db import connection
from django.test import RequestFactory
from django.utils import timezone

from accounts.models import User
from crypto import census, verdict
from crypto.keyring import KeyRing, derive
from crypto.models import Census, Secret
from crypto.rotation import rotate
from crypto.verdict import State
from tests.environment import child_environment

from ..waiting import A_WHILE
from .secrets_of_a_shop import (
    NEW,
    OLD,
    OTHER,
    fingerprint,
    out_of_sight,
    overwrite,
    overwrite_with_no_text,
    store,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def look(settings):
    def look(primary, *fallbacks):
        settings.KEYRING = KeyRing(primary, fallbacks)
        return verdict.look()

    return look


@pytest.fixture(autouse=True)
def nothing_seen_yet(monkeypatch):
    monkeypatch.setattr(verdict, "latest", None)


def test_fresh_where_nothing_is_stored(look):
    assert look(NEW).state == State.FRESH


def test_current_when_the_secret_opens_what_is_stored(look):
    store(3)
    found = look(OLD)
    assert (found.state, found.is_well) == (State.CURRENT, True)


def test_fallback_in_use_says_how_many_values_and_how_to_move_them(look):
    store(3)
    found = look(NEW, OLD)
    assert found.state == State.FALLBACK
    assert "at least 3" in found.title
    assert "manage.py rotate_secret" in found.advice
    census.keep(census.take(KeyRing(NEW, [OLD])))
    assert "Fallback in use: 3 stored values" in look(NEW, OLD).title


def test_superseded_when_the_secret_was_rotated_away(look):
    store(3)
    Secret.objects.make_current(derive(NEW))
    found = look(OLD)
    assert found.state == State.SUPERSEDED
    assert fingerprint(NEW) in found.advice
    assert look(OLD, NEW).state != State.SUPERSEDED


def test_wrong_when_it_opens_nothing_that_is_stored(look):
    store(3)
    found = look(OTHER)
    assert found.state == State.WRONG
    assert f"They need secret {fingerprint(OLD)}" in found.advice
    assert "manage.py reset_tokens" in found.advice


def test_unreadable_values_are_named_from_the_census(look):
    account = out_of_sight(store(150))
    overwrite(account, "gAAAAA-of-nobody")
    assert look(OLD).state == State.CURRENT
    census.keep(census.take(KeyRing(OLD)))
    found = look(OLD)
    assert found.state == State.UNREADABLE
    assert str(account) in found.advice
    assert found.title.endswith("1.")


def test_a_value_that_was_replaced_is_no_longer_unreadable(look):
    account = out_of_sight(store(150))
    overwrite(account, "gAAAAA-of-nobody")
    census.keep(census.take(KeyRing(OLD)))
    overwrite(account, None)
    assert look(OLD).state == State.CURRENT


def test_unreadable_values_in_the_sample_are_enough(look):
    accounts = store(3)
    overwrite(accounts[0], "")
    assert look(OLD).state == State.UNREADABLE


def test_missing_and_weak_are_said_too(look, settings):
    assert look(None, OLD).state == State.MISSING
    settings.WEAK_SECRETS = [("SESSION_SECRET", "it is a published example")]
    assert look(OLD).state == State.WEAK


def test_an_ephemeral_secret_beside_stored_values_is_a_loss_of_data(look, settings):
    settings.SESSION_SECRET_IS_EPHEMERAL = True
    assert look(OTHER).state == State.FRESH
    store(2)
    found = look(OTHER)
    assert found.state == State.EPHEMERAL
    assert "Accounts with a stored token: 2." in found.advice


def test_an_ephemeral_secret_opens_what_it_wrote_itself(look, settings):
    settings.SESSION_SECRET_IS_EPHEMERAL = True
    store(2)
    assert look(OLD).state == State.CURRENT


def test_one_broken_value_alone_does_not_make_the_secret_wrong(look):
    (account,) = store(1)
    overwrite(account, "broken")
    assert look(OLD).state == State.UNREADABLE


def test_a_process_that_was_not_switched_after_a_rotation_is_told_to_be(look):
    store(2)
    rotate(KeyRing(NEW, [OLD]))
    found = look(OLD, NEW)
    assert "still runs the old secret" in found.title
    assert "not run rotate_secret before" in found.advice


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a text column holds text")
@pytest.mark.parametrize("overwrite", [overwrite_with_no_text, overwrite], ids=["text", "blob"])
def test_bytes_in_the_column_are_one_unreadable_value(look, overwrite):
    accounts = store(2)
    overwrite(accounts[0], b"\x80\x00\x01")
    assert look(OLD).state == State.UNREADABLE


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a text column holds text")
def test_the_workers_census_counts_and_names_what_is_no_text(look):
    account = out_of_sight(store(150))
    overwrite_with_no_text(account)
    assert look(OLD).state == State.CURRENT
    census.renew()
    counted = Census.objects.get()
    assert counted.unreadable == 1
    assert counted.columns["accounts.access_token_encrypted"] == {fingerprint(OLD): 149}
    assert [one["pk"] for one in counted.named] == [account.pk]
    found = look(OLD)
    assert found.title == "Stored values that no secret opens: 1."
    assert str(account) in found.advice


@pytest.mark.parametrize(
    "database", ["sqlite:////nowhere/at/all.db", "postgres://nobody@127.0.0.1:9/nothing"]
)
def test_a_database_out_of_reach_is_never_called_a_wrong_secret(database):
    script = "import instamsg.wsgi; from crypto import verdict; print(verdict.latest.state)"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=child_environment(DATABASE_URL=database),
        capture_output=True,
        text=True,
        timeout=A_WHILE,
    )
    assert result.stdout.strip() == State.UNREACHABLE, result.stderr
    assert "The database cannot be asked" in result.stderr
    assert "SESSION_SECRET is wrong" not in result.stderr


def test_a_verdict_is_announced_once_until_it_changes(look, caplog):
    caplog.set_level(logging.INFO)
    store(1)
    for secret in (OTHER, OTHER, OLD, OLD, OTHER):
        verdict.announce(look(secret))
    said = [(r.levelname, r.getMessage().splitlines()[0][:24]) for r in caplog.records]
    assert said == [
        ("CRITICAL", "SESSION_SECRET is wrong:"),
        ("INFO", f"SESSION_SECRET {fingerprint(OLD)[:9]}"),
        ("CRITICAL", "SESSION_SECRET is wrong:"),
    ]


def test_only_staff_see_the_banner_and_only_while_something_is_wrong(look, client, account, user):
    boss = User.objects.create_superuser("boss", password="x")
    request = RequestFactory().get("/")
    for state, shown in ((State.WRONG, True), (State.CURRENT, False)):
        verdict.latest = verdict.Verdict(state, "title", "advice")
        for who, may in ((boss, True), (user, False), (AnonymousUser(), False)):
            request.user = who
            assert bool(verdict.for_staff(request)["secret_verdict"]) == (shown and may)


@pytest.mark.parametrize(
    ("ring", "check_id"),
    [((NEW, [OLD]), "crypto.W015"), ((OTHER, []), "crypto.E013"), ((OLD, []), None)],
)
def test_checks_of_the_database_show_the_verdict(ring, check_id, settings):
    store(1)
    settings.KEYRING = KeyRing(*ring)
    found = checks.run_checks(tags=["database"], databases=["default"])
    assert [m.id for m in found if m.id.startswith("crypto.")] == [i for i in [check_id] if i]
    assert [m for m in checks.run_checks() if m.id in ("crypto.W015", "crypto.E013")] == []


def test_a_secret_in_use_for_a_year_is_due():
    store(1)
    due = timezone.now() - timedelta(days=366)
    Secret.objects.update(first_used_at=due)
    ids = [m.id for m in checks.run_checks(tags=["database"], databases=["default"])]
    assert "crypto.W008" in ids


def test_the_worker_reminds_of_it_each_night(caplog, settings):
    settings.KEYRING = KeyRing(OLD)
    store(1)
    census.renew()
    assert not caplog.records
    Secret.objects.update(first_used_at=timezone.now() - timedelta(days=366))
    census.renew()
    assert "a new one is due every 12 months" in caplog.text
