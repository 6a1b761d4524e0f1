"""The main job over real HTTP: web, worker and sandbox as processes."""

import signal
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import requests

from .running_site import APP_SECRETS, RunningSite
from .waiting import eventually

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with RunningSite(tmp_path_factory.mktemp("site"), LOG_LEVEL="DEBUG", DEBUG="true") as site:
        site.log_in()
        connected = site.connect()
        assert connected.status_code == 200, connected.text
        assert "@luna.ceramics" in connected.text
        yield site


@pytest.fixture
def thread(site):
    """The page of the conversation with Mila."""
    site.say("Is it still available?")
    eventually(lambda: "Is it still available?" in site.get("/").text)
    ((pk,),) = site.rows("SELECT id FROM conversations ORDER BY id LIMIT 1")
    return f"/conversations/{pk}/"


def test_a_customer_writes_the_shop_answers_and_the_phone_shows_it(site, thread):
    answer = site.submit(thread, f"{thread}reply", text="Yes, it is!")
    assert answer.status_code == 302
    eventually(lambda: "Yes, it is!" in site.sent_by_api())
    eventually(lambda: "Sent" in site.get(thread).text)
    site.control("flush")
    time.sleep(0.3)
    texts = site.rows("SELECT text, status FROM messages WHERE direction = 'out'")
    assert texts.count(("Yes, it is!", "sent")) == 1


def test_a_message_is_on_the_page_within_three_seconds(site, thread):
    html = site.get(thread).text
    change = html.split('data-change="', 1)[1].split('"', 1)[0]
    site.say("Quickly?")
    eventually(lambda: "Quickly?" in site.get(f"{thread}updates?after={change}").text, 3)


def test_a_picture_reaches_the_inbox_and_members_only(site, thread):
    site.control("say", account="luna.ceramics", customer="mila.tests", image=True)
    picture = eventually(
        lambda: site.rows("SELECT public_id FROM attachments WHERE state = 'stored'")
    )[0][0]
    eventually(lambda: f"/media/{picture}" in site.get(thread).text)
    shown = site.get(f"/media/{picture}")
    assert shown.headers["Content-Type"] == "image/png"
    assert shown.content.startswith(b"\x89PNG")
    stranger = requests.get(f"{site.url}/media/{picture}", timeout=5, allow_redirects=False)
    assert stranger.status_code == 302


def test_a_message_typed_on_the_shops_own_phone_appears(site, thread):
    site.control("phone-reply", account="luna.ceramics", customer="mila.tests", text="From phone")
    eventually(lambda: "From phone" in site.get(thread).text)


def test_a_rule_made_on_the_page_answers_on_the_phone_once(site):
    ((account,),) = site.rows("SELECT id FROM accounts")
    page = f"/accounts/{account}/rules/new"
    fields = {"name": "Prices", "kind": "keyword", "words": "price", "text": "From 40 euros."}
    made = site.submit(page, page, **fields, cooldown_minutes="0", is_enabled="on")
    assert made.status_code == 302
    site.control("settings", duplicates=2)
    site.say("What is the price?", customer="jonas.outdoors")
    eventually(lambda: [text for text in site.sent_by_api() if "From 40 euros." in text])
    site.control("flush")
    site.control("settings", duplicates=0)
    site.manage("replay_webhooks", "--all")
    site.say("Thank you", customer="jonas.outdoors")
    eventually(lambda: not site.rows("SELECT 1 FROM webhook_events WHERE state = 'pending'"))
    automatic = [text for text in site.sent_by_api() if "From 40 euros." in text]
    assert len(automatic) == 1
    assert automatic[0].startswith("This is an automatic reply.")


def test_cancelling_at_instagram_ends_on_a_page_that_says_so(site):
    to_instagram = site.submit("/accounts/", "/accounts/connect").headers["Location"]
    state = to_instagram.split("state=")[1].split("&")[0]
    back = site.get("/oauth/instagram/callback", params={"error": "access_denied", "state": state})
    assert back.status_code == 400
    assert "cancelled" in back.text


def test_every_page_carries_the_security_headers(site):
    for path in ("/login", "/", "/accounts/", "/admin/"):
        headers = site.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


