"""However a start ends, nothing of it is left running."""

import os
import signal
import socket
import sys

import pytest

from ..waiting import eventually
from .starting import (
    Start,
    command_line,
    copy_of_the_project,
    descendants,
    neighbouring_free_ports,
    users_in,
)

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture
def running_again(tmp_path):
    project = copy_of_the_project(tmp_path)
    with Start(project, "--port", str(neighbouring_free_ports())) as start:
        yield start.until_it_runs()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_however_it_ends_nothing_is_left_and_the_database_file_is_whole(how, tmp_path):
    project = copy_of_the_project(tmp_path)
    port = neighbouring_free_ports()
    with Start(project, "--port", str(port)) as start:
        start.until_it_runs()
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
