"""A site without a worker says so, where people look."""

import pytest

from crypto import workers
from crypto.heartbeat import Heartbeat

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def unknown():
    workers.look_anew()


@pytest.fixture
def watch():
    return workers.Watch()


def test_the_web_process_writes_it_down_once_and_again_when_one_is_back(watch, caplog):
    watch.look()
    watch.look()
    assert caplog.text.count("The worker is not running") == 1
    worker = Heartbeat("worker")
    worker.beat()
    watch.look()
    watch.look()
    assert caplog.text.count("A worker is running again") == 1
    worker.stop()
    watch.look()
    assert caplog.text.count("The worker is not running") == 2


def test_a_web_process_is_no_worker():
    Heartbeat("web").beat()
    assert workers.are_away()


def test_the_team_reads_it_on_every_page(client, user):
    client.force_login(user)
    page = client.get("/").content.decode()
    assert "Answers wait: the worker is not running." in page
    assert "Tell the person who runs this site." in page
    assert 'aria-label="Warning about the worker" hidden' not in page


def test_nobody_reads_it_while_one_runs(client, user):
    Heartbeat("worker").beat()
    client.force_login(user)
    assert 'aria-label="Warning about the worker" hidden' in client.get("/").content.decode()


def test_visitors_do_not_learn_it(client):
    assert "worker" not in client.get("/login").content.decode()


def test_superusers_are_told_where_to_look(client, user):
    user.is_staff = user.is_superuser = True
    user.save()
    client.force_login(user)
    for path in ("/", "/admin/"):
        page = client.get(path).content.decode()
        assert "Answers wait" in page
        assert 'href="/setup/"' in page


def test_an_open_page_hears_of_it_with_its_next_question(client, user):
    client.force_login(user)
    page = client.get("/")
    after = page.context["list_change"]
    answer = client.get(f"/updates?after={after}")
    assert (answer.status_code, answer["X-Worker"]) == (204, "away")
    Heartbeat("worker").beat()
    workers.look_anew()
    assert client.get("/updates")["X-Worker"] == "here"


def test_a_database_out_of_reach_is_told_elsewhere(monkeypatch):
    from django.db import OperationalError, connection

    def gone(*args, **kwargs):
        raise OperationalError("no route")

    monkeypatch.setattr(connection, "cursor", gone)
    assert not workers.are_away()
