"""Fill a database by this release's own code, and keep it for the tests of upgrades.

    DATABASE_URL=postgres://postgres@127.0.0.1/postgres python -m tests.upgrade.fill

keeps one of SQLite and one of PostgreSQL, under the version in pyproject.toml. A whole site runs
for it: webhooks are signed, accounts connected, answers sent and forwarded as on any other day.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import requests

import tests.environment  # noqa: F401  (before anything reads the settings)
from instamsg.sandbox import contents, rare
from instamsg.settings import RELEASE
from tests.receiver import Receiver
from tests.rotation.databases import IS_POSTGRES
from tests.running_site import PASSWORD, SECRET, RunningSite, eventually

from . import databases

FORMER_SECRET = "the-S3cret-before-the-rotation-of-2026"
RULE = {"name": "Prices", "kind": "keyword", "words": "price", "text": "From 40 euros."}
HERE = {"account": "luna.ceramics", "customer": "mila.tests"}
FAR = "An answer that only SQL could mangle: '\"\\ % ; -- 🐈‍⬛ Grüße, привет, 你好"
WAITED = "Came while no worker ran"
UNWRITTEN = {"axes_accessfailurelog", "axes_accesslog", "axes_accessattemptexpiration"}
"""Tables that no setting of ours lets anything be written into."""


class Filled(RunningSite):
    """A site that has lived through everything there is."""

    def __init__(self, folder: Path):
        queue = f"sqlite:///{folder / 'queue.db'}"  # Of no release's making.
        super().__init__(folder, SESSION_SECRET=FORMER_SECRET, TASK_QUEUE_URL=queue)
        self.crm, self.dead_crm = Receiver(), Receiver()
        self.dead_crm.think = lambda got: 500

    def fill(self) -> dict:
        """Do all of it; returns the account of what is there then."""
        self.log_in()
        self.connect()
        self.connect("north.bikes")
        self.accounts = dict(self.rows("SELECT username, id FROM accounts"))
        self.rotate()
        self.invite()
        self.make_keys()
        self.make_rules()
        self.forward()
        self.write()
        self.answer()
        self.wait_for_workers()
        self.ask_meta()
        self.manage("check_secret")
        self.kill(self.worker, 15)
        self.leave_undone()
        told = json.loads(self.act("contents"))
        told |= {"waited": [WAITED], "taken_back_later": []}
        return told | {"api_key": self.key, "rows": self.count()}

    def close(self) -> None:
        self.crm.close()
        self.dead_crm.close()

    # What people do

    def rotate(self) -> None:
        """The secret, as docs/session-secret.md has it: the registry then knows a retired one."""
        self.environment |= {"SESSION_SECRET": SECRET, "SESSION_SECRET_FALLBACKS": FORMER_SECRET}
        for process in (self.web, self.worker):
            self.kill(process, 15)
        self.start_web()
        self.start_worker()
        self.manage("rotate_secret", "--no-backup")

    def invite(self) -> None:
        """One colleague who comes, one who does not, and one who types a wrong password."""
        page = f"/accounts/{self.accounts['luna.ceramics']}/"
        made = self.submit(page, f"{page}invite", role="member").text
        self.submit(page, f"{page}invite", role="owner")
        mara, self.browser = self.browser, requests.Session()
        page = self.get(re.search(r"/accounts/invitations/[\w-]+", made).group())
        path = page.url.removeprefix(self.url)
        again = {"password1": PASSWORD, "password2": PASSWORD}
        self.submit(path, path, username="jan", email="jan@shop.example", **again)
        self.browser = requests.Session()
        self.submit("/login", "/login", username="jan", password="mistyped")
        self.browser = mara
        path = "/admin/auth/group/add/"
        assert self.submit(path, path, name="Evening team").status_code == 302

    def make_keys(self) -> None:
        """One that reaches all, one of a single account, one made by a key, one revoked."""
        made = self.manage(
            "create_api_key", "mara", "--name=CRM", "--scope", "read", "send", "manage", "--json"
        )
        self.key = json.loads(made)["api_key"]
        account = self.accounts["luna.ceramics"]
        self.manage("create_api_key", "jan", "--name=Clock", f"--account={account}")
        made = [self.api("POST", "api-keys", name=name) for name in ("Report", "Lost laptop")]
        self.api("DELETE", f"api-keys/{made[1]['id']}")

    def make_rules(self) -> None:
        page = f"/accounts/{self.accounts['luna.ceramics']}/rules"
        rule = RULE | {"cooldown_minutes": "0", "is_enabled": "on"}
        assert self.submit(f"{page}/new", f"{page}/new", **rule).status_code == 302
        hours = {"silence_hours": "12", "time_zone": "Europe/Lisbon", "days": ["0", "1"]}
        hours |= {"disclosure": "Nobody typed this. Write STOP to end it."}
        hours |= {"opens_at": "08:30", "closes_at": "17:00"}
        path = f"{page}/settings"
        assert self.submit(path, path, **hours).status_code == 302

    def forward(self) -> None:
        """To a CRM that takes everything, under its second secret, and to one that is broken."""
        for account, crm in (("luna.ceramics", self.crm), ("north.bikes", self.dead_crm)):
            made = self.api(
                "POST", "webhook-endpoints", account_id=self.accounts[account], url=crm.url
            )
            self.api("POST", f"webhook-endpoints/{made['endpoint_id']}/secret")

    def write(self) -> None:
        """All that customers write, tap, correct, take back and do beside."""
        for kind in contents.KINDS:
            self.control("say", **HERE, kind=kind)
        self.say(FAR)
        self.control("react", **HERE | {"account": "luna.ceramics"}, mid=self.say("Lovely")["mid"])
        self.say("Do you ship to Lisbom?")
        self.control("edit", **HERE, text="Do you ship to Lisbon?")
        self.say("I take this one back")
        self.control("unsend", **HERE)
        self.control("postback", **HERE, title="Opening hours", payload="HOURS")
        self.control("referral", **HERE, ref="autumn")
        self.control("phone-reply", **HERE, text="From the phone")
        self.control("read", **HERE)
        for kind in rare.KINDS:
            self.control("event", **HERE, kind=kind)
        self.say("What is the price?", customer="jonas.outdoors")
        self.say("STOP", customer="jonas.outdoors")
        self.control("say", account="north.bikes", customer="amara.k", text="A bell, please")
        self.control("history", account="north.bikes", customer="jonas.outdoors", count=5)
        page = f"/accounts/{self.accounts['north.bikes']}/"
        self.submit(page, f"{page}history")
        self.post_webhook(b'{"\xff no UTF-8"}')

    def answer(self) -> None:
        """What is sent, with all that can become of it."""
        eventually(lambda: self.api("GET", "conversations")["conversations"])
        self.control("settings", account_usage={"call_count": 60})
        key = {"Idempotency-Key": "answer-4711"}
        mila = self.igsid("mila.tests", "luna.ceramics")
        self.send("Yes, it is!", mila, headers=key)
        self.becomes("Yes, it is!", "sent")
        self.control("faults", **HERE, endpoint="messages", times=1, error="551")
        self.send("This one is refused", mila)
        self.becomes("This one is refused", "failed")
        self.control("settings", echo="none")
        self.control("faults", **HERE, endpoint="messages", times=1, drop="before")
        self.send("This one got no answer", mila)
        self.becomes("This one got no answer", "unconfirmed")

    def ask_meta(self) -> None:
        """The handshake, a request to forget somebody unknown, and a trip that is not finished."""
        self.control("verify")
        address = f"{self.url}/oauth/instagram/data-deletion"
        self.control("signed-request", url=address, user_id="0")
        self.submit("/accounts/", "/accounts/connect")
        self.control("faults", endpoint="*", status=502, body="Bad gateway")
        edit = {"mid": "never-came", "text": "Corrected", "num_edit": 1}
        self.control("deliver", account="luna.ceramics", events=[
            {"sender": {"id": self.igsid("mila.tests", "luna.ceramics")},
             "recipient": {"id": "17841400000000101"}, "timestamp": 1795000000000,
             "message_edit": edit}])  # fmt: skip
        eventually(lambda: self.rows("SELECT 1 FROM missing_messages"))

    def leave_undone(self) -> None:
        """What is at work when an upgrade begins: no worker runs any more."""
        self.send("This one waits", self.igsid("mila.tests", "luna.ceramics"))
        conversation = self.api("GET", "conversations")["conversations"][0]["conversation_id"]
        self.api("PUT", f"conversations/{conversation}/typing")
        self.control("faults", method="DELETE")
        self.say(WAITED)
        self.control("flush")
        self.act("fill_what_passes")

    # How

    def api(self, method: str, path: str, headers: dict | None = None, **body):
        headers = {"Authorization": f"Bearer {self.key}"} | (headers or {})
        answer = requests.request(
            method, f"{self.url}/api/v1/{path}", json=body or None, headers=headers, timeout=10
        )
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def send(self, text: str, igsid: str, headers: dict | None = None) -> None:
        body = {"account_id": self.accounts["luna.ceramics"], "recipient_id": igsid}
        self.api("POST", "messages/send", headers, **body, message=text)

    def becomes(self, text: str, status: str) -> None:
        asked = f"SELECT 1 FROM messages WHERE text = '{text}' AND status = '{status}'"
        eventually(lambda: self.rows(asked), 60)

    def igsid(self, customer: str, account: str) -> str:
        asked = "SELECT igsid, conversations.username, accounts.username FROM conversations"
        asked += " JOIN accounts ON accounts.id = account_id"

        def found():
            return [one for one, *names in self.rows(asked) if names == [customer, account]]

        return eventually(found)[0]

    def wait_for_workers(self) -> None:
        """Until nothing waits but what cannot be done."""
        self.control("flush", timeout=60)
        for asked in (
            "webhook_events WHERE state = 'pending'",
            "inbound_events WHERE state = 'pending'",
            "attachments WHERE state = 'pending'",
            "history_syncs WHERE finished_at IS NULL",
        ):
            eventually(lambda asked=asked: not self.rows(f"SELECT * FROM {asked}"), 60)
        eventually(lambda: self.rows("SELECT 1 FROM deliveries WHERE state = 'delivered'"))
        eventually(lambda: self.rows("SELECT 1 FROM deliveries WHERE attempts > 0"))

    def act(self, name: str) -> str:
        return self.manage("shell", "-v0", "-c", f"from tests.upgrade import acts; acts.{name}()")

    def count(self) -> dict[str, int]:
        """Table → rows; fails when one is empty that could be filled."""
        names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        if self.is_sqlite:
            names = (
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
        counts = {
            name: self.rows(f'SELECT COUNT(*) FROM "{name}"')[0][0]
            for (name,) in self.rows(names)
            if name not in UNWRITTEN
        }
        empty = [name for name, count in counts.items() if not count]
        assert not empty, f"nothing filled {empty}"
        return counts


def main() -> None:
    """Both kinds, each in a process of its own: settings are read once."""
    if not IS_POSTGRES:
        sys.exit("Name a PostgreSQL server in DATABASE_URL: one database of each kind is kept.")
    for url in (os.environ["DATABASE_URL"], ""):
        code = "from tests.upgrade import fill; fill.keep()"
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"DATABASE_URL": url}, check=True
        )


def keep() -> None:
    with tempfile.TemporaryDirectory() as folder, closing(Filled(Path(folder))) as site, site:
        account = site.fill()
        for path in databases.keep(RELEASE, site.database_url, account):
            print(f"{path.name}: {path.stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
