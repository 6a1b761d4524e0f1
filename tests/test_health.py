"""What machines are told, and what only some of them."""

import pytest

from crypto import verdict
from crypto.keyring import KeyRing

pytestmark = pytest.mark.django_db

ELSEWHERE = {"REMOTE_ADDR": "203.0.113.7"}


@pytest.fixture(autouse=True)
def nothing_seen_yet(monkeypatch):
    monkeypatch.setattr(verdict, "latest", None)


def test_this_machine_sees_the_verdict(client, account, settings):
    assert client.get("/readyz").json()["secret"]["state"] == "current"
    settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
    answer = client.get("/readyz")
    assert answer.json()["secret"]["state"] == "wrong"
    assert answer.json()["secret"]["ok"] is False


def test_a_wrong_secret_does_not_keep_messages_away(client, account, settings):
    settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


def test_strangers_learn_only_whether_it_is_ready(client):
    assert client.get("/readyz", **ELSEWHERE).json() == {"ready": True}


def test_a_visitor_behind_a_proxy_of_this_machine_is_a_stranger(client):
    answer = client.get("/readyz", headers={"X-Forwarded-For": "203.0.113.7"})
    assert answer.json() == {"ready": True}


def test_a_monitor_with_the_token_sees_all(client, settings):
    settings.METRICS_TOKEN = "tell-me-how-you-are"

    def ask(token):
        return client.get("/readyz", headers={"Authorization": f"Bearer {token}"}, **ELSEWHERE)

    assert "secret" in ask("tell-me-how-you-are").json()
    assert ask("wrong").json() == {"ready": True}
    settings.METRICS_TOKEN = None
    assert ask("None").json() == {"ready": True}


def test_a_process_that_lives_says_ok(client):
    assert client.get("/livez").content == b"ok"


def test_the_real_database_being_away_is_503_and_no_detail_for_strangers(client, monkeypatch):
    from django.db import OperationalError, connection

    def gone(*args, **kwargs):
        raise OperationalError("no route to the host that holds it")

    monkeypatch.setattr(connection, "cursor", gone)
    answer = client.get("/readyz", **ELSEWHERE)
    assert (answer.status_code, answer.json()) == (503, {"ready": False})
    assert "no route" in client.get("/readyz").json()["database"]["detail"]
