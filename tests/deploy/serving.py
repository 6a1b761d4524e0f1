"""A production site as a service runs it: serve.py, with the settings that a server has."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import requests

from ..scripts.starting import copy_of_the_project
from ..waiting import A_WHILE, eventually, free_port


class Server:
    """The web server in a copy of the project; it ends with the `with` block."""

    def __init__(self, folder: Path, **settings: str):
        self.project = copy_of_the_project(folder)  # Which gets the collected static files.
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = folder / "site.db"
        self.environment = {
            "PATH": os.environ["PATH"],
            "ENV_FILE": "",
            "ENVIRONMENT": "production",
            "PORT": str(self.port),
            "PUBLIC_BASE_URL": "https://dm.example.com",
            "TRUSTED_PROXIES": "127.0.0.1",
            "SESSION_SECRET": "serving-Tests-0nly-7hQ2mVx9LkT4wZp1sYc8",
            "INSTAGRAM_APP_ID": "990000000000001",
            "INSTAGRAM_APP_SECRET": "3f9d0c7be81a4265b7aa90e4c1d2f683",
            "INSTAGRAM_VERIFY_TOKEN": "a-word-of-our-choice",
            "DATABASE_URL": f"sqlite:///{self.database}",
            "TASK_QUEUE_URL": f"sqlite:///{folder / 'queue.db'}",
            "MEDIA_ROOT": str(folder / "media"),
        } | settings

    def __enter__(self) -> "Server":
        self.run("manage.py", "migrate", "--verbosity=0")
        self.run("manage.py", "collectstatic", "--no-input", "--verbosity=0")
        self.process = self.start("scripts/serve.py")
        eventually(self._answers)
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def start(self, *command: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, *command], cwd=self.project, env=self.environment)

    def run(self, *command: str, succeeds: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=A_WHILE,
        )
        assert not succeeds or done.returncode == 0, done.stderr
        return done

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(
            f"http://localhost:{self.port}{path}",
            headers=headers,
            allow_redirects=False,
            timeout=10,
        )

    def _answers(self) -> bool:
        try:
            return self.get("/livez").status_code == 200
        except requests.ConnectionError:
            assert self.process.poll() is None, "it has ended"
            return False
