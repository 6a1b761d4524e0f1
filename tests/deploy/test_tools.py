"""What the tools that will read these files say of them; skipped where a tool is missing."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..waiting import A_WHILE

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
WORST_EXPOSURE = 15
"""Tenths, as systemd counts what a service could reach: from 0, nothing, to 100."""


def tool(name: str) -> str:
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin")
    return path or pytest.skip(f"{name} is not installed")


def run(*command: object, **changes: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=A_WHILE, **changes)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def units(tmp_path_factory) -> list[Path]:
    """The units, for a Python that exists here."""
    folder = tmp_path_factory.mktemp("units")
    for unit in UNITS:
        text = unit.read_text()
        (folder / unit.name).write_text(re.sub(r"/opt/\S+/python\b", sys.executable, text))
    return sorted(folder.iterdir())


def test_systemd_finds_nothing_wrong_with_the_units(units):
    assert run(tool("systemd-analyze"), "verify", "--man=no", *units) == ""


def test_systemd_finds_each_service_well_shut_in(units):
    for unit in units:
        if unit.suffix == ".service":
            check = ["security", "--offline=true", f"--threshold={WORST_EXPOSURE}", unit]
            run(tool("systemd-analyze"), *check)


def test_shellcheck_finds_nothing_in_the_scripts():
    scripts = [*(ROOT / "scripts" / "linux").iterdir(), ROOT / "deploy" / "insta-messaging"]
    run(tool("shellcheck"), *scripts)


def test_docker_reads_the_compose_file(tmp_path):
    docker = tool("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker has no compose")
    settings = {"PUBLIC_BASE_URL": "https://dm.example.com", "INSTAGRAM_APP_ID": "990000000000001"}
    command = [docker, "compose", "-f", ROOT / "deploy" / "compose.yaml", "config", "--quiet"]
    run(*command, env=settings | {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})


def test_each_program_says_how_it_is_used():
    script = ROOT / "scripts" / "linux" / "provision.sh"
    assert "--url" in run(script, "--help")
    wrong = subprocess.run([script, "--wrong"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "--url" in wrong.stderr
