"""One worker and Instagram's limits: what leaves in a second, in which order, and whose.

The sandbox takes a tenth of a second for each call, and sends an echo of every message, which web
process and worker take in meanwhile.
"""

import signal
import tempfile
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.running_site import APP_SECRETS, RunningSite
from tests.waiting import A_WHILE, eventually

from .measuring import Figures, Table

LATENCY = 0.1
LIMIT = 100
"""Messages that Instagram takes of an account in a second (8)."""

SIDE_BY_SIDE = 32

QUEUE = """
from django.utils import timezone
from messaging.models import Conversation, Message
now = timezone.now()
conversations = list(Conversation.objects.filter(account__username__in={shops}).order_by("pk"))
Message.objects.bulk_create(
    Message(account_id=c.account_id, conversation=c, direction="out", status="queued",
            text=str(n), timestamp=now, is_from_here=True)
    for n in range({each}) for c in conversations
)
"""

THE_REST = (
    "SELECT 1 FROM webhook_events WHERE state = 'pending' LIMIT 1",
    "SELECT 1 FROM conversations WHERE person_told_at IS NULL LIMIT 1",
    "SELECT 1 FROM history_syncs WHERE due_at IS NOT NULL LIMIT 1",
    "SELECT 1 FROM missing_messages WHERE due_at IS NOT NULL LIMIT 1",
)
"""What a worker does beside sending, after accounts were connected and customers have written."""


def run(
    each: int = 15, conversations: int = 100, accounts: int = 20, rounds: int = 3
) -> list[Table]:
    with tempfile.TemporaryDirectory() as folder, RunningSite(Path(folder)) as site:
        site.log_in()
        shops = [f"shop.{n}" for n in range(1 + accounts)]
        people = [f"person.{n}" for n in range(conversations)]
        _open(site, shops, people)
        site.kill(site.worker, signal.SIGTERM)
        site.control("settings", latency=LATENCY)
        alone = {
            "Instagram's limit": [{"per second": LIMIT}] * rounds,
            "calls without a site": [
                _bare_calls(site, shops[0], people, each) for _ in range(rounds)
            ],
            "one worker": [_drained(site, shops[:1], each)[0] for _ in range(rounds)],
        }
        fair: dict[str, list[Figures]] = {"the fastest account": [], "the slowest": []}
        for _ in range(rounds):
            total, rates = _drained(site, shops[1:], each)
            fair["the fastest account"].append({"per second": max(rates), **total})
            fair["the slowest"].append({"per second": min(rates)})
    name = "SQLite" if site.is_sqlite else "PostgreSQL"
    return [
        Table(
            f"sending: {conversations} conversations of one account, {name}", "per second", alone
        ),
        Table(f"sending: {accounts} accounts side by side, {name}", "per second", fair),
    ]


def _open(site: RunningSite, shops: list[str], people: list[str]) -> None:
    """Everybody writes to the first shop, and a few to each of the others."""
    for person in people:
        site.control("customers", username=person)
    for shop in shops:
        site.control("accounts", username=shop)
        assert site.connect(shop).status_code == 200
        for person in people if shop == shops[0] else people[:10]:
            site.control("say", account=shop, customer=person, text="Hello")
    opened = len(people) + (len(shops) - 1) * len(people[:10])
    query = "SELECT COUNT(*) FROM conversations WHERE last_inbound_at IS NOT NULL"
    eventually(lambda: site.rows(query) == [(opened,)], A_WHILE)
    _wait_for_the_rest(site)


def _drained(site: RunningSite, shops: list[str], each: int) -> tuple[Figures, list[float]]:
    """What a worker does with a full outbox: of all accounts together, and the rate of each."""
    _catch_up(site)
    since = site.control("sent", method="GET")["number"]
    site.manage("shell", "-c", QUEUE.format(shops=shops, each=each))
    ((waiting,),) = site.rows("SELECT COUNT(*) FROM messages WHERE status = 'queued'")
    site.start_worker()
    try:
        left = "SELECT COUNT(*) FROM messages WHERE status IN ('queued', 'sending')"
        eventually(lambda: site.rows(left) == [(0,)], 120 + waiting / 20)
    finally:
        site.kill(site.worker, signal.SIGTERM)
    sent = site.control("sent", method="GET", since=since)["sent"]
    by_conversation, by_account = defaultdict(list), defaultdict(list)
    for one in sent:
        by_conversation[one["account"], one["igsid"]].append(int(one["text"]))
        by_account[one["account"]].append(one["at"])
    failed = site.rows("SELECT COUNT(*) FROM messages WHERE status IN ('failed', 'unconfirmed')")
    figures = {
        "per second": _rate([one["at"] for one in sent]),
        "most in a second": max(map(_most_in_a_second, by_account.values())),
        "sent": len(sent),
        "missing": waiting - len(sent),
        "failed": failed[0][0],
        "twice": sum(
            count > 1 for texts in by_conversation.values() for count in Counter(texts).values()
        ),
        "out of order": sum(texts != sorted(texts) for texts in by_conversation.values()),
    }
    if len(shops) > 1:
        figures["all per second"] = figures.pop("per second")
    return figures, [_rate(moments) for moments in by_account.values()]


def _catch_up(site: RunningSite) -> None:
    """The echoes of what was sent before are read: they are no part of what comes now."""
    site.start_worker()
    try:
        _wait_for_the_rest(site)
    finally:
        site.kill(site.worker, signal.SIGTERM)


def _wait_for_the_rest(site: RunningSite) -> None:
    """Until webhooks are read, customers known by name, and what was said before as well."""
    eventually(lambda: not any(site.rows(query) for query in THE_REST), 600)


def _rate(moments: list[int]) -> float:
    """A second, from milliseconds of first and last arrival."""
    spent = (max(moments) - min(moments)) / 1000
    return (len(moments) - 1) / spent if spent else float(len(moments))


def _most_in_a_second(moments: list[int]) -> int:
    """In whichever second most of them came."""
    moments = sorted(moments)
    return max(bisect_left(moments, at + 1000) - n for n, at in enumerate(moments))


def _bare_calls(site: RunningSite, shop: str, people: list[str], each: int) -> Figures:
    """As many calls as go through side by side, with no database and no limit."""
    token = _token(site, shop)
    igsids = {
        one["igsids"][shop]
        for one in site.control("state", method="GET")["customers"]
        if one["username"] in people
    }
    http = requests.Session()
    http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=SIDE_BY_SIDE))

    def call(igsid: str) -> None:
        body = {"recipient": {"id": igsid}, "message": {"text": "bare"}}
        answer = http.post(
            f"{site.sandbox.url}/v25.0/me/messages",
            json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30,
        )  # fmt: skip
        answer.raise_for_status()

    began = time.monotonic()
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        list(threads.map(call, [igsid for _ in range(each) for igsid in igsids]))
    return {"per second": each * len(igsids) / (time.monotonic() - began)}


def _token(site: RunningSite, shop: str) -> str:
    callback = f"{site.url}/oauth/instagram/callback"
    code = site.control("authorize", account=shop, redirect_uri=callback)["code"]
    answer = requests.post(
        f"{site.sandbox.url}/oauth/access_token",
        data={
            "client_id": "sandbox-app",
            "client_secret": APP_SECRETS.split(",")[0],
            "grant_type": "authorization_code",
            "redirect_uri": callback,
            "code": code,
        },
        timeout=10,
    ).json()
    return answer.get("access_token") or answer["data"][0]["access_token"]