def test_the_token_is_nowhere_but_encrypted_in_its_column(site, thread):
    """After all of the above, at DEBUG level and with DEBUG pages on."""
    tokens = [token.value for token in site.sandbox.world.tokens.values()]
    assert tokens
    (stored,) = site.rows("SELECT id, access_token_encrypted FROM accounts")
    assert stored[1].startswith("gAAAAA")

    site.kill(site.web, signal.SIGTERM)  # Everything is in its files now.
    site.start_web()
    site.control("faults", endpoint="messages", times=1, latency=3)
    site.submit(thread, f"{thread}reply", text="slowly")
    command_lines = [
        Path(f"/proc/{process.pid}/cmdline").read_bytes() for process in (site.web, site.worker)
    ]
    places = {
        "database": _everything_in_the_database(site),
        "task queue": _everything_in_the_queue(site),
        "log": site.log.encode(),
        "dumpdata": site.manage("dumpdata").encode(),
        "process arguments": b"".join(command_lines),
        "accounts page": site.get("/accounts/").content,
        "admin list": site.get("/admin/accounts/account/").content,
        "admin form": site.get(f"/admin/accounts/account/{stored[0]}/change/").content,
        "error page": _error_page(site),
        "not found page": site.get("/nowhere").content,
    }
    assert "urllib3" in site.log  # It really logs at DEBUG.
    for name, content in places.items():
        assert content, name
        for secret in [*tokens, *APP_SECRETS.split(","), site.environment["SESSION_SECRET"]]:
            assert secret.encode() not in content, name
    # Nor is the ciphertext shown to people.
    for name in ("accounts page", "admin list", "admin form", "log", "error page"):
        assert stored[1].encode() not in places[name], name
    assert b"sealed:gAAAAA" in places["dumpdata"]
    for text in ("Is it still available?", "Yes, it is!", "Quickly?", "From phone"):
        assert text not in site.log


def _everything_in_the_database(site):
    if site.is_sqlite:
        return b"".join(p.read_bytes() for p in site.folder.glob("site.db*"))
    tables = site.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return b"".join(repr(site.rows(f'SELECT * FROM "{name}"')).encode() for (name,) in tables)


def _everything_in_the_queue(site):
    if site.is_sqlite:
        return b"".join(p.read_bytes() for p in site.folder.glob("queue.db*"))
    return _everything_in_the_database(site)  # It is one of its tables.


def _error_page(site):
    """Django's own debug page of a failure while the token is in hand."""
    script = """
import sys
from django.test import RequestFactory
from django.views.debug import get_exception_reporter_class
from accounts.models import Account
try:
    token = Account.objects.get().access_token.reveal()
    answer = {"access_token": token, "header": "Bearer " + token}
    raise RuntimeError("while holding " + token)
except RuntimeError:
    request = RequestFactory().get("/")
    reporter = get_exception_reporter_class(request)(request, *sys.exc_info())
    print(reporter.get_traceback_html(), reporter.get_traceback_text())
"""
    page = site.manage("shell", "-v0", "-c", script)
    assert "while holding [REDACTED]" in page
    return page.encode()


class TestSlowClients:
    """Within the 32 threads of one process."""

    def test_twenty_that_dribble_do_not_keep_others_waiting(self, site):
        slow = []
        for _ in range(20):
            client = socket.create_connection(("127.0.0.1", site.port))
            client.sendall(
                b"POST /webhooks/instagram HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Length: 1000000\r\n\r\n{"
            )
            slow.append(client)
        try:
            for client in slow:
                client.sendall(b" ")
            started = time.monotonic()
            body = b'{"object":"instagram","entry":[]}'
            assert site.post_webhook(body).status_code == 200
            assert site.get("/login").status_code == 200
            assert time.monotonic() - started < 3
        finally:
            for client in slow:
                client.close()

    def test_a_body_above_16_mib_is_refused_before_it_is_read_whole(self, site):
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as client:
            client.sendall(
                b"POST /webhooks/instagram HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Length: 17000000\r\n\r\n{"
            )
            assert b" 413 " in client.recv(200).split(b"\r\n")[0]

    def test_a_signed_body_in_chunks_is_accepted_and_an_endless_one_is_not(self, site):
        body = b'{"object":"instagram","entry":[],"sent":"in chunks"}'
        assert site.post_webhook(body, in_chunks=True).status_code == 200
        ((stored,),) = site.rows("SELECT body FROM webhook_events ORDER BY id DESC LIMIT 1")
        assert bytes(stored) == body
        assert site.post_webhook(b"x" * (16 * 1024 * 1024 + 1), in_chunks=True).status_code == 413


class TestBusyDatabase:
    """Meta gives up after five seconds; a 503 before that makes it try again."""

    @pytest.fixture
    def locked(self, site):
        if site.is_sqlite:
            with locked_file(site.folder / "site.db"):
                yield
        else:
            with locked_table(site, "webhook_events"):
                yield

    def test_forty_webhooks_at_once_get_their_503_in_time(self, site, locked):
        def deliver(_):
            start = time.monotonic()
            status = site.post_webhook(b'{"object":"instagram","entry":[]}').status_code
            return status, time.monotonic() - start

        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(deliver, range(40)))
        assert {status for status, _ in answers} == {503}
        assert max(seconds for _, seconds in answers) < 5

    def test_a_task_queue_that_hangs_delays_no_200(self, site):
        queue = site.folder / "queue.db"
        with locked_file(queue) if site.is_sqlite else locked_table(site, "huey_task"):
            start = time.monotonic()
            for _ in range(5):
                assert site.post_webhook(b'{"object":"instagram","entry":[]}').status_code == 200
            assert time.monotonic() - start < 3


@contextmanager
def locked_file(path):
    database = sqlite3.connect(path)
    database.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        database.rollback()
        database.close()


@contextmanager
def locked_table(site, name):
    with psycopg.connect(site.database_url) as database:
        database.execute(f"LOCK TABLE {name}")
        yield
        database.rollback()
