"""The reverse proxies of deploy/, with a site behind them; skipped where one is not installed."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from ..waiting import A_WHILE, eventually, free_port
from .serving import Server

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
HOST = "dm.example.com"
PASSWORD = "correct horse 41"
USER = f"from accounts.models import User; User.objects.create_user('mara', password='{PASSWORD}')"
WHERE = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="servers are on Linux"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS"),
]


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(request, tmp_path_factory):
    program = shutil.which(request.param, path=WHERE)
    if not program or not shutil.which("openssl"):
        pytest.skip(f"{request.param} or openssl is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    with Server(folder) as server:
        server.run("manage.py", "shell", "-c", USER)
        start = {"nginx": start_nginx, "caddy": start_caddy}[request.param]
        with start(program, folder, server.port) as proxy:
            yield proxy


class Proxy:
    def __init__(self):
        self.port, self.plain_port = free_port(), free_port()

    def ask(self, method: str, path: str, **more: object) -> requests.Response:
        """Over TLS, under the public name."""
        session = requests.Session()
        session.trust_env = False
        headers = {"Host": HOST} | more.pop("headers", {})
        return session.request(
            method,
            f"https://127.0.0.1:{self.port}{path}",
            headers=headers,
            verify=False,
            allow_redirects=False,
            timeout=A_WHILE,
            **more,
        )

    def begin(self, size: int) -> ssl.SSLSocket:
        """A request of that size of which only the beginning comes."""
        context = ssl._create_unverified_context()  # noqa: S323  (made for this test)
        raw = socket.create_connection(("127.0.0.1", self.port), 5)
        connection = context.wrap_socket(raw, server_hostname=HOST)
        head = (
            f"POST /webhooks/instagram HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {size}\r\n\r\n"
        )
        connection.sendall(head.encode() + b"x")
        return connection

    def is_up(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@contextmanager
def start_nginx(program: str, folder: Path, site: int):
    proxy = Proxy()
    make_certificate(folder)
    text = (DEPLOY / "nginx.conf").read_text()
    text = re.sub(r" *listen \[::\].*\n", "", text)
    text = text.replace("listen 80;", f"listen 127.0.0.1:{proxy.plain_port};")
    text = text.replace("listen 443 ", f"listen 127.0.0.1:{proxy.port} ")
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{site}")
    text = re.sub(r"/etc/letsencrypt/live/\S+/fullchain.pem", str(folder / "cert.pem"), text)
    text = re.sub(r"/etc/letsencrypt/live/\S+/privkey.pem", str(folder / "key.pem"), text)
    (folder / "site.conf").write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = " ".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/log warn; events {{}}\n"
        f"http {{ {temporary} include {folder}/site.conf; }}\n"
    )
    command = [program, "-e", folder / "log", "-c", folder / "nginx.conf"]
    assert subprocess.run([*command, "-t"], capture_output=True).returncode == 0
    with running(command, proxy):
        yield proxy


@contextmanager
def start_caddy(program: str, folder: Path, site: int):
    proxy = Proxy()
    make_certificate(folder)
    text = (DEPLOY / "Caddyfile").read_text()
    options = (
        f"{{\n\tadmin off\n\tauto_https disable_redirects\n\thttp_port {proxy.plain_port}\n}}\n"
    )
    text = text.replace(
        f"\n{HOST} {{",
        f"\n{options}\nhttps://{HOST}:{proxy.port} {{\n\ttls {folder}/cert.pem {folder}/key.pem\n",
    )
    text = text.replace("127.0.0.1:8000 {", f"127.0.0.1:{site} {{")
    (folder / "Caddyfile").write_text(text)
    command = [program, "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"]
    with running(command, proxy, HOME=str(folder), XDG_DATA_HOME=str(folder)):
        yield proxy


@contextmanager
def running(command: list, proxy: Proxy, **environment: str):
    process = subprocess.Popen(
        command, env={"PATH": WHERE} | environment, stderr=subprocess.DEVNULL
    )
    try:
        eventually(proxy.is_up)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def make_certificate(folder: Path) -> None:
    name = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*make, *name, *files], check=True, capture_output=True)


def test_pages_come_through_and_know_that_it_was_https(proxy):
    page = proxy.ask("GET", "/accounts/")
    assert page.headers["Location"] == "/login?next=/accounts/"
    assert "max-age" in page.headers["Strict-Transport-Security"]


def test_what_a_client_says_of_itself_is_not_believed(proxy):
    claimed = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http"}
    page = proxy.ask("GET", "/accounts/", headers=claimed)
    assert page.headers["Location"] == "/login?next=/accounts/"


def test_what_is_for_the_machine_itself_is_not_found_outside(proxy):
    for path in ("/readyz", "/metrics"):
        assert proxy.ask("GET", path).status_code == 404
    assert proxy.ask("GET", "/livez").status_code == 200


def test_webhooks_come_through_byte_for_byte(proxy):
    # Refused by the site, for their signature, and not by the proxy.
    answer = proxy.ask("POST", "/webhooks/instagram", data=b"{" + b" " * 15_000_000 + b"}")
    assert answer.status_code == 403
    assert "Content-Security-Policy" in answer.headers


def test_an_answer_with_ten_large_pictures_is_let_through(proxy):
    login = {"username": "mara", "password": PASSWORD}
    token = proxy.ask("POST", "/api/v1/auth/session", json=login).json()["token"]
    fields = {"account_id": "acc_000000000000", "recipient_id": "1"}
    pictures = {"file": ("ten.jpg", b"x" * 80 * 1024 * 1024)}
    headers = {"Authorization": f"Bearer {token}"}
    answer = proxy.ask(
        "POST", "/api/v1/messages/send", data=fields, files=pictures, headers=headers
    )
    # All of it was taken; only then the account is looked for.
    assert answer.json()["type"] == "urn:instamsg:problem:not-found"


def test_slow_clients_take_no_thread_of_the_site(proxy):
    """Forty of them, more than it has threads, dawdle over their request; others are served."""
    with ExitStack() as slow:
        for _ in range(40):
            slow.enter_context(proxy.begin(size=900_000))
        time.sleep(0.5)
        started = time.monotonic()
        assert proxy.ask("GET", "/livez").status_code == 200
        assert time.monotonic() - started < 2
