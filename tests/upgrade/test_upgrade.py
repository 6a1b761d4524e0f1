"""A database that an earlier release filled goes through every migration, and loses nothing.

What is kept in this folder was made by those releases themselves: see fill.py.
"""

import html
import json

import pytest
from django.conf import settings

from tests.rotation.installation import Installation
from tests.running_site import SECRET

from . import acts, databases

pytestmark = pytest.mark.processes

NAMED_ANEW = {"conversations.person_asked_at": "conversations.person_told_at"}
"""Columns that a migration renamed → what they are called now."""

CHANGED = {
    "webhook_events.reason": "each event of a webhook has one of its own",
    "webhook_events.state": "older webhooks are read again, to be split into events",
    "webhook_events.due_at": "as above",
}
"""Columns in which migrations leave something else, and why; for every release."""


class Upgraded(Installation):
    """What a release left, after this release's `migrate`."""

    def __init__(self, folder, name):
        self.folder, self.hosts = folder, {}
        self.more = {"MEDIA_ROOT": str(folder / "media")}
        self.database, self.account = databases.unpacked(name, folder), databases.account_of(name)
        self.before = databases.rows(self.database)
        self.migrated = self.manage("migrate", ring=(SECRET,))
        self.after = databases.rows(self.database)

    def told(self, act, *args):
        """What `act` found; fails where it failed."""
        done = self.run(act, *args, ring=(SECRET,))
        assert done.code == 0, done.err
        return json.loads(done.out)


@pytest.fixture(scope="module", params=databases.names())
def site(request, tmp_path_factory):
    site = Upgraded(tmp_path_factory.mktemp("upgraded"), request.param)
    yield site
    site.close()


def test_this_release_has_a_database_of_its_own_making():
    """Made by `python -m tests.upgrade.fill`; without one the next release could not be tried."""
    assert settings.RELEASE in databases.names()


def test_every_table_has_rows_to_lose(site):
    """Of the databases from before, those that people would miss."""
    filled = {table: len(rows) for table, rows in site.before.items()}
    assert {table: filled[table] for table in site.account["rows"]} == site.account["rows"]
    assert all(site.account["rows"].values())
    assert site.account["rows"].keys() >= {"accounts", "messages", "webhook_events", "attachments"}


def test_every_migration_runs(site):
    assert site.migrated.code == 0, site.migrated.err
    plan = site.manage("migrate", "--plan", ring=(SECRET,))
    assert "No planned migration operations" in plan.out


def test_every_row_stands_where_it_stood(site):
    lost = {table: before.keys() - site.after[table].keys()
            for table, before in site.before.items()}  # fmt: skip
    assert not any(lost.values()), lost


def test_every_value_stands_where_it_stood(site):
    different = []
    for table, before in site.before.items():
        for key, row in before.items():
            for column, value in row.items():
                name = NAMED_ANEW.get(f"{table}.{column}", f"{table}.{column}")
                if name not in CHANGED:
                    now = site.after[table][key].get(name.partition(".")[2], "no such column")
                    different += [(name, key, value, now)] if now != value else []
    assert not different


def test_what_people_and_programs_have_is_what_they_had(site):
    found = site.told(acts.contents)
    for part in found.keys() & site.account.keys():
        assert found[part] == site.account[part], part


def test_the_secret_opens_every_token_and_endpoint(site):
    checked = site.manage("check_secret", "--json", ring=(SECRET,))
    assert checked.code == 0, checked.out + checked.err
    assert not json.loads(checked.out)["unreadable_count"]


def test_the_pages_show_it(site):
    pages = site.told(acts.pages)
    for name, thread in site.account["threads"].items():
        texts = [message["text"] for message in thread if not message["taken_back"]]
        assert any(_shows(page, texts) for page in pages.values()), name
    for username in site.account["tokens"]:
        assert f"@{username}" in pages["/accounts/"]


def test_an_api_key_still_works(site):
    if "api_key" not in site.account:
        pytest.skip("there were no API keys")
    status, answer = site.told(acts.ask_api, site.account["api_key"])
    assert status == 200
    assert len(answer["conversations"]) == len(site.account["threads"])


def test_reading_the_ledger_again_gives_the_same_conversations(site):
    """But for what waited in it, and what a customer had taken back: that goes at last."""
    found = site.told(acts.replay)["threads"]
    waited, taken_back = (site.account[part] for part in ("waited", "taken_back_later"))
    for name, thread in site.account["threads"].items():
        now = [message for message in found[name] if message["text"] not in waited]
        for message in thread:
            if message["text"] in taken_back:
                message |= {"text": "", "taken_back": True}
        assert now == thread, name
    texts = [message["text"] for thread in found.values() for message in thread]
    assert set(waited) <= set(texts)
    assert not set(taken_back) & set(texts)


def _shows(page, texts):
    return all(html.escape(line) in page for text in texts for line in text.splitlines())
