"""Every error that Instagram is known to answer a send with (7.2): what becomes of the message and
of the account, when it is tried again, and what the team reads."""

from datetime import timedelta
from typing import NamedTuple

import pytest
from django.utils import timezone

from accounts.models import Account
from instamsg.sandbox.error_table import ERRORS
from messaging import explanations, outbox
from messaging.models import Message, SendingPace
from tests.conftest import work

pytestmark = pytest.mark.django_db(transaction=True)

Status = Message.Status

DAY = 24 * 3600


class Kept(NamedTuple):
    """The message waits, the account is stopped with this reason, and tried again after `wait`."""

    problem: str
    reason: str
    wait: int = 0


class Again(NamedTuple):
    """It is sent again, not before `wait` seconds, and fails after so many `tries` (0: never)."""

    text: str
    wait: int = 0
    tries: int = 0


class Fails(NamedTuple):
    """It is never sent again, and the account is well."""

    text: str


class Unconfirmed(NamedTuple):
    """It may have been sent (4.5): at most once is worth more than another try."""


HELD, REVOKED = Account.Problem.HELD, Account.Problem.REVOKED
SLOWER = "slow down"
WINDOW = "The 24-hour window is closed"
UNKNOWN = "Instagram does not know this customer"
NOT_NOW = "not available on Instagram right now"
REFUSED = "Instagram refused: "
NOT_PERMITTED = "does not let this account do that at the moment"
TOKEN = "no longer accepts the access token"

TABLE = {
    **dict.fromkeys(("-1", "1", "1/99", "1/1357046", "2"), Unconfirmed()),
    "3": Kept(HELD, NOT_PERMITTED),
    "4": Again(SLOWER, wait=60),
    "5": Kept(HELD, NOT_PERMITTED),
    "9/2018352": Again(SLOWER, wait=30, tries=4),
    "10": Kept(HELD, NOT_PERMITTED),
    "10/2534022": Fails(WINDOW),
    "10/2018278": Fails(WINDOW),
    "10/2018065": Fails(WINDOW),
    "10/2534077": Kept(HELD, "link the account, or to switch on two-factor"),
    "10/2018108": Fails("This customer cannot receive messages right now"),
    "10/1893063": Kept(HELD, "restricted this business"),
    "10/1404170": Kept(HELD, NOT_PERMITTED),
    "17": Again(SLOWER, wait=60),
    "25/2207050": Kept(HELD, NOT_PERMITTED),
    "32": Again(SLOWER, wait=60),
    "100": Fails(REFUSED),
    "100/33": Kept(HELD, "must accept the tester invitation"),
    "100/2018001": Fails(UNKNOWN),
    "100/2018008": Again("could not fetch the file", tries=3),
    "100/2018014": Fails(REFUSED),
    "100/2018047": Fails("not what its type says"),
    "100/2018074": Fails("no longer has the file"),
    "100/2018109": Fails("the file is too large"),
    "100/2018294": Again("did not get the video", tries=2),
    "100/2018300": Fails("Another app is in charge"),
    "100/2022": Fails(REFUSED),
    "100/2018321": Fails(REFUSED),
    "100/2534013": Fails(UNKNOWN),
    "100/2534014": Fails(UNKNOWN),
    "100/2534015": Fails("Instagram refuses the text"),
    "100/2534025": Fails("This comment can no longer be answered"),
    "100/2534029": Fails("has blocked"),
    "100/2534037": Fails("Another app is in charge"),
    "102": Kept(REVOKED, TOKEN),
    "190": Kept(REVOKED, TOKEN),
    "190/458": Kept(REVOKED, "app was removed"),
    "190/459": Kept(REVOKED, "log in on Instagram first"),
    "190/460": Kept(REVOKED, "password was changed"),
    "190/463": Kept(REVOKED, "has expired"),
    "190/464": Kept(REVOKED, "not confirmed"),
    **dict.fromkeys(
        (f"190/{code}" for code in (461, 462, 465, 466, 467, 468, 492)), Kept(REVOKED, TOKEN)
    ),
    "200": Kept(HELD, "API access blocked"),
    "200/1545041": Fails(NOT_NOW),
    "200/2018028": Kept(HELD, "The Meta app is not live"),
    "200/2534041": Kept(HELD, "switched off access to messages"),
    "230": Fails("has not agreed"),
    "299": Kept(HELD, NOT_PERMITTED),
    "341": Again(SLOWER, wait=3600),
    "368": Kept(HELD, NOT_PERMITTED, wait=DAY),
    "450": Kept(REVOKED, TOKEN),
    "452": Kept(REVOKED, TOKEN),
    "506": Fails("sent already"),
    "551": Fails(NOT_NOW),
    "551/1545041": Fails(NOT_NOW),
    "613": Again(SLOWER, wait=2),
    "613/2018338": Again(SLOWER, wait=2),
    "613/2534040": Again(SLOWER, wait=2),
    "2500": Kept(REVOKED, TOKEN),
    "9010": Fails(UNKNOWN),
    "36103": Fails(REFUSED),
    "80002": Again(SLOWER, wait=60),
    "80007": Again(SLOWER, wait=60),
    "1609005": Fails("cannot process the link"),
    "9000001": Fails(REFUSED),
}


