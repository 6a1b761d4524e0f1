"""All values move, or none; what others write meanwhile survives."""

import os
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from django.db import OperationalError, connection, transaction

from accounts.models import Account
from crypto import rotation
from crypto.keyring import KeyRing
from crypto.models import Census, Process, Secret, SecurityEvent
from crypto.rotation import RotationRefused, Unreadable, Watcher, rotate
from crypto.staging import Stage
from tests.waiting import eventually

from .secrets_of_a_shop import (
    NEW,
    OLD,
    OTHER,
    TOKEN,
    columns,
    fingerprint,
    kept_octets,
    opened,
    overwrite,
    overwrite_with_no_text,
    store,
)

pytestmark = pytest.mark.django_db

RING = KeyRing(NEW, [OLD])


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr("crypto.columns.PAGE", 10)


def expected(numbers) -> dict[str, str]:
    return {f"shop.{n}": TOKEN.format(n) for n in numbers}


def test_every_value_is_under_the_new_secret_afterwards_and_says_the_same():
    store(35)
    done = rotate(RING)
    assert opened(NEW) == expected(range(35))
    assert opened(OLD) == {}
    assert done.moved.total() == 35
    assert Secret.objects.current().fingerprint == fingerprint(NEW)


def test_nothing_else_of_a_row_changes():
    store(1)
    before = Account.objects.values().get()
    rotate(RING)
    after = Account.objects.values().get()
    del before["access_token"], after["access_token"]
    assert after == before


def test_rows_without_a_value_stay_without():
    accounts = store(3)
    overwrite(accounts[1], None)
    rotate(RING)
    assert columns()[accounts[1].pk] is None


def test_the_registry_the_census_and_the_event_come_with_it():
    store(12)
    rotate(RING)
    retired = Secret.objects.get(pk=fingerprint(OLD))
    assert retired.retired_at
    assert retired.retired_by
    census = Census.objects.get()
    assert census.columns["accounts.access_token_encrypted"] == {fingerprint(NEW): 12}
    event = SecurityEvent.objects.get(kind=SecurityEvent.Kind.ROTATED)
    assert event.details["moved"] == 12
    assert event.details["before"] == fingerprint(OLD)


def test_a_registry_that_never_heard_of_the_old_secret_learns_of_it():
    store(2)
    Secret.objects.all().delete()
    rotate(RING)
    assert Secret.objects.get(pk=fingerprint(OLD)).retired_at


def test_values_under_several_fallbacks_all_move():
    store(5)
    store(5, OTHER, first=5)
    store(5, NEW, first=10)
    done = rotate(KeyRing(NEW, [OTHER, OLD]))
    assert opened(NEW) == expected(range(15))
    assert (done.moved.total(), done.already.total()) == (10, 5)


BAD = {
    "random text": lambda token: "no Fernet text at all",
    "a forged one": lambda token: token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:],
    "a truncated one": lambda token: token[:40],
    "nothing": lambda token: "",
    "no ASCII": lambda token: "gAAAAA\N{SNOWMAN}é",
    "one of a secret that nobody has": lambda token: KeyRing(OTHER).encrypt("x"),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
def test_an_unreadable_value_stops_it_with_nothing_written_and_is_named(spoil):
    accounts = store(25)
    overwrite(accounts[7], spoil(columns()[accounts[7].pk]))
    overwrite(accounts[21], spoil(columns()[accounts[21].pk]))
    before, named = columns(), []
    with pytest.raises(Unreadable, match="opens 2 of the stored values"):
        rotate(RING, watcher=Watcher(unreadable=lambda name, why: named.append(str(name))))
    assert columns() == before
    assert Secret.objects.current().fingerprint == fingerprint(OLD)
    assert not SecurityEvent.objects.filter(kind=SecurityEvent.Kind.ROTATED).exists()
    assert sorted(named) == sorted(f"account {accounts[n].pk} @shop.{n}" for n in (7, 21))


