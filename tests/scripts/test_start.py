"""start.py as a person runs it: real processes, in a copy of the project, on free ports."""

import itertools
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
import requests

from ..running_site import eventually, free_port

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

ROOT = Path(__file__).resolve().parents[2]
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", ".env", "*.db", "*.db-*", "media", "staticfiles", "backups", "sandbox.json"
)


class Start:
    """One run of start.py, in the tests' virtual environment; what it started dies with it."""

    number = itertools.count()

    def __init__(self, project: Path, *options: str, **environment: str):
        log = project.parent / f"start-{next(self.number)}"
        self.output_path, self.errors_path = log.with_suffix(".out"), log.with_suffix(".err")
        with open(self.output_path, "wb") as output, open(self.errors_path, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "scripts/start.py", *options],
                cwd=project,
                env={"PATH": os.environ["PATH"], "HOME": str(project)} | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        self.pids: list[int] = []

    def __enter__(self) -> "Start":
        return self

    def __exit__(self, *exc: object) -> None:
        for pid in {self.process.pid, *self.pids, *descendants(self.process.pid)}:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    @property
    def errors(self) -> str:
        return self.errors_path.read_text()

    def until_it_runs(self) -> "Start":
        eventually(lambda: "InstaMsg runs." in self.output or self.process.poll() is not None, 30)
        assert self.process.poll() is None, self.errors
        self.pids = descendants(self.process.pid)
        return self

    def child(self, words: str) -> int:
        return next(pid for pid in self.pids if words in command_line(pid))

    def exit_code(self) -> int:
        return self.process.wait(timeout=30)

    def nothing_is_left(self) -> bool:
        return not any(map(is_running, [self.process.pid, *self.pids]))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the source that several tests start, one after the other."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("start") / "copy", ignore=NOT_SOURCE)


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
    project = shutil.copytree(ROOT, tmp_path / "copy", ignore=NOT_SOURCE)
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


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"])
def test_however_it_ends_nothing_is_left_and_the_database_file_is_whole(how, tmp_path):
    project = shutil.copytree(ROOT, tmp_path / "copy", ignore=NOT_SOURCE)
    port = neighbouring_free_ports()
    with Start(project, "--port", str(port)).until_it_runs() as start:
        os.kill(start.process.pid, getattr(signal, how))
        assert start.exit_code() == (-signal.SIGKILL if how == "SIGKILL" else 0)
        eventually(start.nothing_is_left, 30)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    assert users_in(project, tmp_path) == ["admin"]


def test_a_killed_guardian_is_replaced(running_again):
    os.kill(running_again.child("_processes.py"), signal.SIGKILL)
    eventually(
        lambda: [
            pid
            for pid in descendants(running_again.process.pid)
            if pid not in running_again.pids and "_processes.py" in command_line(pid)
        ]
    )
    running_again.process.kill()
    running_again.exit_code()
    eventually(running_again.nothing_is_left, 30)


def test_one_process_that_ends_ends_all(running_again):
    os.kill(running_again.child("granian"), signal.SIGKILL)
    assert running_again.exit_code() == 1
    assert "Web ended by itself" in running_again.output
    eventually(running_again.nothing_is_left, 30)


@pytest.fixture
def running_again(tmp_path):
    project = shutil.copytree(ROOT, tmp_path / "copy", ignore=NOT_SOURCE)
    with Start(project, "--port", str(neighbouring_free_ports())) as start:
        yield start.until_it_runs()


def test_a_second_start_changes_nothing(project, running, port, tmp_path):
    settings = (project / ".env").read_bytes()
    options = ("--no-sandbox", "--port", str(free_port()))
    with Start(project, *options).until_it_runs() as again:
        assert "password" not in again.output
        again.process.terminate()
        assert again.exit_code() == 0
    assert (project / ".env").read_bytes() == settings
    assert users_in(project, tmp_path) == ["admin"]


def test_without_a_secret_development_is_warned_once(tmp_path):
    project = shutil.copytree(ROOT, tmp_path / "copy", ignore=NOT_SOURCE)
    (project / ".env").write_text("ENVIRONMENT=development\n")
    (project / ".env").chmod(0o600)
    with Start(project, "--port", str(free_port())).until_it_runs() as start:
        start.process.terminate()
        assert start.exit_code() == 0
    assert start.errors.count("CRITICAL SECURITY WARNING: No SESSION_SECRET configured") == 1
    assert (project / ".env").read_text() == "ENVIRONMENT=development\n"


def test_production_without_a_secret_is_refused_with_one_message(tmp_path):
    project = shutil.copytree(ROOT, tmp_path / "copy", ignore=NOT_SOURCE)
    done = run(project, ENVIRONMENT="production")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("InstaMsg does not start.") == 1
    assert "SESSION_SECRET is not set" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".env").exists()
    assert not (project / "instagram_automation.db").exists()


def test_check_goes_the_whole_way_and_leaves_no_data(tmp_path):
    project = shutil.copytree(ROOT, tmp_path / "copy", ignore=NOT_SOURCE)
    done = run(project, "--check", ENVIRONMENT="production", DATABASE_URL="postgres://nobody@x/y")
    assert done.returncode == 0, done.stdout + done.stderr
    steps = ["Logged in", "Connected", "Received", "Answered", "The check passed", "Stopped."]
    assert [step for step in steps if step in done.stdout] == steps
    assert not [*project.glob("*.db*"), *project.glob(".env"), *project.glob("media")]


def run(project: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
    """start.py until its end; a start that should fail must not hang."""
    with Start(project, *options, **environment) as start:
        code = start.exit_code()
    return subprocess.CompletedProcess(start.process.args, code, start.output, start.errors)


def neighbouring_free_ports() -> int:
    """A free port for the site, with the sandbox's 100 above it free as well."""
    while True:
        port = free_port()
        with suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port + 100)):
            return port


def descendants(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [found for child in map(int, children) for found in [child, *descendants(child)]]
    return []


def command_line(pid: int) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def is_running(pid: int) -> bool:
    """A process that has ended and that nobody asked about is not."""
    return command_line(pid) != ""


def settings_in(path: Path) -> dict[str, str]:
    lines = [line.partition("=") for line in path.read_text().splitlines()]
    return {name: value for name, equals, value in lines if equals and not name.startswith("#")}


def users_in(project: Path, folder: Path) -> list[str]:
    """The users in a copy of the one database file, as the old guide's `cp` would keep them."""
    copy = shutil.copy(project / "instagram_automation.db", folder / "backup.db")
    with closing(sqlite3.connect(copy)) as connection:
        return [name for (name,) in connection.execute("SELECT username FROM users")]
