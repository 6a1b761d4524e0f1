"""A hint is given whole or not at all: the mark that one waits, and the task that looks."""

import subprocess
import sys
from pathlib import Path

import pytest

from ..environment import child_environment
from ..waiting import A_WHILE

ROOT = Path(__file__).parent.parent.parent

GIVE_ONE = """
import multiprocessing, sys
import django

def give():
    django.setup()
    from messaging import inbound, queues
    queues.prepare()
    inbound.process.hint()

if sys.argv[1] == "command":
    give()
else:
    server = multiprocessing.get_context("fork").Process(target=give)
    server.start()
    server.join()
"""

LOOK = """
import django

django.setup()
from huey.contrib.djhuey import HUEY
from messaging import inbound

print(HUEY.storage.has_data_for_key(inbound.process.waiting), HUEY.storage.queue_size())
"""


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["command", "server"])
def test_a_process_that_ends_at_once_has_given_its_hint(kind, tmp_path):
    """Marked and not given, it would leave whatever comes to the sweep of the next minute.

    Granian forks its servers.
    """
    environment = child_environment(
        DATABASE_URL=f"sqlite:///{tmp_path / 'site.db'}",
        TASK_QUEUE_URL=f"sqlite:///{tmp_path / 'queue.db'}",
    )

    def run(*script: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", *script],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=A_WHILE,
            check=True,
        ).stdout

    run(GIVE_ONE, kind)
    assert run(LOOK).split() == ["True", "1"]
