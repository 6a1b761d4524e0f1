import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from instamsg.sandbox import contents, dashboard, rare, settings, signed_requests
from instamsg.sandbox.control import COMMANDS
from instamsg.sandbox.faults import ENDPOINTS
from instamsg.sandbox.server import Sandbox

from .conftest import APP_ID, REDIRECT, SECRET

ROOT = Path(__file__).parents[2]
CONFIGURED = {
    "SANDBOX_CONTROL_TOKEN": "control-me",
    "INSTAGRAM_APP_ID": APP_ID,
    "INSTAGRAM_APP_SECRET": SECRET,
    "INSTAGRAM_VERIFY_TOKEN": "verify-me",
    "SANDBOX_REDIRECT_URIS": REDIRECT,
}


def start(*arguments, **changes):
    own = ("SANDBOX_", "INSTAGRAM_", "SESSION_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environ |= {name: value for name, value in (CONFIGURED | changes).items() if value is not None}
    return subprocess.Popen(
        [sys.executable, "-m", "instamsg.sandbox", *arguments],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_when_told(number):
    process = start("--port", "0")
    line = process.stdout.readline()
    port = int(line.strip().rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    connection.request("GET", "/phone/")
    assert connection.getresponse().read()
    connection.close()
    process.send_signal(number)
    out, err = process.communicate(timeout=3)
    assert (process.returncode, out, err) == (0, "", "")
    assert line == f"Sandbox listening on http://127.0.0.1:{port}\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SESSION_SECRET": "anything"}, "SESSION_SECRET"),
        ({"SESSION_SECRET_FALLBACKS": "anything"}, "SESSION_SECRET"),
        ({"SANDBOX_CONTROL_TOKEN": None}, "SANDBOX_CONTROL_TOKEN"),
        ({"INSTAGRAM_APP_SECRET": " , "}, "INSTAGRAM_APP_SECRET"),
    ],
)
def test_it_refuses_to_start_in_one_sentence(changes, words):
    process = start("--port", "0", **changes)
    out, err = process.communicate(timeout=3)
    assert process.returncode == 1
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_busy_port_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(SANDBOX_PORT=str(taken.getsockname()[1]))
        _, err = process.communicate(timeout=3)
    assert process.returncode == 1
    assert err.startswith("sandbox: cannot use port")
    assert err.count("\n") == 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", ""])
def test_another_host_name_is_refused(call, host):
    for path in ("/phone/", "/_sandbox/state", "/me"):
        assert call("GET", path, headers={"Host": host}).status == 421


def test_localhost_will_do(call, sandbox):
    assert call("GET", "/phone/", headers={"Host": f"localhost:{sandbox.port}"}).status == 200


@pytest.mark.parametrize("token", [None, "", "wrong", "control-me2"])
def test_control_wants_its_token(call, token):
    assert call("POST", "/_sandbox/reset", token=token).status == 401
    assert call("GET", "/_sandbox/state?token=control-me", token=token).status == 401


def test_control_tells_its_mistakes(call):
    for name, order in [
        ("say", {"account": "luna.ceramics", "customer": "nobody", "text": "Hi"}),
        ("say", {"account": "nobody", "customer": "mila.tests", "text": "Hi"}),
        ("say", {"account": "luna.ceramics", "customer": "mila.tests"}),
        ("settings", {"echo": "twice"}),
        ("settings", {"echoes": "after"}),
        ("clock", {"advance": "soon"}),
        ("customers", {"username": "<b>"}),
        ("deliver", {"body_base64": "%"}),
        ("authorize", {"account": "luna.ceramics", "redirect_uri": "https://no.example/"}),
    ]:
        answer = call("POST", f"/_sandbox/{name}", order=order, token="control-me")
        assert answer.status == 400, name
        assert answer.json["error"]
    assert call("POST", "/_sandbox/fly", token="control-me").status == 404


def test_large_and_endless_bodies_are_refused(call):
    assert call("POST", "/me", headers={"Content-Length": str(10**9)}).status == 413
    assert call("POST", "/me", headers={"Content-Length": "-1"}).status == 411
    assert call("POST", "/me", headers={"Transfer-Encoding": "chunked"}).status == 411


