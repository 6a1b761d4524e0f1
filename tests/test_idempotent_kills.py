"""A process that is killed at any point of a request has done its work once, or not at all."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .environment import child_environment
from .rotation.databases import with_tables

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent
REQUEST = """
import json, os, signal, sys, time
import django
django.setup()
from django.test import RequestFactory
from accounts import api_bodies, idempotency
from accounts.models import User

user, _ = User.objects.get_or_create(username="mara")
request = RequestFactory().post("/api/v1/things", headers={"Idempotency-Key": "wish"})
request.user, request.api_key = user, None

def kill(moment):
    if moment == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

def work():
    kill("before")
    made = User.objects.create(username=f"made-{User.objects.count()}")
    kill("during")
    time.sleep(sys.argv[1] == "slowly")
    return api_bodies.answer(201, {"made": made.username})

answer = idempotency.once(request, work)
kill("after")
print(json.loads(answer.content)["made"])
"""


@pytest.fixture
def database(tmp_path):
    database = with_tables(tmp_path / "site.db")
    yield database
    database.remove()


def run(database, *arguments):
    environment = child_environment(
        DATABASE_URL=database.url, DJANGO_SETTINGS_MODULE="instamsg.settings"
    )
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True
    )


def test_of_several_processes_at_once_one_does_it(database):
    run(database, "-c", REQUEST, "before")  # Makes the user.
    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(lambda _: run(database, "-c", REQUEST, "slowly"), range(3)))
    assert [answer.stdout for answer in answers] == ["made-1\n"] * 3, answers


def test_the_same_request_again_finds_it_done_once(database):
    for moment, done in {"before": 0, "during": 0, "after": 1}.items():
        assert run(database, "-c", REQUEST, moment).returncode == -signal.SIGKILL, moment
        database.settle()
        with database.connected() as connection:
            made = "SELECT username FROM users WHERE username LIKE 'made-%'"
            assert len(database.execute(connection, made)) == done, moment
    again = run(database, "-c", REQUEST, "never")
    assert again.stdout == "made-1\n", again.stderr
    with database.connected() as connection:
        assert database.execute(connection, made) == [("made-1",)]
