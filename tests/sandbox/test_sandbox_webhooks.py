import base64
import hashlib
import hmac
import json
import threading
from urllib.parse import parse_qsl

import pytest

from instamsg.sandbox.signed_requests import MALFORMED, WRONG_INSIDE

from .conftest import SECOND_SECRET, SECRET


def signed_by(secret, hook):
    digest = hmac.new(secret.encode(), hook.body, hashlib.sha256).hexdigest()
    return hook.headers["X-Hub-Signature-256"] == f"sha256={digest}"


def test_delivery_looks_and_signs_like_the_platforms(connect, say, site, control):
    connect()
    said = say("Größe 🙂 a/b?")
    control("flush")
    [hook] = site.received
    assert signed_by(SECRET, hook)
    digest = hmac.new(SECRET.encode(), hook.body, hashlib.sha1).hexdigest()
    assert hook.headers["X-Hub-Signature"] == f"sha1={digest}"
    assert hook.headers["User-Agent"] == "facebookexternalua"
    assert hook.headers["Content-Type"] == "application/json"
    assert hook.headers["Accept-Encoding"] == "deflate, gzip"
    assert hook.headers["Facebook-API-Version"] == "v25.0"
    assert rb"Gr\u00f6\u00dfe \ud83d\ude42 a\/b?" in hook.body
    assert b": " not in hook.body
    body = json.loads(hook.body)
    [entry] = body["entry"]
    [event] = entry["messaging"]
    assert body["object"] == "instagram"
    assert entry["id"] == event["recipient"]["id"] == "17841400000000101"
    assert event["sender"]["id"] == said["igsid"]
    assert event["message"] == {"mid": said["mid"], "text": "Größe 🙂 a/b?"}
    assert entry["time"] > 10**12


def test_mid_spells_out_the_ids(say):
    mid = say()["mid"]
    plain = mid.replace("ZA", "Z").replace("ZB", "+").replace("ZC", "/").replace("ZD", "=")
    name, one, kind, ig_id, thread, item = base64.b64decode(plain).decode().split(":")
    assert (name, one, kind, ig_id) == ("ig_dm_item", "1", "IGMessageID", "17841400000000101")
    assert thread.startswith("340282366841710300949128")
    assert (len(thread), len(item)) == (39, 35)
    assert say()["mid"] != mid


def test_without_a_subscription_there_is_silence(long_token, say, site, control):
    long_token()
    assert say()["heard"] is False
    control("flush")
    assert site.received == []


@pytest.mark.parametrize(
    ("command", "order"),
    [
        ("accounts", {"username": "luna.ceramics", "messages_allowed": False}),
        ("customers", {"username": "mila.tests", "tester": False}),
    ],
)
def test_what_silences_an_account(connect, say, control, command, order):
    connect()
    control(command, **order)
    assert say()["heard"] is False


def test_refused_delivery_is_tried_again_in_order(connect, say, site, control):
    connect()
    site.statuses = [500, 403, 302]
    for text in ("one", "two", "three"):
        say(text)
    assert control("flush")["ok"]
    assert site.texts == ["one", "one", "one", "one", "two", "three"]


def test_site_that_was_down_gets_its_message_later(connect, say, sandbox, site, control):
    connect()
    url, sandbox.webhook_url = sandbox.webhook_url, "http://127.0.0.1:9/"
    say("Are you there?")
    assert control("flush", timeout=0.1) == {"ok": False, "pending": 1}
    sandbox.webhook_url = url
    assert control("flush")["ok"]
    assert site.texts == ["Are you there?"]


def test_giving_up_ends_the_wait(connect, say, site, control):
    connect()
    control("settings", give_up_after=0)
    site.statuses = [500]
    say()
    assert control("flush")["ok"]
    assert control("state", method="GET")["deliveries"]["failed"] == 1


def test_what_is_under_way_at_a_reset_is_waited_for(connect, say, site, control, eventually):
    connect()
    release = threading.Event()
    site.on_receive = lambda body: release.wait(3)
    say()
    eventually(lambda: site.received)
    control("reset")
    assert not control("flush", timeout=0.05)["ok"]
    release.set()
    assert control("flush")["ok"]
    assert control("state", method="GET")["deliveries"]["delivered"] == 0


def test_slow_conversation_does_not_hold_up_another(connect, say, control, site, eventually):
    connect()
    release = threading.Event()
    site.on_receive = lambda body: release.wait(3) if b"slow" in body else None
    say("slow")
    say("after the slow one")
    say("quick", customer="amara.k")
    eventually(lambda: set(site.texts) == {"slow", "quick"})
    release.set()
    control("flush")
    assert site.texts[-1] == "after the slow one"


def test_duplicates_and_delay(connect, say, site, control):
    connect()
    control("settings", duplicates=2, delay=0.02)
    say("thrice")
    control("flush")
    assert site.texts == ["thrice"] * 3
    assert len({hook.body for hook in site.received}) == 1


def test_picture_can_be_fetched_and_its_address_cannot_be_guessed(
    connect, control, call, site, sandbox
):
    connect()
    control("say", account="luna.ceramics", customer="mila.tests", image=True)
    control("flush")
    [attachment] = site.events[0]["message"]["attachments"]
    path = attachment["payload"]["url"].removeprefix(sandbox.url)
    assert attachment["type"] == "image"
    assert path.startswith("/ig_messaging_cdn/?asset_id=")
    picture = call("GET", path)
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.body.startswith(b"\x89PNG\r\n\x1a\n")
    assert call("GET", path[:-1] + "x").status == 403


