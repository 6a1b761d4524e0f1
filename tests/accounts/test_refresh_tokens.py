"""manage.py refresh_tokens: what it does, says, and exits with."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts import connecting
from accounts.models import Account
from crypto.keyring import KeyRing

from .passing_time import let_pass

pytestmark = pytest.mark.django_db


def run(*args):
    """What it prints, and its exit code."""
    out = StringIO()
    try:
        call_command("refresh_tokens", *args, stdout=out, stderr=out)
    except CommandError as exc:
        return f"{out.getvalue()}{exc}", exc.returncode
    except SystemExit as exc:
        return out.getvalue(), exc.code
    return out.getvalue(), 0


@pytest.fixture
def both(instagram, user, connected):
    """@luna.ceramics and @north.bikes, two days old."""
    url = connecting.begin(user, "browser")
    connecting.finish(user, "browser", instagram.consent(url, "north.bikes"))
    let_pass(instagram, days=2)
    return [Account.objects.get(username=name) for name in ("luna.ceramics", "north.bikes")]


def test_it_refreshes_what_is_due(both):
    said, code = run()
    assert code == 0
    assert f"{both[0].pk} @luna.ceramics: refreshed, until " in said
    assert said.endswith("2 refreshed, 0 not.\n")
    assert [a.days_left for a in Account.objects.all()] == [60, 60]
    assert run() == ("No token is due.\n", 0)


def test_a_dry_run_lists_it_and_asks_nobody(instagram, both):
    asked = instagram.control("requests", method="GET")["requests"]
    said, code = run("--dry-run")
    assert code == 0
    assert "@luna.ceramics: due, until" in said
    assert said.endswith("2 to refresh. Nothing was changed.\n")
    assert instagram.control("requests", method="GET")["requests"] == asked


def test_a_named_account_does_not_wait_for_its_turn(both):
    Account.objects.update(token_refresh_at=timezone.now() + timezone.timedelta(hours=3))
    assert run() == ("No token is due.\n", 0)
    said, code = run("--account", both[1].pk)
    assert code == 0
    assert "@north.bikes: refreshed" in said
    assert "luna" not in said


def test_for_programs_there_is_json_without_a_token(both):
    said, code = run("--json")
    found = json.loads(said)
    assert (code, found["refreshed"]) == (0, 2)
    row = next(row for row in found["accounts"] if row["username"] == "luna.ceramics")
    account = Account.objects.get(pk=both[0].pk)
    assert row == {
        "account_id": account.pk,
        "username": "luna.ceramics",
        "outcome": "refreshed",
        "reason": "",
        "token_expires_at": account.token_expires_at.isoformat(),
    }
    assert "IGAA" not in said


def test_an_account_that_is_not_there_is_wrong_usage(both):
    said, code = run("--account", both[0].pk, "acc_000000000000")
    assert code == 2
    assert said == "There is no account acc_000000000000. Nothing was done."


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"access_token": None}, "It is disconnected"),
        ({"token_expires_at": timezone.now()}, "The token has expired"),
        ({"token_issued_at": timezone.now()}, "younger than 24 hours"),
    ],
)
def test_one_that_instagram_would_not_refresh_is_not_tried(instagram, both, change, reason):
    Account.objects.filter(pk=both[0].pk).update(**change)
    said, code = run("--account", both[0].pk)
    assert code == 1
    assert "skipped" in said
    assert reason in said
    assert run("--account", *(account.pk for account in both))[1] == 6


def test_one_that_instagram_rejects_is_named_with_the_reason(instagram, both):
    instagram.control("revoke", account="north.bikes", subcode=460)
    said, code = run()
    assert code == 6
    assert "@north.bikes: revoked, until" in said
    assert "The Instagram password was changed." in said
    assert said.endswith("1 refreshed, 1 not.\n")


def test_when_instagram_is_out_of_reach_it_stops(both, settings):
    settings.INSTAGRAM_GRAPH_URL = "http://127.0.0.1:9"
    said, code = run()
    assert code == 1
    assert said.count("unreachable") == 1
    assert "what else is due waits" in said


def test_one_that_no_secret_opens_has_its_own_code(both, settings):
    settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
    said, code = run()
    assert code == 4
    assert "cannot be opened with the current SESSION_SECRET" in said


def test_without_a_secret_nothing_is_tried(both, settings):
    settings.KEYRING = KeyRing(None)
    said, code = run()
    assert (said, code) == ("SESSION_SECRET is not set: no token can be opened.", 5)
