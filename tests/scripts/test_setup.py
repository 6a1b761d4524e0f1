"""The set-up without a start, as the installers run it."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ..waiting import A_WHILE
from .starting import copy_of_the_project, run, users_in

ROOT = Path(__file__).resolve().parents[2]
SECRET = "set-up-Twice-9Qm4VbX7rLk2Tz8Wc5Ny"
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="runs a shell script"),
]


def install(project: Path) -> subprocess.CompletedProcess:
    """install.sh, with the tests' virtual environment as the machine's Python."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [project / "scripts" / "linux" / "install.sh"],
        env={"PATH": path, "HOME": str(project)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=A_WHILE,
    )


def test_the_installer_prepares_everything_and_starts_nothing(tmp_path):
    project = copy_of_the_project(tmp_path)
    done = install(project)
    assert done.returncode == 0, done.stderr
    assert re.search(r"admin, with the password \S+", done.stdout)
    assert "InstaMsg runs." not in done.stdout
    assert "ENVIRONMENT=development" in (project / ".env").read_text()
    assert users_in(project, tmp_path) == ["admin"]

    settings = (project / ".env").read_bytes()
    again = install(project)
    assert again.returncode == 0, again.stderr
    assert "password" not in again.stdout
    assert (project / ".env").read_bytes() == settings


def test_a_site_that_runs_can_be_set_up_again(tmp_path):
    project = copy_of_the_project(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as site:
        (project / ".env").write_text(
            f"ENVIRONMENT=development\nPORT={site.getsockname()[1]}\nSESSION_SECRET={SECRET}\n"
        )
        (project / ".env").chmod(0o600)
        done = run(project, "--setup-only")
    assert done.returncode == 0, done.stderr


def test_a_server_installs_nothing_of_the_tests():
    ask = "import _venv; print(*_venv._requirements(%s), sep='\\n')"
    asked = [
        subprocess.check_output(
            [sys.executable, "-c", ask % for_tests], cwd=ROOT / "scripts", text=True
        )
        for for_tests in (False, True)
    ]
    serving, everything = ({line.partition("==")[0] for line in one.split()} for one in asked)
    assert {"django", "granian", "huey"} <= serving
    assert not {"pytest", "playwright", "ruff"} & serving
    assert {"pytest", "playwright", "ruff"} | serving <= everything
