"""The webhook over Django's client; over real sockets it is in test_journeys.py."""

import gzip
import json
import sqlite3
import threading
import time
from contextlib import suppress

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError, connection

from messaging import ledger
from messaging.models import Conversation, Message, WebhookEvent
from tests.conftest import sign, work

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/webhooks/instagram"
ACCOUNT = "17841405309213877"
TEXT = {
    "object": "instagram",
    "entry": [
        {
            "id": ACCOUNT,
            "time": 1760000000123,
            "messaging": [
                {
                    "sender": {"id": "1184527390664218"},
                    "recipient": {"id": ACCOUNT},
                    "timestamp": 1760000000000,
                    "message": {"mid": "mid-1", "text": "Hello"},
                }
            ],
        }
    ],
}


def messages(*messages):
    entry = {**TEXT["entry"][0], "messaging": list(messages)}
    return {"object": "instagram", "entry": [entry]}


def inbound(**message):
    return {**TEXT["entry"][0]["messaging"][0], "message": message}


class TestVerification:
    def ask(self, client, **changes):
        query = {
            "hub.mode": "subscribe",
            "hub.challenge": "1158201444",
            "hub.verify_token": django_settings.INSTAGRAM_VERIFY_TOKEN,
        }
        return client.get(URL, query | {f"hub.{k}": v for k, v in changes.items()})

    def test_the_challenge_comes_back_as_it_is(self, client):
        response = self.ask(client)
        assert (response.status_code, response.content) == (200, b"1158201444")
        assert response.headers["Content-Type"] == "text/plain"

    def test_a_challenge_is_opaque_text_and_never_html(self, client):
        response = self.ask(client, challenge="<script>alert(1)</script>")
        assert response.content == b"<script>alert(1)</script>"
        assert response.headers["Content-Type"] == "text/plain"
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    @pytest.mark.parametrize(
        "change", [{"verify_token": "wrong"}, {"verify_token": ""}, {"mode": "x"}]
    )
    def test_everything_else_is_403(self, client, change):
        assert self.ask(client, **change).status_code == 403

    def test_an_unset_verify_token_matches_nothing(self, client, settings):
        settings.INSTAGRAM_VERIFY_TOKEN = ""
        assert self.ask(client, verify_token="").status_code == 403


class TestSignature:
    @pytest.mark.parametrize("number", [0, 1])
    def test_any_app_secret_may_sign(self, post_webhook, number):
        body = json.dumps(TEXT).encode()
        signature = sign(body, django_settings.INSTAGRAM_APP_SECRETS[number])
        assert post_webhook(body, signature).status_code == 200
        assert bytes(WebhookEvent.objects.get().body) == body

    @pytest.mark.parametrize(
        "signature",
        ["", "sha256=", "sha256=" + "0" * 64, "sha1=abc", "sha256=é", sign(b"other body")],
    )
    def test_a_bad_one_is_refused_and_nothing_stored(self, post_webhook, signature):
        assert post_webhook(TEXT, signature).status_code == 403
        assert not WebhookEvent.objects.exists()

    def test_no_configured_secret_accepts_nothing(self, post_webhook, settings):
        settings.INSTAGRAM_APP_SECRETS = []
        assert post_webhook(TEXT, sign(b"", "x")).status_code == 403

    def test_the_raw_bytes_are_signed_not_what_they_mean(self, post_webhook):
        body = b'{"object":"instagram","entry":[],"x":"\\u00e9"}'
        same_meaning = '{"object":"instagram","entry":[],"x":"é"}'.encode()
        assert post_webhook(same_meaning, sign(body)).status_code == 403
        assert post_webhook(body).status_code == 200


ODD = {
    "broken json": b'{"object":"instagram","entry":[',
    "empty": b"",
    "not utf-8": b"\xff\xfe\x00\x80",
    "compressed": gzip.compress(b"{}"),
    "a number": b"17",
    "null": b"null",
    "deeply nested": b"[" * 100_000,
    "huge number": b'{"object":"instagram","entry":[{"id":' + b"9" * 5000 + b"}]}",
    "wrong object": json.dumps({**TEXT, "object": "page"}).encode(),
    "entry is text": b'{"object":"instagram","entry":"x"}',
    "entry holds null": b'{"object":"instagram","entry":[null,1,"x",[]]}',
    "ids are objects": json.dumps(messages({**inbound(mid="m", text="x"), "sender": 7})).encode(),
    "no message": json.dumps(messages({"sender": {"id": "1"}, "future_event": {}})).encode(),
    "long mid": json.dumps(messages(inbound(mid="m" * 5000, text="x"))).encode(),
    "unknown account": json.dumps(TEXT).encode(),
    "dashboard test": json.dumps(
        {
            "object": "instagram",
            "entry": [
                {
                    "id": "0",
                    "time": 1,
                    "changes": [
                        {
                            "field": "messages",
                            "value": {
                                "sender": {"id": "12334"},
                                "recipient": {"id": "23245"},
                                "timestamp": "1527459824",
                                "message": {"mid": "random_mid", "text": "random_text"},
                            },
                        }
                    ],
                }
            ],
        }
    ).encode(),
}


