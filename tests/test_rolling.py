"""Two hosts on one PostgreSQL, restarted one after the other under load: nobody notices.

Behind a balancer as docs/scale.md has it: what one host does not take goes to the other.
"""

import hashlib
import hmac
import itertools
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import requests

from .running_site import APP_SECRETS, PASSWORD, ROOT, SECRET, RunningSite, of_several_hosts
from .waiting import A_WHILE, eventually, free_port

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        not os.environ.get("DATABASE_URL", "").startswith("postgres"),
        reason="SQLite serves one machine",
    ),
]

NEXT_SECRET = "Xw4uK8nB2qZ7vT1rE5yM9aJ3cL6pD0sH"
CODE = ["accounts", "crypto", "instamsg", "messaging", "templates", "manage.py", "pyproject.toml"]

A_NEW_COLUMN = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("messaging", "{last}")]
    operations = [migrations.AddField("message", "mood", models.CharField(null=True))]
"""


class Host:
    """A web process and a worker, with the environment and the code that the site has by then."""

    def __init__(self, site: RunningSite, web=None, worker=None):
        self.site, self.port = site, site.port if web else free_port()
        self.web, self.worker = web, worker
        if web is None:
            self.start()

    def start(self) -> None:
        self.worker = self.site.another_worker()
        self.web = self.site.another_web(self.port)

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        with ThreadPoolExecutor() as threads:
            both = [self.web, self.worker]
            list(threads.map(self.site.kill, both, [signal.SIGTERM] * 2))  # None needs a SIGKILL.


class Load:
    """Webhooks, pages and answers, without a pause, from the beginning of the `with` to its end."""

    def __init__(self, site: RunningSite, hosts: list[Host]):
        self.site, self.ports = site, itertools.cycle([host.port for host in hosts])
        self.statuses: Counter[int] = Counter()
        self.taken: list[str] = []
        self.answered: list[str] = []
        self.logged_out = 0
        ((self.account, self.igsid),) = site.rows(
            "SELECT instagram_account_id, igsid FROM accounts, conversations"
            " WHERE accounts.id = account_id AND igsid LIKE '1%'"
        )

    def __enter__(self) -> "Load":
        ((self.account_id, self.thread),) = self.site.rows(
            f"SELECT account_id, id FROM conversations WHERE igsid = '{self.igsid}'"
        )
        login = {"username": "mara", "password": PASSWORD}
        answer = self.ask("POST", "/api/v1/auth/token", json=login, timeout=A_WHILE)
        self.key = answer.json()["api_key"]  # Before the load: a first login takes longest.
        self.is_over = threading.Event()
        work = [self._deliver, self._deliver, self._read, self._answer]
        self.threads = [threading.Thread(target=one, args=(n,)) for n, one in enumerate(work)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def ask(
        self, how: str, path: str, session=requests, timeout: float = 10, **more
    ) -> requests.Response:
        """Whoever is there answers. One that is not, or is cut off, is passed over: all that is
        asked here may be asked again."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with suppress(requests.ConnectionError):
                url = f"http://127.0.0.1:{next(self.ports)}{path}"
                answer = session.request(how, url, timeout=timeout, allow_redirects=False, **more)
                self.statuses[answer.status_code] += 1
                return answer
        raise AssertionError("nobody answers")

    def _deliver(self, number: int) -> None:
        for n in itertools.count():
            if self.is_over.is_set():
                return
            mid = f"mid-{id(self)}-{number}-{n}"
            event = {
                "sender": {"id": str(9000 + n % 7)}, "recipient": {"id": self.account},
                "timestamp": int(time.time() * 1000), "message": {"mid": mid, "text": "Hello"},
            }  # fmt: skip
            entry = {"id": self.account, "time": event["timestamp"], "messaging": [event]}
            body = json.dumps({"object": "instagram", "entry": [entry]}).encode()
            digest = hmac.new(APP_SECRETS.split(",")[0].encode(), body, hashlib.sha256).hexdigest()
            headers = {"X-Hub-Signature-256": f"sha256={digest}"}
            self.ask("POST", "/webhooks/instagram", data=body, headers=headers)
            self.taken.append(mid)
            time.sleep(0.1)

    def _read(self, number: int) -> None:
        with requests.Session() as browser:
            browser.cookies.update(self.site.browser.cookies)
            while not self.is_over.is_set():
                for path in ("/", f"/conversations/{self.thread}/"):
                    self.logged_out += self.ask("GET", path, browser).status_code != 200
                time.sleep(0.3)
            self.site.browser.cookies.update(browser.cookies)

    def _answer(self, number: int) -> None:
        for n in itertools.count():
            if self.is_over.is_set():
                return
            text = f"answer-{id(self)}-{n}"
            body = {"account_id": self.account_id, "recipient_id": self.igsid, "message": text}
            headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": text}
            answer = self.ask("POST", "/api/v1/messages/send", json=body, headers=headers)
            assert answer.status_code == 202, answer.text
            self.answered.append(text)
            time.sleep(0.2)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with of_several_hosts(), RunningSite(tmp_path_factory.mktemp("rolling")) as site:
        site.log_in()
        site.connect()
        site.say("Hello")
        eventually(lambda: site.rows("SELECT 1 FROM conversations"))
        yield site