def of(kind):
    return [name for name, what in TABLE.items() if isinstance(what, kind)]


@pytest.fixture
def send(instagram, open_conversation):
    """Sends a text that Instagram answers with this error, `times` times; returns the message."""

    def send(error, times=None):
        fault = {"endpoint": "messages", "error": error}
        instagram.control("faults", **fault, **({"times": times} if times else {}))
        message = outbox.queue_reply(open_conversation, "Yes, it is")
        work()
        message.refresh_from_db()
        return message

    return send


def come_due(message, *, after=timedelta()):
    """Let what the message and its account wait for be over, as far as `after` reaches."""
    Message.objects.filter(pk=message.pk, due_at__isnull=False).update(due_at=timezone.now())
    Account.objects.filter(problem_at__isnull=False).update(problem_at=timezone.now() - after)
    now = timezone.now()
    SendingPace.objects.filter(paused_until__lte=now + after).update(paused_until=now)


def calls(instagram):
    requests = instagram.control("requests", method="GET")["requests"]
    return sum(one["method"] == "POST" and one["path"].endswith("/messages") for one in requests)


def page(client, user, message):
    client.force_login(user)
    return client.get(message.conversation.get_absolute_url()).content.decode()


def test_no_error_is_left_out():
    assert ERRORS.keys() == TABLE.keys()


def test_every_error_is_explained():
    for name, what in TABLE.items():
        if isinstance(what, Fails):
            means, todo = explanations.explain(what.text)
            assert means, name
            assert todo, name


@pytest.mark.parametrize("error", of(Fails))
def test_a_refusal_is_final_and_says_why(instagram, connected, send, client, user, error):
    message = send(error)
    assert message.status == Status.FAILED
    assert TABLE[error].text in message.error
    assert message.error_code == error
    assert (message.due_at, message.lease) == (None, None)
    connected.refresh_from_db()
    assert connected.status == Account.Status.CONNECTED
    come_due(message, after=timedelta(days=2))
    work()
    assert calls(instagram) == 1
    assert TABLE[error].text in page(client, user, message)


@pytest.mark.parametrize("error", of(Fails))
def test_after_a_refusal_the_next_message_goes_out(instagram, send, error):
    message = send(error, times=1)
    outbox.queue_reply(message.conversation, "another")
    work()
    assert instagram.sent_by_api() == ["another"]


@pytest.mark.parametrize("error", of(Kept))
def test_a_problem_of_the_account_stops_it_and_keeps_its_queue(
    instagram, connected, send, client, user, error
):
    message, expected = send(error), TABLE[error]
    outbox.queue_reply(message.conversation, "later")
    connected.refresh_from_db()
    assert connected.problem == expected.problem
    assert expected.reason in connected.problem_reason
    assert message.status == Status.QUEUED
    assert message.error.startswith("Waiting: ")
    assert expected.reason in message.error
    assert message.error_code == error
    come_due(message)
    work()
    assert calls(instagram) == 1
    html = page(client, user, message)
    assert "Waiting: " in html


@pytest.mark.parametrize("error", [name for name in of(Kept) if TABLE[name].problem == HELD])
def test_what_is_held_is_tried_again_in_time_and_goes_out_in_order(
    instagram, connected, send, error
):
    message, wait = send(error, times=1), timedelta(seconds=TABLE[error].wait)
    outbox.queue_reply(message.conversation, "later")
    if wait:
        come_due(message, after=wait - timedelta(hours=1))
        work()
        assert instagram.sent_by_api() == []
    come_due(message, after=max(wait, timedelta(minutes=16)))
    work()
    assert instagram.sent_by_api() == ["Yes, it is", "later"]
    connected.refresh_from_db()
    assert connected.status == Account.Status.CONNECTED


@pytest.mark.parametrize("error", [name for name in of(Kept) if TABLE[name].problem == REVOKED])
def test_a_dead_token_is_never_tried_again(instagram, send, error):
    message = send(error, times=1)
    come_due(message, after=timedelta(days=2))
    work()
    assert instagram.sent_by_api() == []


