"""Who runs, with which secrets: said by the processes themselves."""

import os
import socket
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from crypto import heartbeat, startup, verdict
from crypto.heartbeat import Heartbeat
from crypto.keyring import KeyRing, derive
from crypto.models import Process, Secret, SecurityEvent

from .secrets_of_a_shop import NEW, OLD, fingerprint, store

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_seen_yet(monkeypatch):
    monkeypatch.setattr(verdict, "latest", None)


def test_a_process_says_its_ring_and_what_it_sees(settings):
    settings.KEYRING = KeyRing(NEW, [OLD])
    store(1)
    Heartbeat("web").beat()
    row = Process.objects.get()
    assert (row.kind, row.host, row.pid) == ("web", socket.gethostname(), os.getpid())
    assert row.fingerprints == [fingerprint(NEW), fingerprint(OLD)]
    assert row.verdict == "fallback"
    assert heartbeat.living() == [row]


def test_it_is_one_row_however_often_it_beats_and_gone_when_it_stops():
    beating = Heartbeat("worker")
    for _ in range(3):
        beating.beat()
    assert Process.objects.count() == 1
    beating.stop()
    assert not Process.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_that_could_not_write_itself_down_stops_in_silence():
    def refuse_new_rows(execute, sql, *args):
        if sql.startswith("INSERT"):
            raise OperationalError("database is locked")
        return execute(sql, *args)

    beating = Heartbeat("web")
    with connection.execute_wrapper(refuse_new_rows):
        beating.beat()
    beating.stop()
    assert not Process.objects.exists()


def test_who_was_silent_for_three_beats_is_taken_for_dead():
    Heartbeat("web").beat()
    Process.objects.update(host="elsewhere")
    assert len(heartbeat.living()) == 1
    Process.objects.update(seen_at=timezone.now() - timedelta(seconds=46))
    assert heartbeat.living() == []


def test_rows_of_processes_long_dead_are_forgotten():
    Process.objects.create(
        kind="web", host="x", pid=1, fingerprints=[], seen_at=timezone.now() - timedelta(days=2)
    )
    Heartbeat("web").beat()
    assert Process.objects.get().host == socket.gethostname()


def test_a_rotation_that_went_past_it_is_seen_at_the_next_beat(settings, caplog):
    settings.KEYRING = KeyRing(OLD)
    store(1)
    beating = Heartbeat("web")
    beating.beat()
    assert Process.objects.get().verdict == "current"
    Secret.objects.make_current(derive(NEW))
    beating.beat()
    assert Process.objects.get().verdict == "superseded"
    assert "this process still runs the old one" in caplog.text


class TestStart:
    """What a start enters into the registry."""

    @pytest.fixture
    def start(self, settings):
        def start(primary, *fallbacks):
            settings.KEYRING = KeyRing(primary, fallbacks)
            startup._enter_secret()

        return start

    def subjects(self):
        changed = SecurityEvent.objects.filter(kind=SecurityEvent.Kind.SECRET_CHANGED)
        return [event.subject for event in changed.order_by("pk")]

    def test_only_a_start_with_another_secret_is_recorded(self, start):
        for secret in (OLD, OLD, NEW, NEW, OLD):
            start(secret)
        assert self.subjects() == [f"secret {fingerprint(s)}" for s in (OLD, NEW, OLD)]

    def test_values_older_than_the_registry_name_their_secret(self, start):
        store(3)
        Secret.objects.all().delete()
        start(NEW, OLD)
        assert Secret.objects.current().fingerprint == fingerprint(OLD)

    def test_a_wrong_secret_enters_nothing(self, start):
        store(3)
        Secret.objects.all().delete()
        start(NEW)
        assert Secret.objects.current() is None
