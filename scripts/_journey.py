"""One round over real HTTP: a shop connects, a customer writes, the shop answers."""

import http.client
import json
import re
import time
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

SHOP, CUSTOMER = "luna.ceramics", "mila.tests"
QUESTION, ANSWER = "Is the blue bowl still there", "Yes, it is waiting for you"
PATIENCE = 15
"""Seconds until something that should come is missed."""


class Failed(Exception):
    """The journey ended early; the text says where."""


def run(site_port: int, sandbox_port: int, control_token: str, password: str, say) -> None:
    """Go the whole way and `say` each step. Raises Failed."""
    site, phone = Browser(site_port), Phone(sandbox_port, control_token)
    try:
        site.get("/login")
        site.post("/login", username="admin", password=password)
        say("Logged in as admin.")

        consent = site.post("/accounts/connect")
        site.get(phone.allow(consent))
        say(f"Connected @{SHOP}.")

        if not phone.order("say", account=SHOP, customer=CUSTOMER, text=QUESTION)["heard"]:
            raise Failed("The sandbox sent no webhook: the account is not subscribed.")
        inbox = _wait("the message in the inbox", lambda: _holding(QUESTION, site.get("/")))
        say(f"Received “{QUESTION}” from {CUSTOMER}.")

        thread = re.search(r"/conversations/\d+/", inbox)
        if not thread:
            raise Failed("The inbox has no link to the conversation.")
        site.post(f"{thread[0]}reply", text=ANSWER)
        _wait("the answer on the phone", lambda: ANSWER in phone.received())
        say(f"Answered “{ANSWER}”.")
    except (OSError, http.client.HTTPException) as exc:
        raise Failed(f"No answer: {exc}") from None


class Browser:
    """As much of a browser as the site's forms need: it keeps cookies, it follows nothing."""

    def __init__(self, port: int):
        self.port = port
        self.cookies: SimpleCookie = SimpleCookie()

    def get(self, path: str) -> str:
        """The page's HTML."""
        return self._ask("GET", path, 200)[1]

    def post(self, path: str, **form: str) -> str:
        """Send a form, which must be accepted; the address that the site leads to."""
        form["csrfmiddlewaretoken"] = self.cookies["csrftoken"].value
        return self._ask("POST", path, 302, urlencode(form))[0].getheader("Location", "")

    def _ask(self, method: str, path: str, expected: int, body: str | None = None):
        headers = {"Cookie": "; ".join(f"{m.key}={m.value}" for m in self.cookies.values())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        response, content = exchange(self.port, method, path, body, headers)
        for cookie in response.headers.get_all("Set-Cookie", []):
            self.cookies.load(cookie)
        if response.status != expected:
            where = path.partition("?")[0]
            raise Failed(f"{method} {where} answered {response.status} instead of {expected}.")
        return response, content


class Phone:
    """The people on the other side, played through the sandbox's control API."""

    def __init__(self, port: int, token: str):
        self.port, self.token = port, token

    def allow(self, consent: str) -> str:
        """Say yes on the consent page at that address; the path to which it sends one back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(consent).query).items()}
        wanted = {name: asked.get(name, "") for name in ("redirect_uri", "state", "scope")}
        back = urlsplit(self.order("authorize", account=SHOP, **wanted)["location"])
        return f"{back.path}?{back.query}"

    def received(self) -> list[str]:
        """The texts that the site sent."""
        return [
            message["content"].get("text")
            for conversation in self.order("state", method="GET")["conversations"]
            for message in conversation["messages"]
            if message["by"] == "api"
        ]

    def order(self, name: str, method: str = "POST", **values: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        path, body = f"/_sandbox/{name}", json.dumps(values)
        response, content = exchange(self.port, method, path, body, headers)
        if response.status != 200:
            raise Failed(f"The sandbox answered {response.status} to {name}: {content}")
        return json.loads(content)


def exchange(
    port: int,
    method: str,
    path: str,
    body: str | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[http.client.HTTPResponse, str]:
    """One request to this machine, past any proxy. Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read().decode(errors="replace")
    finally:
        connection.close()


def _holding(text: str, page: str) -> str | None:
    return page if text in page else None


def _wait(what: str, look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise Failed(f"After {PATIENCE} seconds still missing: {what}.")
