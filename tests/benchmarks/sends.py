"""Answers in, messages out: sends whose answers are lost, by a worker that is killed with -9.

Echoes come twice, out of order, early, late or never. Then what Instagram has and what our table
says must agree, message by message: nothing was sent twice, and nothing is said that is not so.
"""

import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tests.running_site import RunningSite
from tests.waiting import eventually

from .measuring import Figures, Table, on_databases

ACCOUNTS = 5
EACH = 20
"""Messages of a conversation, as many as Instagram tells again of it."""

QUEUE = f"""
from django.utils import timezone
from messaging.models import Conversation, Message
now = timezone.now()
conversations = list(Conversation.objects.order_by("pk"))
Message.objects.bulk_create(
    Message(account_id=c.account_id, conversation=c, direction="out", status="queued",
            text="ok" if n % 10 == 9 else str(n), timestamp=now, is_from_here=True)
    for n in range({EACH}) for c in conversations
)
"""
END_LEASES = """
from django.utils import timezone
from messaging.models import Message
Message.objects.filter(status="sending").update(due_at=timezone.now())
"""
STATES = """
    SELECT a.username, c.igsid, m.text, m.mid, m.status FROM messages m
    JOIN conversations c ON c.id = m.conversation_id JOIN accounts a ON a.id = m.account_id
    WHERE m.direction = 'out'
"""

Said = dict[tuple[str, str, str], list[Any]]
"""By account, customer and text: equal texts of one conversation are told apart by their ids."""


def run(
    sends: int = 10_000, rounds: int = 1, patience: float = 900, sqlite_too: bool = True
) -> list[Table]:
    """On SQLite, and on PostgreSQL as well, or instead, when DATABASE_URL names one.

    `patience`: seconds for echoes and looks at conversations to settle what is not confirmed.
    """
    return on_databases(lambda name: _table(name, sends, rounds, patience), sqlite_too=sqlite_too)


def _table(name: str, sends: int, rounds: int, patience: float) -> Table:
    seed = random.randrange(2**32)  # noqa: S311  (moments of a kill, no secret)
    sys.stderr.write(f"sends: seed {seed}\n")
    rng = random.Random(seed)  # noqa: S311
    results: dict[str, list[Figures]] = {"queued": [], "found": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, RunningSite(Path(folder)) as site:
            site.log_in()
            _open(site, sends // EACH)
            found = _through_trouble(site, sends, rng, patience)
        results["queued"].append({"messages": sends})
        results["found"].append(found)
    title = f"sends: {sends:,} messages, lost answers, lost echoes, kill -9, on {name}"
    return Table(title, "messages", results)


def _open(site: RunningSite, conversations: int) -> None:
    accounts = min(ACCOUNTS, conversations)
    for n in range(accounts):
        site.control("accounts", username=f"shop.{n}")
        assert site.connect(f"shop.{n}").status_code == 200
    for n in range(conversations):
        customer = f"person.{n // accounts}"
        site.control("customers", username=customer)
        site.control("say", account=f"shop.{n % accounts}", customer=customer, text="Hello")
    opened = "SELECT COUNT(*) FROM conversations WHERE last_inbound_at IS NOT NULL"
    eventually(lambda: site.rows(opened) == [(conversations,)], 60 + conversations)


def _through_trouble(site: RunningSite, sends: int, rng: random.Random, patience: float) -> Figures:
    site.control("settings", latency=0.1, duplicates=1, reorder="pairs", delay=0.3, lose=7)
    lost = {"drop": "after", "every": 19}, {"drop": "before", "every": 31}
    refused = {"error": "1/1357046", "every": 89}, {"error": "613", "every": 97}
    for fault in (*lost, *refused, {"error": "551", "every": 101}):
        site.control("faults", endpoint="messages", **fault)
    site.manage("shell", "-c", QUEUE)
    kills = _kill_until_sent(site, rng, sends)
    site.control("faults", method="DELETE")
    site.control("flush", timeout=60)
    since = time.monotonic()
    while (open_ := _open_questions(site)) and time.monotonic() - since < patience:
        time.sleep(1)
    return _audit(site) | {
        "still open": open_,
        "worker killed": kills,
        "echoes lost": site.control("state", method="GET")["deliveries"]["lost"],
    }


def _kill_until_sent(site: RunningSite, rng: random.Random, sends: int) -> int:
    kills = 0
    left = "SELECT COUNT(*) FROM messages WHERE status IN ('queued', 'sending')"
    until = time.monotonic() + 300 + sends / 10
    while site.rows(left) != [(0,)]:
        assert time.monotonic() < until, "not everything was sent in time"
        site.control("settings", echo=rng.choice(["before", "with", "after"]))
        # At first soon: a short run is to see a kill as well.
        time.sleep(rng.uniform(0.1, 1) if kills == 0 else rng.uniform(1, 6))
        site.kill(site.worker)
        kills += 1
        site.manage("shell", "-c", END_LEASES)  # The only one who held any is dead.
        site.start_worker()
    return kills


def _open_questions(site: RunningSite) -> int:
    """How many messages that Instagram has are not known to be sent."""
    ours, theirs = _states(site), _sent(site)
    return sum(
        max(0, len(mids) - sum(status == "sent" for _, status in ours[said]))
        for said, mids in theirs.items()
    )


def _audit(site: RunningSite) -> Figures:
    ours, theirs = _states(site), _sent(site)
    rows = [(said, mid, status) for said, found in ours.items() for mid, status in found]
    states = Counter(status for _, _, status in rows)
    known = Counter(mid for _, mid, _ in rows if mid)
    return {
        "messages": len(rows),
        **{status: states[status] for status in ("sent", "failed", "unconfirmed")},
        "Instagram has": sum(map(len, theirs.values())),
        # More of a text than rows that may have brought it there.
        "twice": sum(
            max(0, len(mids) - sum(status != "failed" for _, status in ours[said]))
            for said, mids in theirs.items()
        ),
        "one id twice": sum(count > 1 for count in known.values()),
        "sent without being there": sum(
            status == "sent" and mid not in theirs[said] for said, mid, status in rows
        ),
        "id without being sent": sum(bool(mid) and status != "sent" for _, mid, status in rows),
    }


def _states(site: RunningSite) -> Said:
    found: Said = defaultdict(list)
    for account, igsid, text, mid, status in site.rows(STATES):
        found[account, igsid, text].append((mid, status))
    return found


def _sent(site: RunningSite) -> Said:
    found: Said = defaultdict(list)
    for one in site.control("sent", method="GET")["sent"]:
        found[one["account"], one["igsid"], one["text"]].append(one["mid"])
    return found