@pytest.fixture(scope="module")
def hosts(site):
    hosts = [Host(site, site.web, site.worker), Host(site)]
    yield hosts
    for host in hosts:
        host.stop()


def nobody_noticed(site: RunningSite, load: Load) -> None:
    """Every webhook is there once, every answer went out once, and no page was an error."""
    print(f"{len(load.taken)} webhooks, {len(load.answered)} answers, {load.statuses}")  # noqa: T201
    assert not [status for status in load.statuses if status >= 500], load.statuses
    assert not load.logged_out
    assert len(load.taken) > 50
    assert len(load.answered) > 20

    def stored() -> Counter[str]:
        return Counter(mid for (mid,) in site.rows("SELECT mid FROM messages"))

    def sent() -> Counter[str]:
        return Counter(site.sent_by_api())

    eventually(lambda: stored().keys() >= set(load.taken), 70)
    eventually(lambda: sent().keys() >= set(load.answered), 70)
    assert set(stored().values()) == {1}
    assert set(sent().values()) == {1}


def test_a_secret_is_rotated_host_by_host(site, hosts):
    def restart_with(secret: str, fallbacks: str) -> None:
        site.environment |= {"SESSION_SECRET": secret, "SESSION_SECRET_FALLBACKS": fallbacks}
        for host in hosts:
            host.restart()

    with Load(site, hosts) as load:
        restart_with(SECRET, NEXT_SECRET)
        restart_with(NEXT_SECRET, SECRET)
        told = site.manage("rotate_secret")
        restart_with(NEXT_SECRET, "")
    assert "Everything that could be opened is under secret" in told
    nobody_noticed(site, load)
    site.manage("check_secret")  # Nothing is left under the old one, which nobody has any more.
    assert f"{len(site.rows('SELECT 1 FROM accounts'))} re-encrypted" in told


def test_new_code_that_adds_a_column_is_deployed_host_by_host(site, hosts, tmp_path):
    for name in CODE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    migrations = tmp_path / "messaging" / "migrations"
    last = max(path.stem for path in migrations.glob("0*.py"))
    (migrations / "9999_a_new_column.py").write_text(A_NEW_COLUMN.format(last=last))
    with Load(site, hosts) as load:
        time.sleep(1)
        site.code = tmp_path
        site.manage("migrate")
        time.sleep(1)  # Old code on new tables.
        for host in hosts:
            assert requests.get(f"http://127.0.0.1:{host.port}/readyz", timeout=10).ok
            host.restart()
            time.sleep(1)  # Old code and new side by side.
    assert site.rows("SELECT COUNT(mood) FROM messages") == [(0,)]
    nobody_noticed(site, load)