def test_own_bytes_can_be_sent_by_a_customer(connect, control, call, site, sandbox):
    connect()
    url = control(
        "assets", content_type="audio/mp4", body_base64=base64.b64encode(b"la la").decode()
    )["url"]
    voice = [{"type": "audio", "payload": {"url": url}}]
    control("say", account="luna.ceramics", customer="mila.tests", attachments=voice)
    control("flush")
    assert site.events[0]["message"]["attachments"] == voice
    answer = call("GET", url.removeprefix(sandbox.url))
    assert (answer.headers["Content-Type"], answer.body) == ("audio/mp4", b"la la")


def test_raw_message_and_taking_it_back(connect, control, site):
    connect()
    who = {"account": "luna.ceramics", "customer": "mila.tests"}
    said = control("say", **who, message={"text": "Oops", "reply_to": {"mid": "earlier"}})
    control("say", **who, message={"mid": said["mid"], "is_deleted": True})
    control("flush")
    assert site.events[0]["message"]["reply_to"] == {"mid": "earlier"}
    assert site.events[1]["message"] == {"mid": said["mid"], "is_deleted": True}
    assert "Oops" not in json.dumps(control("state", method="GET"))


def test_deliver_sends_events_once_and_tells_the_answer(control, site):
    site.statuses = [503]
    event = {"sender": {"id": "1"}, "recipient": {"id": "2"}, "read": {"mid": "m"}}
    answer = control("deliver", account="luna.ceramics", events=[event, event])
    assert answer == {"status": 503, "body": "EVENT_RECEIVED"}
    [hook] = site.received
    assert signed_by(SECRET, hook)
    assert json.loads(hook.body)["entry"][0]["messaging"] == [event, event]


def test_deliver_sends_raw_bytes_as_given(control, site):
    control("deliver", body='{"object": "page"}')
    control("deliver", body_base64=base64.b64encode(b"\xff\x00").decode())
    assert [hook.body for hook in site.received] == [b'{"object": "page"}', b"\xff\x00"]


def test_deliver_can_sign_wrongly(control, site):
    for kind in ("bad", "none", "second-secret"):
        control("deliver", body="{}", signature=kind)
    bad, none, second = site.received
    assert not signed_by(SECRET, bad)
    assert "X-Hub-Signature-256" not in none.headers
    assert signed_by(SECOND_SECRET, second)


def test_delivered_postback_opens_the_window(connect, control, send):
    token = connect()
    customers = control("state", method="GET")["customers"]
    igsid = customers[1]["igsids"]["luna.ceramics"]
    assert send(token, igsid).status == 403
    event = {"sender": {"id": igsid}, "postback": {"title": "Hours", "payload": "HOURS"}}
    control("deliver", account="luna.ceramics", events=[event])
    assert send(token, igsid).status == 200


def test_verification_handshake(control, site):
    assert control("verify")["ok"] is True
    assert "hub.mode=subscribe" in site.asked[0]
    assert "hub.verify_token=verify-me" in site.asked[0]


def test_signed_request_for_the_callbacks(control, site):
    control("signed-request", account="luna.ceramics", url=site.url)
    form = "application/x-www-form-urlencoded"
    [hook] = [hook for hook in site.received if hook.headers["Content-Type"] == form]
    signature, _, payload = hook.body.decode().removeprefix("signed_request=").partition(".")
    digest = hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == signature
    data = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert data["user_id"] == "26487000000000101"


@pytest.fixture
def signed_request(control, site):
    """The field that the callback gets; the form's other parts are as they always are."""

    def signed_request(**order):
        control("signed-request", url=site.url, **order)
        return dict(parse_qsl(site.received[-1].body.decode())).get("signed_request", "")

    return signed_request


def opened(value):
    return json.loads(base64.urlsafe_b64decode(value.partition(".")[2] + "=="))


def is_signed_by(secret, value):
    signature, _, payload = value.partition(".")
    digest = hmac.new(secret.encode(), payload.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=") == signature


def test_signed_request_can_be_of_anybody_at_any_time(signed_request):
    value = signed_request(user_id="0", issued_at=1, algorithm="hmac-sha256")
    assert opened(value) == {"user_id": "0", "algorithm": "hmac-sha256", "issued_at": 1}
    assert is_signed_by(SECRET, value)


def test_signed_request_by_another_secret(signed_request):
    second = signed_request(account="luna.ceramics", secret="second-secret")
    assert is_signed_by(SECOND_SECRET, second)
    bad = signed_request(account="luna.ceramics", secret="bad")
    assert not is_signed_by(SECRET, bad)
    assert not is_signed_by(SECOND_SECRET, bad)


def test_signed_request_that_is_none(signed_request):
    made = {
        kind: signed_request(account="luna.ceramics", malformed=kind)
        for kind in (*MALFORMED, *WRONG_INSIDE)
    }
    assert made["empty"] == ""
    assert "." not in made["one-part"]
    assert made["three-parts"].count(".") == 2
    assert made["no-signature"].startswith(".")
    assert opened(made["changed"]) == {}
    assert not is_signed_by(SECRET, made["changed"])
    for kind in WRONG_INSIDE:
        assert is_signed_by(SECRET, made[kind]), kind
