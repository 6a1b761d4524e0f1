"""A machine on which provision.sh is tried, seen as its operator and its visitors see it."""

import hashlib
import hmac
import http.client
import os
import re
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ..scripts.starting import copy_of_the_project
from ..waiting import free_port

WEB, WORKER = "insta-messaging.service", "insta-messaging-worker.service"
APP_SECRET = "3f9d0c7be81a4265b7aa90e4c1d2f683"
SETTINGS = "etc/insta-messaging/env"
DATABASE = "var/lib/insta-messaging/instagram_automation.db"
TRIAL = os.environ.get("PROVISION_TRIAL", "")

only_when_asked = pytest.mark.skipif(not TRIAL, reason="takes minutes; set PROVISION_TRIAL=1")


class Machine:
    """A root, bare or booted, with a clone of the project in it."""

    def __init__(self, folder: Path):
        super().__init__(folder, None if TRIAL == "1" else Path(TRIAL))
        self.port = free_port()
        self.clone = self.path / "root" / "clone"
        shutil.copytree(copy_of_the_project(folder), self.clone)

    def provision_first(self):
        options = ["--url", "https://dm.example.com", "--app-id", "990000000000001"]
        options += ["--port", str(self.port)]
        return self.provision(*options, INSTAGRAM_APP_SECRET=APP_SECRET)

    def provision(self, *options: str, **environment: str):
        return self.run("/root/clone/scripts/linux/provision.sh", *options, **environment)

    def ask(self, method: str, path: str, body: str = "", **headers: str):
        """Status, headers and text, as a proxy on the machine asks."""
        headers |= {"Host": "dm.example.com"}
        headers |= {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection), suppress(ConnectionError):
            connection.request(method, path, body, headers)
            with connection.getresponse() as response:
                return response.status, response.headers, response.read().decode()
        return 0, {}, ""

    def deliver(self) -> int:
        """A signed webhook; the status of the answer."""
        body = '{"object":"instagram","entry":[{"id":"17841400000000000","time":1,"messaging":[]}]}'
        signature = hmac.new(APP_SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}
        return self.ask("POST", "/webhooks/instagram", body, **headers)[0]

    def log_in(self, password: str) -> int:
        cookie = self.ask("GET", "/login")[1]["Set-Cookie"]
        token = re.search(r"csrftoken=(\w+)", cookie)[1]
        form = {"csrfmiddlewaretoken": token, "username": "admin", "password": password}
        headers = {
            "Cookie": f"csrftoken={token}",
            "Referer": "https://dm.example.com/login",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.ask("POST", "/login", urlencode(form), **headers)[0]

    def rows(self, query: str) -> list[tuple]:
        with closing(sqlite3.connect(self.path / DATABASE)) as connection:
            return connection.execute(query).fetchall()

    def answers(self) -> bool:
        return self.ask("GET", "/livez")[0] == 200

    def new_version(self, version: str) -> None:
        """As if the clone had been pulled."""
        project = self.clone / "pyproject.toml"
        text = re.sub('^version = ".*"', f'version = "{version}"', project.read_text(), flags=re.M)
        project.write_text(text)

    @property
    def settings(self) -> str:
        return (self.path / SETTINGS).read_text()