@pytest.mark.parametrize("error", of(Again))
def test_a_passing_error_waits_and_then_it_is_sent(instagram, connected, send, client, user, error):
    message, expected = send(error, times=1), TABLE[error]
    assert message.status == Status.QUEUED
    assert message.due_at > timezone.now() + timedelta(seconds=max(expected.wait - 5, 0))
    assert message.error.startswith("Trying again: ")
    assert expected.text in message.error
    assert message.error_code == error
    assert expected.text in page(client, user, message)
    connected.refresh_from_db()
    assert connected.status == Account.Status.CONNECTED
    work()
    assert calls(instagram) == 1
    come_due(message, after=timedelta(seconds=expected.wait))
    work()
    assert instagram.sent_by_api() == ["Yes, it is"]
    message.refresh_from_db()
    assert (message.status, message.error, message.error_code) == (Status.SENT, "", "")


@pytest.mark.parametrize("error", [name for name in of(Again) if TABLE[name].tries])
def test_it_fails_once_it_did_not_pass(instagram, send, error):
    message, expected = send(error), TABLE[error]
    for _ in range(expected.tries + 1):
        come_due(message, after=timedelta(hours=2))
        work()
    message.refresh_from_db()
    assert message.status == Status.FAILED
    assert expected.text in message.error
    assert calls(instagram) == expected.tries


@pytest.mark.parametrize("error", [name for name in of(Again) if not TABLE[name].tries])
def test_a_limit_is_waited_for_and_stops_the_account_meanwhile(instagram, send, error):
    message, wait = send(error), timedelta(seconds=TABLE[error].wait)
    paused_until = SendingPace.objects.get().paused_until
    assert abs(paused_until - timezone.now() - wait) < timedelta(seconds=10)
    for n in range(2, 9):
        come_due(message, after=wait + timedelta(minutes=1))
        work()
        assert calls(instagram) == n
    message.refresh_from_db()
    assert message.status == Status.QUEUED


@pytest.mark.parametrize("error", of(Unconfirmed))
def test_an_unclear_error_is_left_open_and_never_sent_again(
    instagram, connected, send, client, user, error
):
    message = send(error, times=1)
    assert message.status == Status.UNCONFIRMED
    connected.refresh_from_db()
    assert connected.status == Account.Status.CONNECTED
    Message.objects.filter(pk=message.pk).update(due_at=timezone.now())
    work()
    assert instagram.sent_by_api() == []
    html = page(client, user, message)
    assert "it may have arrived" in html
    assert "It did not arrive" in html
    assert "Look in the Instagram app" in html


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_without_a_code_is_left_open(instagram, open_conversation, status):
    instagram.control("faults", endpoint="messages", status=status, body="<html>", times=1)
    message = outbox.queue_reply(open_conversation, "Yes, it is")
    work()
    message.refresh_from_db()
    assert message.status == Status.UNCONFIRMED


def test_a_path_that_instagram_does_not_know_is_final_even_as_a_server_error(send):
    error = {"http": 500, "code": 2500, "message": "Unknown path components: /v25.0/me/messages"}
    message = send(error)
    assert message.status == Status.FAILED
    assert "Unknown path" in message.error


def test_an_account_without_a_role_reads_what_to_do(send, connected):
    send({"code": 100, "message": "Unsupported request - method type: post"})
    connected.refresh_from_db()
    assert connected.status == Account.Status.HELD
    assert "accept the tester invitation" in connected.problem_reason


def test_a_code_that_nobody_described_is_tried_a_few_times(instagram, send):
    message = send({"code": 987654, "message": "Something new"})
    for _ in range(6):
        come_due(message)
        work()
    message.refresh_from_db()
    assert message.status == Status.FAILED
    assert "Something new" in message.error
    assert calls(instagram) == 4


def test_an_outage_before_does_not_count_as_tries_of_another_error(
    instagram, send, open_conversation
):
    message = send("613", times=6)
    for _ in range(5):
        come_due(message, after=timedelta(minutes=1))
        work()
    instagram.control("faults", endpoint="messages", error="100/2018008", times=2)
    for _ in range(3):
        come_due(message, after=timedelta(minutes=1))
        work()
    assert instagram.sent_by_api() == ["Yes, it is"]


def test_the_usage_header_says_how_long_a_limit_lasts(instagram, send):
    usage = {"call_count": 100, "estimated_time_to_regain_access": 30}
    instagram.control("settings", account_usage=usage)
    send("80002", times=1)
    paused_until = SendingPace.objects.get().paused_until
    assert paused_until > timezone.now() + timedelta(minutes=29)
