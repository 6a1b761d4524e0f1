"""The way back after a lost secret: only what nobody can open is cleared."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.dispatch import receiver
from django.utils import timezone

from accounts.models import Account
from crypto import reset
from crypto.commands import Exit
from crypto.keyring import KeyRing, derive
from crypto.models import Census, Process, Secret, SecurityEvent

from .secrets_of_a_shop import (
    NEW,
    OLD,
    columns,
    fingerprint,
    opened,
    overwrite,
    overwrite_with_no_text,
    store,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def reset_tokens(settings, tmp_path):
    """Runs the command under one secret; returns what it said."""

    def run(*options, secret=NEW, backup=False):
        settings.KEYRING = KeyRing(secret)
        out = io.StringIO()
        options += (f"--backup-dir={tmp_path}",) if backup else ("--no-backup",)
        call_command("reset_tokens", "--no-input", *options, stdout=out)
        return out.getvalue()

    return run


def cleared() -> set[str]:
    return set(Account.objects.filter(access_token__isnull=True).values_list("username", flat=True))


def test_only_what_no_secret_opens_is_cleared(reset_tokens):
    store(3)
    store(2, NEW, first=5)
    said = reset_tokens()
    assert cleared() == {"shop.0", "shop.1", "shop.2"}
    assert sorted(opened(NEW)) == ["shop.5", "shop.6"]
    assert "3 values cleared, 2 kept" in said
    assert said.count("Must reconnect: account acc_") == 3


def test_what_the_field_names_goes_with_it_and_the_rest_stays(reset_tokens):
    (account,) = store(1)
    Account.objects.update(token_expires_at=timezone.now() + timedelta(days=9), name="Luna")
    reset_tokens()
    account.refresh_from_db()
    assert (account.access_token, account.token_expires_at, account.name) == (None, None, "Luna")


def test_all_clears_the_readable_ones_as_well(reset_tokens):
    store(2, NEW)
    assert "Nothing to clear" in reset_tokens()
    assert len(opened(NEW)) == 2
    reset_tokens("--all")
    assert opened(NEW) == {}


def test_one_account_can_be_chosen(reset_tokens):
    accounts = store(3)
    reset_tokens("--account", accounts[1].pk)
    assert cleared() == {"shop.1"}


def test_an_account_that_does_not_exist_is_said_and_changes_nothing(reset_tokens):
    store(2)
    with pytest.raises(CommandError, match="None of acc_nobody holds a value"):
        reset_tokens("--account", "acc_nobody")
    assert cleared() == set()


def test_a_dry_run_lists_and_changes_nothing(reset_tokens):
    store(2)
    before = columns()
    assert reset_tokens("--dry-run").count("Must reconnect") == 2
    assert columns() == before
    assert not SecurityEvent.objects.filter(kind=SecurityEvent.Kind.RESET).exists()


@pytest.mark.parametrize("answer", ["y", "", "no"])
def test_anything_but_yes_changes_nothing(settings, monkeypatch, answer):
    store(1)
    settings.KEYRING = KeyRing(NEW)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    with pytest.raises(CommandError, match=r"^Nothing was cleared\.$"):
        call_command("reset_tokens", "--no-backup", stdout=io.StringIO())
    assert cleared() == set()


def test_people_are_asked_first(settings, monkeypatch):
    store(1)
    settings.KEYRING = KeyRing(NEW)
    monkeypatch.setattr("builtins.input", lambda prompt: "yes")
    call_command("reset_tokens", "--no-backup", stdout=io.StringIO())
    assert cleared() == {"shop.0"}


def test_a_value_that_somebody_replaced_meanwhile_stays():
    (account,) = store(1)
    ring = KeyRing(NEW)
    ((column, values),) = reset.chosen(ring, reset.Scope())
    overwrite(account, ring.encrypt("IGAAReconnectedMeanwhile"))
    assert not reset._clear(column, next(iter(values)))
    assert opened(NEW) == {"shop.0": "IGAAReconnectedMeanwhile"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a text column holds text")
@pytest.mark.parametrize("overwrite", [overwrite_with_no_text, overwrite], ids=["text", "blob"])
def test_what_is_no_text_is_cleared_like_any_other(reset_tokens, overwrite):
    accounts = store(3, NEW)
    overwrite(accounts[1], b"\x80\x00")
    said = reset_tokens()
    assert f"Cleared: account {accounts[1].pk} @shop.1" in said
    assert cleared() == {"shop.1"}
    assert sorted(opened(NEW)) == ["shop.0", "shop.2"]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a text column holds text")
def test_other_bytes_that_came_in_its_place_stay():
    (account,) = store(1)
    overwrite_with_no_text(account, b"\x80")
    ((column, values),) = reset.chosen(KeyRing(NEW), reset.Scope())
    overwrite_with_no_text(account, b"\x81")
    assert not reset._clear(column, next(iter(values)))
    assert cleared() == set()


def test_without_any_secret_it_is_refused_rather_than_everything_cleared(reset_tokens):
    store(2)
    with pytest.raises(CommandError, match="SESSION_SECRET is not set"):
        reset_tokens(secret=None)
    assert cleared() == set()
    reset_tokens("--all", secret=None)
    assert len(cleared()) == 2


def test_a_secret_that_a_running_process_holds_is_not_lost(reset_tokens):
    store(2)
    Process.objects.create(kind="web", host="elsewhere", pid=7, fingerprints=[fingerprint(OLD)])
    with pytest.raises(CommandError, match="web process 7 on elsewhere holds it"):
        reset_tokens()
    assert cleared() == set()


def test_afterwards_the_new_secret_is_the_current_one_and_nothing_is_unreadable(reset_tokens):
    store(2)
    reset_tokens()
    assert Secret.objects.current().fingerprint == fingerprint(NEW)
    assert Census.objects.get().unreadable == 0
    event = SecurityEvent.objects.get(kind=SecurityEvent.Kind.RESET)
    assert event.details["cleared"] == 2


def test_while_something_needs_the_other_secret_that_one_stays_current(settings):
    accounts = store(2)
    overwrite(accounts[0], "broken")
    settings.KEYRING = KeyRing(NEW, [OLD])
    call_command("reset_tokens", "--no-input", "--no-backup", stdout=io.StringIO())
    assert Secret.objects.current().fingerprint == fingerprint(OLD)


def test_whoever_knows_the_model_is_told(reset_tokens):
    accounts = store(2)
    told = {}

    @receiver([reset.values_cleared, reset.clearing_announced], sender=Account)
    def listen(signal, field, pks, **kwargs):
        told[signal is reset.values_cleared] = (field.name, sorted(pks))
        return 3

    assert "3 members told by mail. Nothing was changed." in reset_tokens("--notify-only")
    reset_tokens()
    both = ("access_token", sorted(a.pk for a in accounts))
    assert told == {True: both, False: both}


def test_when_nobody_can_be_told_it_says_so(reset_tokens):
    store(2)
    with pytest.raises(CommandError, match="EMAIL_URL is not set") as caught:
        reset_tokens("--notify-only")
    assert caught.value.returncode == Exit.NOT_CONFIGURED
    assert cleared() == set()


def test_an_interruption_says_how_far_it_came_and_leaves_a_record_of_it(reset_tokens, monkeypatch):
    store(25)
    monkeypatch.setattr("crypto.columns.PAGE", 10)

    @receiver(reset.values_cleared, sender=Account)
    def interrupt(signal, pks, **kwargs):
        if len(cleared()) > 10:
            raise KeyboardInterrupt

    with pytest.raises(CommandError, match="10 values cleared before; run it again") as caught:
        reset_tokens()
    assert caught.value.returncode == Exit.PARTLY
    assert len(cleared()) == 10
    (event,) = SecurityEvent.objects.filter(kind=SecurityEvent.Kind.RESET)
    assert event.details["cleared"] == 10


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="the tests' database is in memory: nothing to copy"
)
def test_a_backup_comes_first(reset_tokens, tmp_path):
    store(1)
    reset_tokens(backup=True)
    (copy,) = tmp_path.iterdir()
    assert "before-reset" in copy.name
    assert copy.stat().st_mode & 0o777 == 0o600


def test_the_old_guides_sql_works_by_hand():
    store(2)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts SET access_token_encrypted = NULL, token_expires_at = NULL;"
        )
    assert {a.status for a in Account.objects.all()} == {Account.Status.DISCONNECTED}
    store(1, NEW, first=5)
    assert Secret.objects.current().fingerprint == derive(NEW).fingerprint
