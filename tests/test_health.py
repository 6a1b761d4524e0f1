"""What machines are told, and what only some of them."""

import shutil
from collections import namedtuple
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from crypto import verdict
from crypto.heartbeat import Heartbeat
from crypto.keyring import KeyRing
from messaging import queues, readiness
from messaging.models import WebhookEvent

pytestmark = pytest.mark.django_db

ELSEWHERE = {"REMOTE_ADDR": "203.0.113.7"}
PARTS = ["database", "migrations", "queue", "worker", "secret", "disk"]


@pytest.fixture(autouse=True)
def nothing_seen_yet(monkeypatch):
    monkeypatch.setattr(verdict, "latest", None)
    monkeypatch.setattr(readiness, "_is_migrated", False)


@pytest.fixture
def worker():
    """One that lives: this very process says that it is one."""
    beating = Heartbeat("worker")
    beating.beat()
    return beating


def failing(answer):
    return [name for name in PARTS if name in answer.json() and not answer.json()[name]["ok"]]


def test_a_site_that_works_is_ready_part_by_part(client, account, worker):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert list(answer.json()) == ["ready", "release", *PARTS]
    assert failing(answer) == []
    # One line for each part, between two braces.
    assert len(answer.content.splitlines()) == len(PARTS) + 4


def test_the_release_is_the_one_that_the_project_and_the_changelog_name(client):
    root = Path(__file__).parent.parent
    release = client.get("/readyz").json()["release"]
    assert f'\nversion = "{release}"\n' in (root / "pyproject.toml").read_text()
    assert f"\n## {release} " in (root / "CHANGELOG.md").read_text()


def test_this_machine_sees_the_verdict(client, account, settings):
    assert client.get("/readyz").json()["secret"]["state"] == "current"
    settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
    answer = client.get("/readyz")
    assert answer.json()["secret"]["state"] == "wrong"
    assert answer.json()["secret"]["ok"] is False


def test_a_wrong_secret_does_not_keep_messages_away(client, account, worker, settings):
    settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


def test_without_a_worker_the_site_is_not_ready_but_takes_webhooks(client, worker):
    worker.stop()
    answer = client.get("/readyz")
    assert (answer.status_code, failing(answer)) == (503, ["worker"])
    assert "run_huey" in answer.json()["worker"]["detail"]
    # What a load balancer asks: taking the site away would lose messages.
    answer = client.get("/readyz?exclude=worker,queue")
    assert (answer.status_code, "worker" in answer.json()) == (200, False)


def test_a_worker_on_another_host_counts_until_it_is_silent_for_45_seconds(client, worker):
    worker.row.host, worker.row.seen_at = "elsewhere", timezone.now() - timedelta(seconds=40)
    worker.row.save()
    assert client.get("/readyz").json()["worker"]["ok"]
    worker.row.seen_at = timezone.now() - timedelta(seconds=46)
    worker.row.save()
    assert not client.get("/readyz").json()["worker"]["ok"]


def test_work_that_nobody_takes_up_is_told_with_its_age(client, worker):
    ago = timezone.now() - timedelta(seconds=400)
    WebhookEvent.objects.create(body=b"{}", due_at=ago)
    answer = client.get("/readyz")
    assert (answer.status_code, failing(answer)) == (503, ["queue"])
    assert "inbound.process 40" in answer.json()["queue"]["detail"]


def test_a_task_queue_out_of_reach_is_told(client, worker, monkeypatch):
    def refuse():
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr(queues.HUEY.storage, "queue_size", refuse)
    assert failing(client.get("/readyz")) == ["queue"]


def test_a_migration_that_was_not_run_is_named(client, worker):
    from django.db.migrations.recorder import MigrationRecorder

    done = MigrationRecorder.Migration.objects.filter(app="messaging").order_by("-pk")
    latest = done[0].name
    done.filter(name=latest).delete()
    answer = client.get("/readyz")
    assert (answer.status_code, failing(answer)) == (503, ["migrations"])
    assert f"messaging.{latest}" in answer.json()["migrations"]["detail"]


def test_a_full_disk_is_told_before_it_is_full(client, worker, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**10, 10**10, 10**8))
    answer = client.get("/readyz")
    assert (answer.status_code, failing(answer)) == (503, ["disk"])


def test_strangers_learn_only_whether_it_is_ready(client, worker):
    assert client.get("/readyz", **ELSEWHERE).json() == {"ready": True}


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
@pytest.mark.parametrize("proxies", [[], ["127.0.0.1"]])
def test_a_visitor_behind_a_proxy_of_this_machine_is_a_stranger(client, settings, header, proxies):
    settings.TRUSTED_PROXIES = proxies
    headers = {header: "127.0.0.1"}
    assert client.get("/readyz", headers=headers).json().keys() == {"ready"}
    assert client.get("/metrics", headers=headers).status_code == 403


def test_a_monitor_with_the_token_sees_all(client, worker, settings):
    settings.METRICS_TOKEN = "tell-me-how-you-are"

    def ask(token):
        return client.get("/readyz", headers={"Authorization": f"Bearer {token}"}, **ELSEWHERE)

    assert "secret" in ask("tell-me-how-you-are").json()
    assert ask("wrong").json() == {"ready": True}
    settings.METRICS_TOKEN = None
    assert ask("None").json() == {"ready": True}


def test_a_process_that_lives_says_ok(client):
    assert client.get("/livez").content == b"ok"


def test_health_is_what_monitors_of_the_predecessor_know(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = client.get("/health", **ELSEWHERE).json()
    assert list(answer) == ["status", "timestamp", "environment"]
    assert (answer["status"], answer["environment"]) == ("healthy", "development")
    assert abs(datetime.fromisoformat(answer["timestamp"]) - timezone.now()) < timedelta(seconds=9)


def test_the_real_database_being_away_is_503_and_no_detail_for_strangers(client, monkeypatch):
    from django.db import OperationalError, connection

    def gone(*args, **kwargs):
        raise OperationalError("no route to the host that holds it")

    monkeypatch.setattr(connection, "cursor", gone)
    answer = client.get("/readyz", **ELSEWHERE)
    assert (answer.status_code, answer.json()) == (503, {"ready": False})
    parts = client.get("/readyz").json()
    assert "no route" in parts["database"]["detail"]
    assert "the database does not answer" in parts["worker"]["detail"]


def test_a_database_that_is_away_is_waited_for_once(client, monkeypatch):
    from django.db import OperationalError, connection

    waits = []

    def gone(*args, **kwargs):
        waits.append(args)
        raise OperationalError("couldn't get a connection after 3.00 sec")

    monkeypatch.setattr(connection, "cursor", gone)
    # The secret was looked at when the site started.
    answer = client.get("/readyz?exclude=secret")
    assert failing(answer) == ["database", "migrations", "queue", "worker"]
    assert len(waits) == 1
