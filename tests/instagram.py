"""The offline Instagram, played through its control API."""

from urllib.parse import parse_qs, urlsplit

import requests

from instamsg.sandbox.server import Sandbox

CONTROL_TOKEN = "control-token-of-the-tests"


class Instagram:
    """The offline Instagram, as seen by who plays its people."""

    def __init__(self, sandbox: Sandbox):
        self.sandbox, self.url = sandbox, sandbox.url

    def control(self, command: str, *, method: str = "POST", **order):
        """One command of its control API; the answer's JSON."""
        answer = requests.request(
            method,
            f"{self.url}/_sandbox/{command}",
            json=order,
            headers={"Authorization": f"Bearer {CONTROL_TOKEN}"},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def consent(self, authorize_url: str, account: str = "luna.ceramics", **how) -> dict[str, str]:
        """What the browser brings back when `account` allows what `authorize_url` asks."""
        asked = parse_qs(urlsplit(authorize_url).query)
        code = self.control(
            "authorize",
            account=account,
            redirect_uri=asked["redirect_uri"][0],
            state=asked["state"][0],
            scope=asked["scope"][0],
            **how,
        )["code"]
        return {"code": code, "state": asked["state"][0]}

    def say(self, text: str, account: str = "luna.ceramics", customer: str = "mila.tests"):
        return self.control("say", account=account, customer=customer, text=text)

    def sent_by_api(self) -> list[str]:
        """The texts that the Send API took, in order."""
        conversations = self.control("state", method="GET")["conversations"]
        return [
            message["content"].get("text")
            for conversation in conversations
            for message in conversation["messages"]
            if message["by"] == "api"
        ]
