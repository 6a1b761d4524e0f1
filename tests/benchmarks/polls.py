"""The web process while 200 inbox pages are open and nothing is new, beside as many /livez."""

import http.client
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.running_site import RunningSite
from tests.waiting import A_WHILE, eventually

from .bodies import body
from .measuring import Figures, Table, interleave, waits

SCRIPT = Path(__file__).parents[2] / "instamsg/static/instamsg/inbox.js"
PAUSE = int(re.search(r"^const QUIET_PAUSE = (\d+);", SCRIPT.read_text(), re.MULTILINE)[1]) / 1000
"""Seconds between two questions of a page to which nothing new came, as its script has it."""

TICK = os.sysconf("SC_CLK_TCK")
CUSTOMERS = 200


def run(pages: int = 200, seconds: float = 18, rounds: int = 3) -> list[Table]:
    with tempfile.TemporaryDirectory() as folder, RunningSite(Path(folder)) as site:
        site.log_in()
        site.connect()
        ((account,),) = site.rows("SELECT instagram_account_id FROM accounts")
        site.post_webhook(body(account, [str(9000 + n) for n in range(CUSTOMERS)]))
        eventually(lambda: site.rows("SELECT COUNT(*) FROM messages") == [(CUSTOMERS,)], A_WHILE)
        inbox = site.get("/").text
        time.sleep(2)  # Names are asked for; nothing is new once they failed.
        change = re.search(r'data-change="([^"]+)"', site.get("/").text)[1]
        assert "conversation-" in inbox
        cases = {
            "/livez": partial(_poll, site, "/livez", 200, pages, seconds),
            "the inbox": partial(_poll, site, f"/updates?after={change}", 204, pages, seconds),
        }
        results = interleave(cases, rounds)
    name = "SQLite" if site.is_sqlite else "PostgreSQL"
    title = f"polls: {pages} open pages that ask every {PAUSE:g} s, nothing new, on {name}"
    return [Table(title, "% of a core", results)]


def _poll(site: RunningSite, path: str, status: int, pages: int, seconds: float) -> Figures:
    cookies = "; ".join(f"{c.name}={c.value}" for c in site.browser.cookies)
    took: list[float] = []
    wrong: list[int] = []
    began, before = time.monotonic(), _cpu(site.web.pid)

    def page(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
        at = began + PAUSE * number / pages
        with closing(connection):
            while at < began + seconds:
                time.sleep(max(0, at - time.monotonic()))
                start = time.monotonic()
                connection.request("GET", path, headers={"Cookie": cookies})
                answer = connection.getresponse()
                answer.read()
                took.append(time.monotonic() - start)
                if answer.status != status:
                    wrong.append(answer.status)
                at += PAUSE

    threads = [threading.Thread(target=page, args=(number,)) for number in range(pages)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.monotonic() - began
    return {
        "% of a core": (_cpu(site.web.pid) - before) / spent * 100,
        "per second": len(took) / spent,
        **waits(took),
        "unexpected": len(wrong),
    }


def _cpu(group: int) -> float:
    """Seconds of processor time that the processes of a group have taken."""
    return sum((ticks for pgrp, ticks in _processes() if pgrp == group)) / TICK


def _processes() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # It has just ended.
            continue
        yield int(fields[2]), int(fields[11]) + int(fields[12])
