"""The programs that units and containers run, with the settings of production."""

import os
import shutil
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from ..waiting import eventually
from .serving import Server

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="services are for Linux"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("serving")) as server:
        yield server


def test_programs_on_the_server_itself_need_no_https(server):
    for path in ("/api/v1/accounts", "/livez", "/readyz", "/webhooks/instagram"):
        assert server.get(path).status_code not in (301, 302), path


def test_pages_are_led_to_the_public_address_over_https(server):
    assert server.get("/accounts/").headers["Location"].startswith("https://")
    through_a_proxy = {
        "Host": "dm.example.com",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "203.0.113.7",
    }
    page = server.get("/accounts/", **through_a_proxy)
    assert page.headers["Location"] == "/login?next=/accounts/"
    assert "max-age" in page.headers["Strict-Transport-Security"]


def test_what_the_checks_for_deployment_warn_of_is_nothing(server):
    server.run("manage.py", "check", "--deploy", "--fail-level", "WARNING")


def test_a_taken_port_is_one_sentence(server):
    second = server.run("scripts/serve.py", succeeds=False)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1] == (
        f"Port {server.port} cannot be used (Address already in use); choose another with PORT."
    )


def test_a_refusal_to_start_is_one_message(server, tmp_path):
    refused = Server(tmp_path, SESSION_SECRET="password123").run("scripts/serve.py", succeeds=False)
    assert refused.returncode == 1
    assert refused.stderr.count("InstaMsg does not start.") == 1
    assert "Traceback" not in refused.stderr


def test_a_server_process_that_hangs_does_not_keep_the_site_from_stopping(tmp_path):
    with Server(tmp_path) as server:
        main = server.process.pid
        (child,) = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        os.kill(int(child), signal.SIGSTOP)
        began = time.monotonic()
    assert 5 < time.monotonic() - began < 20
    assert server.process.returncode == 0


def test_after_a_stop_one_file_holds_every_row_also_after_a_kill(tmp_path):
    server = Server(tmp_path)
    with server:
        worker = server.start("manage.py", "run_huey")
        eventually(
            lambda: server.run("scripts/healthy.py", "worker", succeeds=False).returncode == 0
        )
        worker.kill()
        worker.wait()
        server.process.send_signal(signal.SIGKILL)
    assert server.database.with_name("site.db-wal").stat().st_size
    server.environment["SESSION_SECRET"] = ""  # Whatever else is wrong.
    server.run("scripts/checkpoint.py")
    copy = shutil.copy(server.database, tmp_path / "copy.db")
    with closing(sqlite3.connect(copy)) as connection:
        kinds = {kind for (kind,) in connection.execute("SELECT kind FROM processes")}
    assert kinds == {"web", "worker"}


def test_a_container_knows_whether_it_works(server, tmp_path):
    server.run("scripts/healthy.py", "web")
    nobody = server.run("scripts/healthy.py", "worker", succeeds=False)
    assert nobody.returncode == 1
    assert "No worker of this host" in nobody.stderr
    not_started = Server(tmp_path).run("scripts/healthy.py", "web", succeeds=False)
    assert not_started.returncode != 0
