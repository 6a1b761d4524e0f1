"""manage.py sync_conversations: what it does, says, and exits with."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts import connecting
from accounts.models import Account
from crypto.keyring import KeyRing
from messaging.models import HistorySync, Message

from .test_history import at_once, old  # noqa: F401  (a fixture)

pytestmark = pytest.mark.django_db(transaction=True)


def run(*args):
    """What it prints, and its exit code."""
    out = StringIO()
    try:
        call_command("sync_conversations", *args, stdout=out, stderr=out)
    except CommandError as exc:
        return f"{out.getvalue()}{exc}", exc.returncode
    except SystemExit as exc:
        return out.getvalue(), exc.code
    return out.getvalue(), 0


@pytest.fixture
def both(instagram, user, connected):
    """@luna.ceramics, with old messages, and @north.bikes, without."""
    url = connecting.begin(user, "browser")
    connecting.finish(user, "browser", instagram.consent(url, "north.bikes"))
    old(instagram, 12, age=3600)
    return [Account.objects.get(username=name) for name in ("luna.ceramics", "north.bikes")]


def test_it_walks_through_all_connected_accounts(both):
    said, code = run()
    assert code == 0
    assert (
        f"{both[0].pk} @luna.ceramics: finished; conversations: 1, messages: 12, missing: 12, "
        "added: 12." in said
    )
    assert f"{both[1].pk} @north.bikes: finished; conversations: 0" in said
    assert Message.objects.count() == 12
    assert "missing: 0" in run("--account", both[0].pk)[0]


def test_programs_read_json(both):
    said, code = run("--json", "--account", both[0].pk)
    told = json.loads(said)
    assert (code, told["finished"]) == (0, 1)
    assert told["accounts"] == [
        {
            "account_id": both[0].pk,
            "username": "luna.ceramics",
            "state": "finished",
            "reason": "",
            "conversations": 1,
            "messages": 12,
            "gaps_found": 12,
            "gaps_filled": 12,
        }
    ]


def test_an_unknown_account_is_wrong_usage(both):
    said, code = run("--account", "acc_nobody")
    assert code == 2
    assert "no account acc_nobody" in said
    assert not Message.objects.exists()


def test_what_does_not_work_is_named_and_the_others_are_done(instagram, both):
    instagram.control("revoke", account="north.bikes", subcode=460)
    said, code = run()
    assert code == 6
    assert f"{both[1].pk} @north.bikes: failed" in said
    assert "The Instagram password was changed." in said
    assert Message.objects.count() == 12
    assert run("--account", both[1].pk)[1] == 1


def test_what_has_to_wait_is_left_to_the_worker(instagram, both, settings):
    settings.INSTAGRAM_GRAPH_URL = "http://127.0.0.1:9"
    HistorySync.objects.update(failures=5)
    said, code = run("--account", both[0].pk)
    assert code == 1
    assert "waiting" in said
    assert "cannot be reached" in said
    assert HistorySync.objects.get(account=both[0]).state == "pending"


def test_a_token_that_no_key_opens_has_its_own_exit_code(both, monkeypatch):
    other = KeyRing("Another-secret-that-opens-nothing-here-000")
    monkeypatch.setattr("crypto.fields.get_keyring", lambda: other)
    said, code = run("--account", both[0].pk)
    assert code == 4
    assert "cannot be opened" in said


def test_without_connected_accounts_there_is_nothing_to_do(db):
    assert run() == ("No account is connected.\n", 0)