def test_skipping_leaves_unreadable_ones_as_they_are_and_moves_the_rest():
    accounts = store(25)
    overwrite(accounts[7], "")
    done = rotate(RING, skip_unreadable=True)
    assert columns()[accounts[7].pk] == ""
    assert opened(NEW) == expected(set(range(25)) - {7})
    assert done.census.unreadable == 1
    assert Census.objects.get().named[0]["name"] == f"account {accounts[7].pk} @shop.7"


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a text column holds text")
@pytest.mark.parametrize("overwrite", [overwrite_with_no_text, overwrite], ids=["text", "blob"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "meanwhile"])
def test_what_is_no_text_is_named_and_left_byte_for_byte(overwrite, late):
    accounts = store(25)
    spoil = partial(overwrite, accounts[7], b"gAAAAAB\x80\xff\x00")
    named = []
    watcher = Watcher(
        unreadable=lambda name, why: named.append(str(name)),
        swapping=spoil if late else lambda: None,
    )
    if not late:
        spoil()
    with pytest.raises(Unreadable, match="opens 1 of the stored values"):
        rotate(RING, watcher=watcher)
    assert named == [f"account {accounts[7].pk} @shop.7"]
    assert opened(OLD).keys() >= expected(set(range(25)) - {7}).keys()
    before = kept_octets(accounts[7])
    assert rotate(RING, skip_unreadable=True).census.unreadable == 1
    assert kept_octets(accounts[7]) == before
    assert opened(NEW) == expected(set(range(25)) - {7})


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a text column holds text")
def test_what_replaces_it_meanwhile_is_moved():
    accounts = store(3)
    overwrite_with_no_text(accounts[1])
    token = KeyRing(OLD).encrypt("IGAAReconnectedMeanwhile")
    watcher = Watcher(swapping=lambda: overwrite(accounts[1], token))
    done = rotate(RING, watcher=watcher, skip_unreadable=True)
    assert done.raced == 1
    assert opened(NEW)["shop.1"] == "IGAAReconnectedMeanwhile"


def test_a_dry_run_writes_nothing():
    store(12)
    before, registry = columns(), list(Secret.objects.values())
    done = rotate(RING, dry_run=True)
    assert done.moved.total() == 12
    assert columns() == before
    assert list(Secret.objects.values()) == registry


def test_going_back_to_the_secret_before_takes_force():
    store(3)
    rotate(RING)
    back = KeyRing(OLD, [NEW])
    with pytest.raises(RotationRefused, match="was rotated away"):
        rotate(back)
    assert rotate(back, force=True).moved.total() == 3


def test_a_connection_lost_after_the_commit_does_not_undo_what_was_done(monkeypatch):
    store(3)

    def lost(*args):
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(Stage, "strangers", lost)
    monkeypatch.setattr(Stage, "drop", lost)
    assert rotate(RING).moved.total() == 3
    assert len(opened(NEW)) == 3


def test_doing_it_again_is_refused_since_there_is_nothing_to_do():
    store(3)
    rotate(RING)
    with pytest.raises(RotationRefused, match="nothing to do: 3 stored values"):
        rotate(RING)


def test_where_nothing_is_stored_the_registry_alone_moves():
    assert rotate(RING).total == 0
    assert Secret.objects.current().fingerprint == fingerprint(NEW)


def test_secrets_that_open_nothing_are_one_mistake_not_many():
    store(30)
    with pytest.raises(RotationRefused, match=f"They are under secret {fingerprint(OLD)}"):
        rotate(KeyRing(NEW, [OTHER]))


@pytest.mark.parametrize("alive", [True, False])
def test_a_living_process_without_the_new_secret_keeps_it_from_happening(alive):
    store(1)
    Process.objects.create(kind="web", host="elsewhere", pid=7, fingerprints=[fingerprint(OLD)])
    if not alive:
        Process.objects.update(seen_at="2020-01-01T00:00Z")
        assert rotate(RING).moved.total() == 1
        return
    with pytest.raises(RotationRefused, match="web process 7 on elsewhere"):
        rotate(RING)
    assert opened(OLD) == expected([0])
    assert rotate(RING, force=True).moved.total() == 1


def test_a_process_of_this_machine_that_is_gone_does_not_count():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    store(1)
    here = socket.gethostname()
    Process.objects.create(
        kind="web",
        host=here,
        pid=gone.pid,
        pid_namespace=os.readlink("/proc/self/ns/pid"),
        fingerprints=[fingerprint(OLD)],
    )
    assert rotate(RING).moved.total() == 1


def test_a_token_written_meanwhile_survives_under_the_new_secret():
    accounts = store(25)
    fresh = KeyRing(OLD).encrypt("IGAAFreshTokenOfAnAccountThatReconnected")
    done = rotate(RING, watcher=Watcher(swapping=lambda: overwrite(accounts[3], fresh)))
    assert opened(NEW)["shop.3"] == "IGAAFreshTokenOfAnAccountThatReconnected"
    assert len(opened(NEW)) == 25
    assert done.raced == 1