@pytest.mark.parametrize("name", ODD)
def test_whatever_is_signed_is_kept_and_shown_in_the_admin(name, post_webhook, admin_client):
    assert post_webhook(ODD[name]).status_code == 200
    work()
    event = WebhookEvent.objects.get()
    assert bytes(event.body) == ODD[name]
    assert event.state == WebhookEvent.State.UNHANDLED
    reason = event.events.first().reason
    assert reason
    assert not Conversation.objects.exists()
    listed = admin_client.get("/admin/messaging/webhookevent/")
    assert reason.split(",")[0] in listed.content.decode()
    page = admin_client.get(f"/admin/messaging/webhookevent/{event.pk}/change/")
    assert page.status_code == 200


def test_nul_and_lone_surrogates_are_mended_in_the_text_and_kept_in_the_ledger(
    account, post_webhook
):
    body = json.dumps(messages(inbound(mid="m", text="a\x00b\ud83dc 👍"))).encode()
    assert post_webhook(body).status_code == 200
    work()
    assert Message.objects.get().text == "a�b�c 👍"
    assert bytes(WebhookEvent.objects.get().body) == body


def test_unknown_fields_do_not_disturb(account, post_webhook):
    odd = {**inbound(mid="m", text="Hi", folder="x", new={"a": 1}), "surprise": True}
    post_webhook({**messages(odd), "extra": []})
    work()
    assert Message.objects.get().text == "Hi"
    assert WebhookEvent.objects.get().state == WebhookEvent.State.PROCESSED


def test_a_thousand_events_in_one_body_are_all_stored(account, post_webhook):
    many = [inbound(mid=f"mid-{n}", text=f"text {n}") for n in range(1000)]
    for n, event in enumerate(many):
        event["sender"] = {"id": str(5000 + n % 7)}
        event["timestamp"] += n
    assert post_webhook(messages(*many)).status_code == 200
    work()
    assert Message.objects.count() == 1000
    assert Conversation.objects.count() == 7
    assert WebhookEvent.objects.get().state == WebhookEvent.State.PROCESSED


def test_a_body_above_16_mib_is_refused(client):
    response = client.post(
        URL,
        data=b"x",
        content_type="application/json",
        headers={"Content-Length": str(16 * 1024 * 1024 + 1)},
    )
    assert response.status_code == 413
    assert not WebhookEvent.objects.exists()


def test_a_database_that_takes_nothing_gets_a_503_so_that_meta_tries_again(
    post_webhook, monkeypatch
):
    def fail(*args):
        raise OperationalError("database is locked")

    with connection.execute_wrapper(lambda *args: fail()):
        response = post_webhook(TEXT)
    assert response.status_code == 503
    assert response.headers["Retry-After"]


@pytest.mark.skipif(not django_settings.IS_SQLITE, reason="SQLite's own wait")
def test_whoever_has_the_connection_next_waits_for_the_writer_as_usual(post_webhook):
    assert post_webhook(TEXT).status_code == 200
    assert connection.patience == django_settings.DATABASE_WAIT


@pytest.mark.skipif(not django_settings.IS_SQLITE, reason="threads take turns on SQLite only")
def test_whoever_waits_while_the_database_is_held_gets_a_200_only_for_what_is_stored(
    tmp_path, monkeypatch
):
    """Some give up, some are stored by another's turn; none is told what is not so."""
    database = sqlite3.connect(tmp_path / "busy.db", isolation_level=None, check_same_thread=False)
    database.execute("CREATE TABLE stored (body)")
    held_until = time.monotonic() + 0.6

    def insert(letters, before=""):
        give_up = time.monotonic() + connection.patience
        while time.monotonic() < held_until:
            if time.monotonic() > give_up:
                raise OperationalError("database is locked")
            time.sleep(0.001)
        for letter in letters:
            database.execute("INSERT INTO stored VALUES (?)", [letter.body])

    monkeypatch.setattr(ledger, "_insert", insert)
    monkeypatch.setattr(ledger, "_last_busy", 0.0)
    monkeypatch.setattr(django_settings, "DATABASE_WAIT", 0.5)
    monkeypatch.setattr(ledger.inbound.process, "hint", lambda: None)
    told_yes = []

    def send(number):
        time.sleep(number % 10 / 20)
        with suppress(ledger.Busy):
            ledger.accept(b"body %d" % number)
            told_yes.append(b"body %d" % number)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = {body for (body,) in database.execute("SELECT body FROM stored")}
    assert told_yes
    assert set(told_yes) <= stored
    assert not ledger._waiting
