"""A sandbox, a site that hears its webhooks, and a few ways to talk to both; all on loopback."""

from __future__ import annotations

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest

from instamsg.sandbox.server import Sandbox

APP_ID, SECRET, SECOND_SECRET = "990000000000001", "first-app-secret", "second-app-secret"
REDIRECT = "http://localhost:8000/oauth/instagram/callback"
OTHER_REDIRECT = "http://localhost:8000/other"
BOTH = "instagram_business_basic,instagram_business_manage_messages"


class Site:
    """Hears webhooks; `statuses` are the answers to come, then 200."""

    def __init__(self):
        self.forget()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with site.lock:
                    site.received.append(SimpleNamespace(headers=self.headers, body=body))
                    status = site.statuses.pop(0) if site.statuses else 200
                site.on_receive(body)
                self.answer(status, b"EVENT_RECEIVED")

            def do_GET(self):
                site.asked.append(self.path)
                challenge = self.path.partition("hub.challenge=")[2].partition("&")[0]
                self.answer(200, challenge.encode())

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks/instagram"

    def forget(self):
        self.lock = threading.Lock()
        self.received, self.asked, self.statuses = [], [], []
        self.on_receive = lambda body: None

    @property
    def events(self):
        bodies = [json.loads(hook.body) for hook in self.received]
        return [event for body in bodies for event in body["entry"][0]["messaging"]]

    @property
    def texts(self):
        return [event["message"].get("text") for event in self.events]


@pytest.fixture(scope="session")
def running():
    site = Site()
    with Sandbox(
        app_id=APP_ID,
        app_secret=f"{SECRET},{SECOND_SECRET}",
        verify_token="verify-me",
        control_token="control-me",
        redirect_uris=[REDIRECT, OTHER_REDIRECT],
        webhook_url=site.url,
    ) as sandbox:
        yield sandbox, site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def sandbox(running):
    sandbox, site = running
    sandbox.reset()
    assert sandbox.webhooks.wait_until_idle(10)  # What a test before began may still arrive.
    site.forget()
    sandbox.webhook_url = site.url
    sandbox.world.settings.retries = [0.02, 0.05]
    return sandbox


@pytest.fixture
def site(running, sandbox):
    return running[1]


@pytest.fixture
def call(sandbox):
    """One HTTP request; gives status, headers, body, and the JSON in it if there is any."""

    def call(method, path, *, order=None, form=None, token=None, headers=None, body=None):
        headers = dict(headers or {})
        if order is not None:
            body, headers["Content-Type"] = json.dumps(order), "application/json"
        if form is not None:
            body = urlencode(form)
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        try:
            data = json.loads(content)
        except ValueError:
            data = None
        return SimpleNamespace(
            status=answer.status, headers=answer.headers, body=content, json=data
        )

    return call


@pytest.fixture
def control(call):
    """A command of the control API that is expected to work."""

    def control(command, method="POST", **order):
        answer = call(method, f"/_sandbox/{command}", order=order, token="control-me")
        assert answer.status == 200, answer.body
        return answer.json

    return control


@pytest.fixture
def exchange(call):
    def exchange(code, /, **changes):
        form = {
            "client_id": APP_ID,
            "client_secret": SECRET,
            "grant_type": "authorization_code",
            "redirect_uri": REDIRECT,
            "code": code,
        }
        return call("POST", "/oauth/access_token", form={**form, **changes})

    return exchange


@pytest.fixture
def short_token(control, exchange):
    def short_token(account="luna.ceramics", **consent):
        code = control("authorize", account=account, redirect_uri=REDIRECT, **consent)["code"]
        return exchange(code).json["access_token"]

    return short_token


@pytest.fixture
def long_token(call, short_token):
    def long_token(account="luna.ceramics", **consent):
        query = urlencode({"grant_type": "ig_exchange_token", "client_secret": SECRET})
        token = short_token(account, **consent)
        return call("GET", f"/access_token?{query}", token=token).json["access_token"]

    return long_token


@pytest.fixture
def connect(call, long_token):
    """Log the account in and subscribe it; gives its long-lived token."""

    def connect(account="luna.ceramics"):
        token = long_token(account)
        path = "/v25.0/me/subscribed_apps?subscribed_fields=messages"
        assert call("POST", path, token=token).json == {"success": True}
        return token

    return connect


@pytest.fixture
def say(control):
    """A customer writes; gives the answer of the control API."""

    def say(text="Hello", account="luna.ceramics", customer="mila.tests"):
        return control("say", account=account, customer=customer, text=text)

    return say


@pytest.fixture
def open_chat(connect, say, control):
    """A connected account and a customer who has just written: token and igsid."""
    token = connect()
    igsid = say()["igsid"]
    control("flush")
    return token, igsid


@pytest.fixture
def send(call):
    def send(token, igsid, path="/v25.0/me/messages", **body):
        if "sender_action" not in body:
            body.setdefault("message", {"text": "Hi there"})
        return call("POST", path, token=token, order={"recipient": {"id": igsid}, **body})

    return send


@pytest.fixture
def eventually():
    def eventually(holds, seconds=3):
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.005)

    return eventually