def test_rows_added_and_deleted_meanwhile_are_seen():
    accounts = store(25)

    def meanwhile():
        store(2, first=30)
        Account.objects.filter(pk__in=[accounts[1].pk, accounts[2].pk]).delete()

    rotate(RING, watcher=Watcher(swapping=meanwhile))
    assert opened(NEW) == expected({*range(25), 30, 31} - {1, 2})


def test_a_value_cleared_meanwhile_stays_cleared():
    accounts = store(12)
    rotate(RING, watcher=Watcher(swapping=lambda: overwrite(accounts[3], None)))
    assert columns()[accounts[3].pk] is None
    assert len(opened(NEW)) == 11


def test_a_value_that_became_unreadable_meanwhile_stops_it_too():
    accounts = store(12)
    with pytest.raises(Unreadable):
        rotate(RING, watcher=Watcher(swapping=lambda: overwrite(accounts[3], "broken")))
    assert len(opened(OLD)) == 11


def test_when_very_much_was_written_meanwhile_it_begins_again(monkeypatch):
    monkeypatch.setattr(rotation, "FEW", 3)
    accounts, rounds = store(12), []

    def meanwhile():
        rounds.append(1)
        if len(rounds) == 1:
            for account in accounts[:8]:
                overwrite(account, KeyRing(OLD).encrypt("IGAAAllOfThemReconnectedAtOnce"))

    rotate(RING, watcher=Watcher(swapping=meanwhile))
    assert len(rounds) == 2
    assert len(opened(NEW)) == 12


def test_a_rotation_that_another_one_overtook_changes_nothing():
    store(12)

    def meanwhile():
        rotate(KeyRing(OTHER, [OLD]))

    with pytest.raises(RotationRefused, match="Another rotation"):
        rotate(RING, watcher=Watcher(swapping=meanwhile))
    assert len(opened(OTHER)) == 12
    assert Secret.objects.current().fingerprint == fingerprint(OTHER)


def test_an_error_in_the_middle_of_the_swap_takes_everything_back(monkeypatch):
    store(12)

    def fail(*args, **kwargs):
        raise RuntimeError("the power failed")

    monkeypatch.setattr(SecurityEvent.objects, "record", fail)
    with pytest.raises(RuntimeError), transaction.atomic():
        rotate(RING)
    monkeypatch.undo()
    assert len(opened(OLD)) == 12
    assert Secret.objects.current().fingerprint == fingerprint(OLD)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer")
@pytest.mark.django_db(transaction=True)
def test_it_gives_way_to_a_writer_who_holds_a_row_and_comes_back():
    accounts = store(12)
    ready = threading.Event()

    def writer():
        with transaction.atomic():
            list(Account.objects.select_for_update().filter(pk=accounts[3].pk))
            ready.set()
            time.sleep(1)
            Account.objects.filter(pk=accounts[3].pk).update(username="renamed")
        connection.close()

    thread = threading.Thread(target=writer)
    thread.start()
    ready.wait()
    done = rotate(RING)
    thread.join()
    assert len(opened(NEW)) == 12
    assert "renamed" in opened(NEW)
    assert done.held < 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer")
@pytest.mark.django_db(transaction=True)
def test_while_it_waits_for_an_account_it_does_not_hold_the_registry(monkeypatch):
    """Who reconnects one locks both in that order; each would wait for the other."""
    monkeypatch.setattr(rotation, "LOCK_WAIT", 10_000)
    accounts = store(3)

    def rotating():
        rotate(RING)
        connection.close()

    thread = threading.Thread(target=rotating)
    with transaction.atomic():
        list(Account.objects.select_for_update().filter(pk=accounts[0].pk))
        thread.start()
        eventually(lambda: locked_against_writers() == {("accounts", False)})
        assert locked_against_writers() == {("accounts", False)}
    thread.join()
    assert len(opened(NEW)) == 3


def locked_against_writers() -> set[tuple[str, bool]]:
    """Tables that somebody asked for, and whether they got them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relation::regclass::text, granted FROM pg_locks WHERE mode = 'ExclusiveLock'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return set(cursor.fetchall())
