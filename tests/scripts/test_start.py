"""What one start does, and what the next one does not."""

import re
import socket
import stat
import sys
from pathlib import Path

import pytest
import requests

from ..waiting import free_port
from .starting import (
    Start,
    command_line,
    copy_of_the_project,
    neighbouring_free_ports,
    run,
    settings_in,
    users_in,
)

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the source that several tests start, one after the other."""
    return copy_of_the_project(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def port() -> int:
    return neighbouring_free_ports()


@pytest.fixture(scope="module")
def running(project, port):
    with Start(project, "--port", str(port)) as start:
        yield start.until_it_runs()
        start.process.terminate()
        start.exit_code()


def test_a_first_start_leads_to_a_page_on_which_the_new_user_logs_in(running, port):
    password = re.search(r"admin, with the password (\S+)", running.output)[1]
    with requests.Session() as browser:
        browser.get(f"http://127.0.0.1:{port}/", timeout=10)
        form = {
            "username": "admin",
            "password": password,
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        }
        page = browser.post(f"http://127.0.0.1:{port}/login", form, timeout=10)
    assert (page.status_code, page.url) == (200, f"http://127.0.0.1:{port}/")
    phone = re.search(r"http\S+/phone/", running.output)[0]
    assert requests.get(phone, timeout=10).status_code == 200


def test_the_settings_it_writes_are_for_the_owner_alone(running, project):
    assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600
    assert not list(project.glob(".env.*[!e]"))  # .env.example alone


def test_no_secret_is_on_a_command_line(running, project):
    secrets = settings_in(project / ".env")
    assert len(running.pids) == 5  # guardian, web and its server process, worker, sandbox
    for pid in [running.process.pid, *running.pids]:
        for name in ("SESSION_SECRET", "INSTAGRAM_APP_SECRET", "SANDBOX_CONTROL_TOKEN"):
            assert secrets[name] not in command_line(pid)


def test_the_sandbox_gets_no_secret_of_the_site(running, project):
    environment = Path(f"/proc/{running.child('instamsg.sandbox')}/environ").read_text()
    assert "SESSION_SECRET" not in environment
    assert settings_in(project / ".env")["SESSION_SECRET"] not in environment


def test_a_busy_port_is_one_sentence_before_anything_is_made(running, port, tmp_path):
    project = copy_of_the_project(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        busy = other.getsockname()[1]
        for taken in (busy, port):  # The second is granian's, which would share it.
            done = run(project, "--port", str(taken))
            assert done.returncode == 1
            assert done.stderr == (
                f"Port {taken} cannot be used (Address already in use); "
                "choose another with --port N.\n"
            )
    assert not (project / ".env").exists()


def test_a_second_start_changes_nothing(project, running, port, tmp_path):
    settings = (project / ".env").read_bytes()
    options = ("--no-sandbox", "--port", str(free_port()))
    with Start(project, *options) as again:
        again.until_it_runs()
        assert "password" not in again.output
        again.process.terminate()
        assert again.exit_code() == 0
    assert (project / ".env").read_bytes() == settings
    assert users_in(project, tmp_path) == ["admin"]


def test_without_a_secret_development_is_warned_once(tmp_path):
    project = copy_of_the_project(tmp_path)
    (project / ".env").write_text("ENVIRONMENT=development\n")
    (project / ".env").chmod(0o600)
    with Start(project, "--port", str(free_port())) as start:
        start.until_it_runs()
        start.process.terminate()
        assert start.exit_code() == 0
    assert start.errors.count("CRITICAL SECURITY WARNING: No SESSION_SECRET configured") == 1
    assert (project / ".env").read_text() == "ENVIRONMENT=development\n"


def test_production_without_a_secret_is_refused_with_one_message(tmp_path):
    project = copy_of_the_project(tmp_path)
    done = run(project, ENVIRONMENT="production")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("InstaMsg does not start.") == 1
    assert "SESSION_SECRET is not set" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".env").exists()
    assert not (project / "instagram_automation.db").exists()


def test_check_goes_the_whole_way_and_leaves_no_data(tmp_path):
    project = copy_of_the_project(tmp_path)
    done = run(project, "--check", ENVIRONMENT="production", DATABASE_URL="postgres://nobody@x/y")
    assert done.returncode == 0, done.stdout + done.stderr
    steps = ["Logged in", "Connected", "Received", "Answered", "The check passed", "Stopped."]
    assert [step for step in steps if step in done.stdout] == steps
    assert not [*project.glob("*.db*"), *project.glob(".env"), *project.glob("media")]