def test_connection_is_kept_and_vanishing_clients_do_no_harm(sandbox):
    with socket.create_connection(("127.0.0.1", sandbox.port)) as rude:
        rude.sendall(b"POST /me HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % sandbox.port)
        rude.sendall(b"Content-Length: 10\r\n\r\nhalf")
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=3)
    for _ in range(3):
        connection.request("GET", "/me")
        assert connection.getresponse().read()
        held = connection.sock
    assert held is connection.sock
    connection.close()


def test_odd_requests_get_an_answer(call):
    for path in ("/%00", "/me/", "/v25.0", "/static/../server.py", "/phone/x", "/%fc"):
        assert call("GET", path).status in (400, 404, 500)
    headers = {"Content-Type": "application/json"}
    for body in ("{", "[]", "null", b"\xff", '{"a":' * 100_000):
        answer = call("POST", "/_sandbox/say", body=body, headers=headers, token="control-me")
        assert answer.status == 400


def test_request_log_holds_no_secret(call, control, connect, short_token):
    token = connect()
    call("GET", f"/me?access_token={token}")
    call("GET", f"/{token}")
    short_token()
    log = json.dumps(control("requests", method="GET"))
    assert '"token_in": "query"' in log
    assert '"path": "/v25.0/me/subscribed_apps"' in log
    assert "IGAA" not in log
    assert "AQ" not in log
    assert SECRET not in log


def test_reset_leaves_the_seed(control, connect, say):
    connect()
    say()
    control("settings", echo="none")
    control("clock", advance=99999)
    control("accounts", username="pear.tree", name="Pear Tree")
    control("reset")
    state = control("state", method="GET")
    assert [row["username"] for row in state["accounts"]] == [
        "luna.ceramics",
        "north.bikes",
        "theo.at.home",
        "harbor.tea",
    ]
    assert state["conversations"] == []
    assert state["subscriptions"] == {}
    assert state["settings"]["echo"] == "after"
    assert control("clock", method="GET")["offset"] == 0


def test_new_account_can_connect(control, connect, call):
    made = control("accounts", username="pear.tree", name="Pear Tree", account_type="BUSINESS")
    assert made["ig_id"].startswith("178414")
    assert len(made["ig_id"]) == len(made["app_scoped_id"]) == 17
    answer = call("GET", "/me?fields=user_id", token=connect("pear.tree")).json
    assert answer == {"user_id": made["ig_id"], "id": made["app_scoped_id"]}


def test_state_file_brings_everything_back_for_its_owner_alone(tmp_path):
    file = tmp_path / "sandbox.json"
    settings = {
        "app_id": APP_ID,
        "app_secret": SECRET,
        "verify_token": "v",
        "control_token": "c",
        "redirect_uris": [REDIRECT],
        "webhook_url": "http://127.0.0.1:9/",
        "state_file": file,
    }
    with Sandbox(**settings) as sandbox:
        world = sandbox.world
        token = world.issue_token("17841400000000101", "long", ["x"], 1000).value
        account, customer = world.account("luna.ceramics"), world.customer("mila.tests")
        account.subscribed_fields = ["messages"]
        world.conversation(account, customer)
        world.add_message(world.conversation(account, customer), "customer", {"text": "Hi"})
        world.conversation(account, customer).messages[0].delivery = "waiting"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with Sandbox(**settings) as again:
        assert token in again.world.tokens
        [conversation] = again.world.conversations.values()
        assert conversation.messages[0].content == {"text": "Hi"}
        assert again.webhooks.pending == 1
    file.write_text("{broken")
    process = start("--port", "0", "--state", str(file))
    _, err = process.communicate(timeout=3)
    assert process.returncode == 1
    assert "is not a state file" in err


def test_the_page_about_it_names_everyone_and_every_command(control):
    page = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")
    state = control("state", method="GET")
    for account in state["accounts"]:
        assert f"`{account['username']}` | {account['ig_id']} | {account['app_scoped_id']}" in page
    for customer in state["customers"]:
        assert customer["igsids"]["luna.ceramics"] in page
        assert customer["igsids"]["north.bikes"] in page
    for method, command in COMMANDS:
        assert f"`{method} {command}`" in page
    kinds = (*contents.KINDS, *rare.KINDS, *dashboard.VARIANTS)
    wrong = (*signed_requests.MALFORMED, *signed_requests.WRONG_INSIDE)
    choices = [choice for known in settings.CHOICES.values() for choice in known]
    for word in (*ENDPOINTS, *state["settings"], *kinds, *wrong, *choices):
        assert f"`{word}`" in page, word
