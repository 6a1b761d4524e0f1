"""The whole site as real processes: web, worker and sandbox, on loopback and a fresh database."""

import hashlib
import hmac
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import requests

from instamsg.sandbox.server import Sandbox

from . import migrated
from .environment import child_environment
from .instagram import CONTROL_TOKEN, Instagram
from .waiting import A_WHILE, eventually, free_port

SECRET = "9fQm2vXr7LkT4wZp1sYc8bNd6hGj3aRe"
APP_SECRETS = "sandbox-secret-one,sandbox-secret-two"
PASSWORD = "correct horse 41"
USER = ("mara", PASSWORD)
ROOT = Path(__file__).parent.parent
MANAGE = [sys.executable, "manage.py"]


class RunningSite:
    """A context manager; every process that it starts is ended by its own id."""

    def __init__(self, folder: Path, **environment: str):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder, self.log_path = folder, folder / "site.log"
        self.database_url, self._drop_database = _fresh_database(folder)
        self.is_sqlite = self.database_url.startswith("sqlite")
        self.sandbox = Sandbox(
            app_id="sandbox-app",
            app_secret=APP_SECRETS,
            verify_token="sandbox-verify-token",
            control_token=CONTROL_TOKEN,
            redirect_uris=[f"{self.url}/oauth/instagram/callback"],
            webhook_url=f"{self.url}/webhooks/instagram",
        )
        self.instagram = Instagram(self.sandbox)
        self.control, self.sent_by_api = self.instagram.control, self.instagram.sent_by_api
        own = {
            "SESSION_SECRET": SECRET,
            "PORT": str(self.port),
            "DATABASE_URL": self.database_url,
            # On PostgreSQL the queue is there too, as it is without the setting.
            "TASK_QUEUE_URL": f"sqlite:///{folder / 'queue.db'}" if self.is_sqlite else None,
            "MEDIA_ROOT": str(folder / "media"),
            "INSTAGRAM_APP_SECRET": APP_SECRETS,
            "INSTAGRAM_AUTHORIZE_URL": f"{self.sandbox.url}/oauth/authorize",
            "INSTAGRAM_TOKEN_URL": f"{self.sandbox.url}/oauth/access_token",
            "INSTAGRAM_GRAPH_URL": self.sandbox.url,
            "INSTAGRAM_TIMEOUT": "5",
        }
        self.environment = child_environment(**own | environment)
        self.code = ROOT
        """Where what is started from now on has its code from."""
        self.browser = requests.Session()
        self.web = self.worker = None

    def __enter__(self) -> "RunningSite":
        self.sandbox.start()
        self.start_web()
        self.start_worker()
        return self

    def __exit__(self, *exc) -> None:
        self.kill(self.worker, signal.SIGTERM)
        self.kill(self.web, signal.SIGTERM)
        self.sandbox.stop()
        self._drop_database()

    # Processes

    def manage(self, *command: str, **environment: str) -> str:
        result = subprocess.run(
            [*MANAGE, *command],
            env={**self.environment, **environment},
            cwd=self.code,
            capture_output=True,
            text=True,
            timeout=A_WHILE,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def start_web(self) -> None:
        self.web = self.another_web(self.port)

    def start_worker(self) -> None:
        self.worker = self.another_worker()

    def another_web(self, port: int) -> subprocess.Popen:
        """One that answers there by now; whoever asks for it kills it."""
        granian = Path(sys.executable).with_name("granian")
        process = self._start(
            str(granian), "--interface", "wsgi", "instamsg.wsgi:application",
            "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--blocking-threads", "32", "--workers-kill-timeout", "10",
        )  # fmt: skip
        eventually(lambda: self._answers(port))
        return process

    def another_worker(self) -> subprocess.Popen:
        return self._start(*MANAGE, "run_huey")

    def kill(self, process: subprocess.Popen, how: int = signal.SIGKILL) -> None:
        """Signal the whole group of one of our processes, and wait until it is gone."""
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise

    def _start(self, *command: str) -> subprocess.Popen:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command, env=self.environment, cwd=self.code, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _answers(self, port: int) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{port}/livez", timeout=2).ok
        return False

    # People

    def get(self, path: str, **kwargs) -> requests.Response:
        return self.browser.get(self.url + path, timeout=10, **kwargs)

    def submit(self, page: str, action: str, **fields: str) -> requests.Response:
        """Fill in the form of `page` that posts to `action`, as a browser does."""
        html = self.get(page).text
        forms = re.findall(r"<form[^>]*>.*?</form>", html, re.DOTALL)
        form = next(form for form in forms if f'action="{action}"' in form or action == page)
        hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
        return self.browser.post(
            self.url + action, data=dict(hidden) | fields, timeout=10, allow_redirects=False
        )

    def log_in(self) -> None:
        answer = self.submit("/login", "/login", username="mara", password=PASSWORD)
        assert answer.status_code == 302, answer.text

    def connect(self, account: str = "luna.ceramics") -> requests.Response:
        """The Connect button, the consent page (allowed), and back."""
        to_instagram = self.submit("/accounts/", "/accounts/connect")
        query = self.instagram.consent(to_instagram.headers["Location"], account)
        return self.get("/oauth/instagram/callback", params=query)

    def say(self, text: str, customer: str = "mila.tests", **more) -> dict:
        return self.control("say", account="luna.ceramics", customer=customer, text=text, **more)

    def post_webhook(self, body: bytes, *, in_chunks: bool = False) -> requests.Response:
        """As Meta does, on a connection of its own."""
        key = APP_SECRETS.split(",")[0].encode()
        signature = hmac.new(key, body, hashlib.sha256).hexdigest()
        return requests.post(
            f"{self.url}/webhooks/instagram",
            data=iter([body[:10], body[10:]]) if in_chunks else body,
            headers={"X-Hub-Signature-256": f"sha256={signature}"},
            timeout=10,
        )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    # The database, looked at from outside the site

    def rows(self, query: str) -> list[tuple]:
        if self.is_sqlite:
            database = sqlite3.connect(self.database_url.removeprefix("sqlite:///"))
            try:
                return database.execute(query).fetchall()
            finally:
                database.close()
        with psycopg.connect(self.database_url) as database:
            return database.execute(query).fetchall()


@contextmanager
def of_several_hosts() -> Iterator[None]:
    """One at a time of those who test with many processes on one PostgreSQL.

    A server takes 100 clients unless told otherwise, each such site 30, and four tests run at once.
    """
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(100)")
        yield  # The lock ends with the connection.


def _fresh_database(folder: Path) -> tuple[str, Callable[[], None]]:
    """A database of the kind that the tests run on, with its user, and how to be rid of it."""
    if not os.environ.get("DATABASE_URL", "").startswith(("postgres://", "postgresql://")):
        return migrated.sqlite(folder / "site.db", user=USER), lambda: None
    name = f"instamsg_site_{os.getpid()}_{time.monotonic_ns()}"
    url = migrated.postgresql(name, user=USER)
    return url, lambda: migrated.administer(f"DROP DATABASE {name} WITH (FORCE)")
