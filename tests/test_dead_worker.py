"""A worker dies: within a minute everybody who should know does."""

import signal
import time

import pytest

from .running_site import RunningSite
from .waiting import eventually

pytestmark = pytest.mark.processes

AWAY = "Answers wait: the worker is not running."
MINUTE = 60


@pytest.fixture
def site(tmp_path):
    with RunningSite(tmp_path) as site:
        site.log_in()
        eventually(lambda: site.get("/readyz").status_code == 200)
        yield site


def test_a_killed_worker_is_seen_on_the_page_in_readyz_and_in_the_log(site):
    assert "/setup/" in site.get("/").text
    killed = time.monotonic()
    site.kill(site.worker, signal.SIGKILL)

    def left() -> float:
        return MINUTE - (time.monotonic() - killed)

    eventually(lambda: site.get("/readyz").status_code == 503, left())
    assert not site.get("/readyz").json()["worker"]["ok"]
    eventually(lambda: site.get("/updates").headers["X-Worker"] == "away", left())
    page = site.get("/").text
    assert AWAY in page[page.index('id="workers-away"') :]
    assert 'aria-label="Warning about the worker">' in page
    assert 'instamsg_processes{kind="worker"} 0.0' in site.get("/metrics").text
    eventually(lambda: "The worker is not running" in site.log, left())

    site.start_worker()
    eventually(lambda: site.get("/readyz").status_code == 200, MINUTE)
    eventually(lambda: site.get("/updates").headers["X-Worker"] == "here", MINUTE)
    eventually(lambda: "A worker is running again" in site.log, MINUTE)
