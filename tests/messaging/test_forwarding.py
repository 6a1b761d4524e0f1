"""Deliveries to CRMs: signed, in order, at least once, and never more than two at a time."""

import base64
import hashlib
import hmac
import threading
import time
from datetime import timedelta
from itertools import pairwise
from unittest.mock import patch

import pytest
from django.core.mail.backends.locmem import EmailBackend
from django.db import OperationalError
from django.utils import timezone

from crypto.keyring import KeyRing
from messaging import (
    delivery_outcomes,
    endpoint_notices,
    endpoints,
    forwarding,
    outbound_http,
    posting,
)
from messaging.models import CrmEndpoint, Delivery, DeliveryAttempt

from ..waiting import eventually
from .forwards import another, endpoint_to, forward, pass_time, say, tell_read, waits

pytestmark = pytest.mark.django_db(transaction=True)

State = Delivery.State

AT_ONCE = forwarding.LANE_TURN
"""Seconds in which no post is given up, and no endpoint has to make room."""


@pytest.fixture
def released(receiver):
    """Until it is set, the receiver answers nothing."""
    event = threading.Event()
    receiver.think = lambda got: event.wait() and 200
    yield event
    event.set()


@pytest.fixture
def endpoint(account, receiver):
    return endpoint_to(account, receiver)


def test_what_a_customer_writes_reaches_the_crm(endpoint, receiver, conversation):
    message = say(conversation, "Is it still there? 🏺")
    forward()
    (got,) = receiver.got
    assert got.event["type"] == "message.received"
    assert got.event["data"]["text"] == "Is it still there? 🏺"
    assert got.event["data"]["message_id"] == message.public_id
    assert got.headers["Content-Type"] == "application/json"
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.due_at) == (State.DELIVERED, 1, None)
    assert delivery.public_id == got.id
    log = DeliveryAttempt.objects.get()
    assert (log.status, log.error, log.url) == (200, "", receiver.url)
    endpoint.refresh_from_db()
    assert endpoint.delivered_at
    assert endpoint.lease is None
    assert endpoint.leased_until <= timezone.now()


class TestSignatures:
    def test_both_are_over_the_exact_bytes_sent(self, endpoint, receiver, conversation):
        say(conversation, "Grüße")
        forward()
        (got,) = receiver.got
        assert got.body == bytes(Delivery.objects.get().body)
        signed = f"{got.id}.{got.headers['webhook-timestamp']}.".encode() + got.body
        key = base64.b64decode(endpoint.plain.removeprefix("whsec_"))
        assert len(key) == 32
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert got.headers["webhook-signature"] == f"v1,{mac}"
        assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 5
        hub = hmac.new(endpoint.plain.encode(), got.body, hashlib.sha256).hexdigest()
        assert got.headers["X-Hub-Signature-256"] == f"sha256={hub}"

    def test_the_official_package_verifies_them(self, endpoint, receiver, conversation):
        from standardwebhooks import Webhook

        say(conversation)
        forward()
        (got,) = receiver.got
        assert Webhook(endpoint.plain).verify(got.body, got.headers)["type"] == "message.received"

    def test_while_rotating_both_secrets_sign(self, endpoint, receiver, conversation):
        from standardwebhooks import Webhook, WebhookVerificationError

        new = endpoints.rotate(endpoint)
        say(conversation)
        forward()
        (got,) = receiver.got
        assert got.headers["webhook-signature"].count("v1,") == 2
        for secret in (endpoint.plain, new):
            Webhook(secret).verify(got.body, got.headers)
        hub = hmac.new(new.encode(), got.body, hashlib.sha256).hexdigest()
        assert got.headers["X-Hub-Signature-256"] == f"sha256={hub}"
        endpoints.end_overlap(endpoint)
        say(conversation)
        forward()
        with pytest.raises(WebhookVerificationError):
            Webhook(endpoint.plain).verify(receiver.got[1].body, receiver.got[1].headers)

    def test_the_overlap_ends_by_itself(self, endpoint, receiver, conversation):
        endpoints.rotate(endpoint)
        past = timezone.now() - timedelta(seconds=1)
        CrmEndpoint.objects.update(previous_until=past)
        say(conversation)
        forward()
        assert receiver.got[0].headers["webhook-signature"].count("v1,") == 1
        endpoints.end_overlaps()
        endpoint.refresh_from_db()
        assert endpoint.previous_secret is None

    def test_a_secret_that_no_key_opens_lets_everything_wait(
        self, endpoint, receiver, conversation, settings, caplog
    ):
        right = settings.KEYRING
        say(conversation)
        settings.KEYRING = KeyRing("Another-secret-that-opens-nothing-of-this-47")
        forward()
        assert receiver.got == []
        endpoint.refresh_from_db()
        assert endpoint.state == "waiting"
        assert "cannot be opened" in endpoint.problem
        assert f"Failed to decrypt the secret of endpoint {endpoint.public_id}" in caplog.text
        settings.KEYRING = right
        pass_time()
        forward()
        assert receiver.texts == ["Hello"]
        endpoint.refresh_from_db()
        assert endpoint.problem == ""

    def test_without_a_secret_nothing_goes_out_until_there_is_a_new_one(
        self, endpoint, receiver, conversation
    ):
        CrmEndpoint.objects.update(secret=None)
        say(conversation)
        forward()
        assert receiver.got == []
        endpoints.rotate(endpoint)
        forward()
        assert receiver.texts == ["Hello"]


class TestOrder:
    def test_one_conversation_stays_in_order(self, endpoint, receiver, conversation):
        for n in range(30):
            say(conversation, f"{n}")
        forward()
        assert receiver.texts == [str(n) for n in range(30)]

    def test_a_failing_one_holds_its_conversation_and_no_other(
        self, endpoint, receiver, conversation
    ):
        elsewhere = another(conversation, "200")
        receiver.think = lambda got: 500 if got.text == "first" else None
        say(conversation, "first")
        say(conversation, "second")
        say(elsewhere, "other")
        for _ in range(2):
            forward()
            pass_time()
        assert sorted(receiver.texts) == ["first", "first", "other"]

    def test_after_three_attempts_the_order_is_given_up_and_marked(
        self, endpoint, receiver, conversation
    ):
        receiver.think = lambda got: 500 if got.text == "first" and len(receiver.got) < 4 else None
        say(conversation, "first")
        say(conversation, "second")
        say(conversation, "third")
        for _ in range(3):
            forward()
            pass_time()
        assert receiver.texts == ["first"] * 3 + ["second", "third"]
        first = Delivery.objects.order_by("pk").first()
        assert (first.attempts, first.is_out_of_order) == (3, True)
        forward()
        assert receiver.texts[-1] == "first"
        marks = [posting.OUT_OF_ORDER in got.headers for got in receiver.got]
        assert marks == [False] * 5 + [True]

    def test_one_that_comes_due_after_what_follows_it_goes_first_all_the_same(
        self, endpoint, receiver, conversation
    ):
        receiver.answers = [500]
        say(conversation, "first")
        forward()
        say(conversation, "second")
        now = timezone.now()
        Delivery.objects.filter(message__text="first").update(due_at=now + timedelta(seconds=0.2))
        time.sleep(0.3)
        forward()
        assert receiver.texts == ["first", "first", "second"]

    def test_what_is_about_the_account_keeps_its_order_too(self, endpoint, receiver):
        receiver.answers = [500]
        for n in range(2):
            Delivery.objects.create(endpoint=endpoint, type="account.status", body=b"%d" % n)
        forward()
        assert [got.body for got in receiver.got] == [b"0"]
        pass_time()
        forward()
        assert [got.body for got in receiver.got] == [b"0", b"0", b"1"]

    def test_a_retry_has_the_same_id_and_the_same_bytes(self, endpoint, receiver, conversation):
        receiver.answers = [500]
        message = say(conversation, "first")
        forward()
        message.text = "changed"
        message.save()
        pass_time()
        forward()
        one, two = receiver.got
        assert (one.id, one.body) == (two.id, two.body)
        assert Delivery.objects.get().attempts == 2

    def test_at_most_two_are_under_way(self, endpoint, receiver, conversation):
        receiver.delay = 0.05
        for n in range(12):
            say(another(conversation, str(n)))
        workers = [threading.Thread(target=_work_alone) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(receiver.got) == 12
        assert receiver.most_under_way == 2

    def test_what_a_worker_has_leased_no_other_touches(self, endpoint, receiver, conversation):
        say(conversation)
        assert CrmEndpoint.objects.claim(5) == [endpoint]
        assert CrmEndpoint.objects.claim(5) == []
        forward()
        assert receiver.got == []
        CrmEndpoint.objects.update(leased_until=timezone.now())  # That worker died.
        forward()
        assert receiver.texts == ["Hello"]


def _work_alone():
    """As another process would: the lock of the queue is not shared with it."""
    from django.db import connection

    try:
        with forwarding.Calls(4) as calls:
            office = forwarding._Office(calls)
            while office.work():
                pass
    finally:
        connection.close()


class TestRetries:
    def test_they_come_at_the_times_that_the_convention_names(
        self, endpoint, receiver, conversation
    ):
        receiver.think = lambda got: 500
        say(conversation)
        delivery = Delivery.objects.get()
        seen = []
        for _ in range(9):
            forward()
            seen.append(waits(delivery))
            pass_time()
        wanted = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
        for waited, expected in zip(seen, wanted, strict=True):
            assert 0.89 * expected - 2 < waited < 1.1 * expected + 1
        forward()
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempts, delivery.due_at) == (State.FAILED, 10, None)
        pass_time()
        forward()
        assert len(receiver.got) == 10

    def test_the_first_retry_is_not_left_to_the_sweep(self, endpoint, receiver, conversation):
        receiver.answers = [500]
        say(conversation)
        with patch.object(forwarding.forward.task, "schedule") as schedule:
            forward()
        assert schedule.call_args.kwargs["eta"] == Delivery.objects.get().due_at

    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    def test_any_2xx_is_success(self, endpoint, receiver, conversation, status):
        receiver.answers = [status]
        say(conversation)
        forward()
        assert Delivery.objects.get().state == State.DELIVERED

    def test_a_redirect_is_a_failure_that_explains_itself(
        self, endpoint, receiver, other_receiver, conversation
    ):
        receiver.answers = [(307, {"Location": other_receiver.url}, b"")]
        say(conversation)
        forward()
        assert other_receiver.got == []
        assert "redirects" in DeliveryAttempt.objects.get().error
        assert Delivery.objects.get().state == State.WAITING

    def test_retry_after_is_honoured_for_the_whole_endpoint(self, endpoint, receiver, conversation):
        receiver.answers = [(429, {"Retry-After": "120"}, b"")]
        say(conversation)
        forward()
        assert 110 < waits(Delivery.objects.get()) < 121
        say(another(conversation, "200"), "later")
        forward()
        assert len(receiver.got) == 1

    def test_who_asks_for_a_rest_gets_it_at_once(self, endpoint, receiver, conversation):
        receiver.answers = [(503, {"Retry-After": "60"}, b"")] * 2
        for n in range(40):
            say(another(conversation, str(n)))
        forward()
        assert len(receiver.got) <= 2
        assert Delivery.objects.waiting().count() == 40

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_who_is_overloaded_gets_a_rest_without_asking_for_it(
        self, endpoint, receiver, conversation, status
    ):
        receiver.think = lambda got: status
        for n in range(60):
            say(another(conversation, str(n)))
        forward()
        assert len(receiver.got) <= 2
        rested = [_rest(endpoint)]
        for _ in range(3):
            pass_time()
            forward()
            rested.append(_rest(endpoint))
        assert 4 < rested[0] < 21
        assert all(after > 1.5 * before for before, after in pairwise(rested))
        assert len(receiver.got) <= 8
        CrmEndpoint.objects.update(failures=10_000)
        pass_time()
        forward()
        assert 3590 < _rest(endpoint) <= 3600

    def test_who_takes_the_next_one_again_is_rested_from_anew(
        self, endpoint, receiver, conversation
    ):
        CrmEndpoint.objects.update(failures=8, failing_since=timezone.now())
        say(conversation)
        forward()
        receiver.answers = [503]
        say(conversation)
        forward()
        assert 4 < _rest(endpoint) < 6

    def test_retry_after_may_be_a_date_and_has_bounds(self):
        assert posting._rest_wanted("Thu, 01 Jan 2099 00:00:00 GMT") == timedelta(hours=1)
        assert posting._rest_wanted("99999999999999") == timedelta(hours=1)
        for nothing in (
            "", "soon", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", "0",
            "Wed, 01 Jan 99999999999999999999 00:00:00 GMT",
            "Thu, 01 Jan 2099 00:00:00 +99999999999999",
        ):  # fmt: skip
            assert posting._rest_wanted(nothing) is None

    def test_whatever_one_receiver_answers_the_others_are_posted_to_once(
        self, account, endpoint, receiver, other_receiver, conversation
    ):
        endpoint_to(account, other_receiver)
        evil = {"Retry-After": "Wed, 01 Jan 99999999999999999999 00:00:00 GMT"}
        receiver.answers = [(500, evil, b"")] * 20
        for n in range(3):
            say(another(conversation, str(n)))
        forward()
        assert len(other_receiver.got) == 3
        assert endpoint.deliveries.filter(attempts=1).count() == 3

    def test_receivers_that_think_long_do_not_keep_others_waiting_for_ever(
        self, account, receiver, other_receiver, conversation, monkeypatch
    ):
        monkeypatch.setattr(forwarding, "LANES", 1)
        monkeypatch.setattr(forwarding, "LANE_TURN", 0.3)
        monkeypatch.setattr(forwarding, "LOOK_AGAIN", 0.1)
        slow = endpoint_to(account, receiver)
        receiver.delay = 0.2
        for n in range(12):
            say(another(conversation, str(n)))
        quick = endpoint_to(account, other_receiver)
        say(another(conversation, "last"))
        forward()
        posted = other_receiver.got[0].headers["webhook-timestamp"]
        assert quick.deliveries.get().state == State.DELIVERED
        assert slow.deliveries.filter(state=State.DELIVERED).count() == 13
        assert posted <= receiver.got[-1].headers["webhook-timestamp"]
        behind = slow.deliveries.filter(settled_at__gt=quick.deliveries.get().settled_at)
        assert behind.exists()

    def test_nobody_listening_is_a_failure(self, endpoint, receiver, conversation):
        receiver.close()
        say(conversation)
        forward()
        assert "No connection" in DeliveryAttempt.objects.get().error

    @pytest.mark.parametrize("part", ["head", "body"])
    def test_an_answer_that_drips_in_is_not_waited_for(
        self, account, conversation, monkeypatch, part
    ):
        monkeypatch.setattr(outbound_http, "TIMEOUT", 0.6)
        with _Dripper(part) as url:
            endpoints.add(account, url)
            say(conversation)
            start = time.monotonic()
            forward()
            assert time.monotonic() - start < 3
        assert "No answer within" in DeliveryAttempt.objects.get().error

    def test_of_a_long_answer_only_the_beginning_is_kept(self, endpoint, receiver, conversation):
        receiver.answers = [(200, {}, b"x" * 5_000_000)]
        say(conversation)
        forward()
        assert DeliveryAttempt.objects.get().answer == "x" * 500
        assert Delivery.objects.get().state == State.DELIVERED

    def test_the_connection_is_kept(self, endpoint, receiver, conversation):
        for n in range(20):
            say(conversation, str(n))
        forward()
        assert receiver.connections == 1


def _rest(endpoint):
    """Seconds for which it is left alone."""
    endpoint.refresh_from_db()
    return (endpoint.paused_until - timezone.now()) / timedelta(seconds=1)


class _Dripper:
    """Answers one byte every tenth of a second, in the head or in the body."""

    def __init__(self, part):
        import socket

        self.part, self.socket = part, socket.create_server(("127.0.0.1", 0))
        self.is_over = threading.Event()

    def __enter__(self):
        threading.Thread(target=self.run, daemon=True).start()
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/"

    def run(self):
        connection, _ = self.socket.accept()
        with connection:
            connection.recv(65536)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n"
            connection.sendall(head + (b"\r\n" if self.part == "body" else b"X-Long: "))
            while not self.is_over.wait(0.1):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    def __exit__(self, *exc):
        self.is_over.set()
        self.socket.close()


class TestSwitchingOff:
    @pytest.fixture(autouse=True)
    def mail(self, settings, user):
        settings.EMAIL_IS_CONFIGURED = True
        user.email = "mara@shop.example"
        user.save()

    def test_410_switches_the_endpoint_off_and_its_owners_hear_of_it(
        self, endpoint, receiver, conversation, mailoutbox
    ):
        receiver.answers = [410]
        say(conversation)
        forward()
        endpoint.refresh_from_db()
        assert not endpoint.is_enabled
        assert "410" in endpoint.problem
        endpoint_notices.tell_owners.run()
        endpoint_notices.tell_owners.run()
        (mail,) = mailoutbox
        assert mail.to == ["mara@shop.example"]
        assert "410" in mail.body
        assert receiver.url not in mail.body  # An address may hold a key.
        assert endpoint.get_absolute_url() in mail.body
        say(conversation, "unheard")
        forward()
        assert len(receiver.got) == 1
        assert Delivery.objects.count() == 1

    def test_while_the_mail_server_is_away_the_owners_are_told_later(
        self, endpoint, receiver, conversation, mailoutbox, monkeypatch
    ):
        def refuse(self):
            raise ConnectionRefusedError("Connection refused")

        receiver.answers = [410]
        say(conversation)
        forward()
        with monkeypatch.context() as patch:
            patch.setattr(EmailBackend, "open", refuse)
            endpoint_notices.tell_owners.run()
        assert mailoutbox == []
        endpoint_notices.tell_owners.run()
        endpoint_notices.tell_owners.run()
        assert len(mailoutbox) == 1

    def test_so_do_five_days_in_which_nothing_succeeded(self, endpoint, receiver, conversation):
        receiver.think = lambda got: 500
        say(conversation)
        for _ in range(5):
            forward()
            pass_time()
        endpoint.refresh_from_db()
        assert endpoint.is_enabled
        assert endpoint.failures == 5
        _let_days_pass(endpoint, 5)
        forward()
        endpoint.refresh_from_db()
        assert not endpoint.is_enabled
        assert "5 days" in endpoint.problem

    def test_a_success_in_between_begins_the_count_anew(self, endpoint, receiver, conversation):
        receiver.answers = [500, 500, 200]
        say(conversation)
        for _ in range(3):
            forward()
            _let_days_pass(endpoint, 3)
            pass_time()
        endpoint.refresh_from_db()
        assert (endpoint.failures, endpoint.failing_since) == (0, None)

    def test_few_failures_long_ago_are_not_enough(self, endpoint, receiver, conversation):
        receiver.answers = [500, 500]
        say(conversation)
        forward()
        _let_days_pass(endpoint, 6)
        pass_time()
        forward()
        endpoint.refresh_from_db()
        assert endpoint.is_enabled

    def test_switched_on_again_what_waited_goes_out(self, endpoint, receiver, conversation):
        receiver.answers = [410]
        say(conversation)
        forward()
        endpoint.refresh_from_db()
        endpoints.enable(endpoint)
        forward()
        assert receiver.texts == ["Hello", "Hello"]
        endpoint.refresh_from_db()
        assert endpoint.state == "on"

    def test_all_that_waited_is_asked_for_however_much_it_is(
        self, endpoint, receiver, conversation, monkeypatch
    ):
        monkeypatch.setattr(endpoints, "AT_ONCE", 2)
        for n in range(5):
            say(conversation, text=f"{n}")
        Delivery.objects.update(due_at=timezone.now() + timedelta(hours=1))
        endpoints.disable(endpoint)
        endpoints.enable(endpoint)
        forward()
        assert receiver.texts == ["0", "1", "2", "3", "4"]


def _let_days_pass(endpoint, days):
    since = CrmEndpoint.objects.get(pk=endpoint.pk).failing_since
    if since:
        CrmEndpoint.objects.update(failing_since=since - timedelta(days=days))


class TestCrashes:
    def test_a_crash_between_post_and_record_posts_it_once_more(
        self, endpoint, receiver, conversation
    ):
        say(conversation)
        with (
            forwarding.Calls(2) as calls,
            patch.object(forwarding, "_office", forwarding._Office(calls)),  # It dies as well.
            patch.object(forwarding, "settle", side_effect=SystemExit),
            pytest.raises(SystemExit),
        ):
            forward()
        assert Delivery.objects.get().state == State.WAITING
        CrmEndpoint.objects.update(lease=None, leased_until=None)
        forward()
        one, two = receiver.got
        assert (one.id, one.body) == (two.id, two.body)
        assert Delivery.objects.get().state == State.DELIVERED

    def test_a_busy_database_is_asked_again_and_nothing_is_posted_twice(
        self, endpoint, receiver, conversation
    ):
        real, failures = forwarding.settle, [OperationalError("database is locked")] * 2

        def settle(outcomes):
            if failures:
                raise failures.pop()
            real(outcomes)

        say(conversation, "one")
        say(conversation, "two")
        with patch.object(forwarding, "settle", settle):
            forward()
        assert receiver.texts == ["one", "two"]
        assert set(Delivery.objects.values_list("state", flat=True)) == {State.DELIVERED}

    def test_the_next_post_waits_for_no_commit(self, endpoint, receiver, conversation):
        real, posted = forwarding.settle, []

        def settle(outcomes):
            time.sleep(0.3)
            posted.append(len(receiver.got))
            real(outcomes)

        for n in range(10):
            say(conversation, f"{n}")
        with patch.object(forwarding, "settle", settle):
            forward()
        assert posted[0] == 10
        assert receiver.texts == [str(n) for n in range(10)]

    @pytest.mark.parametrize("part", ["_look", "_let_go"])
    def test_an_error_elsewhere_loses_no_outcome(
        self, endpoint, receiver, conversation, monkeypatch, part
    ):
        real = getattr(forwarding._Office, part)

        def fail_once(*args):
            if receiver.got:
                monkeypatch.setattr(forwarding._Office, part, real)
                raise OperationalError("database is locked")
            real(*args)

        receiver.delay = 0.1
        say(conversation)
        monkeypatch.setattr(forwarding._Office, part, fail_once)
        forward()
        assert Delivery.objects.get().state == State.DELIVERED
        endpoint.refresh_from_db()
        assert endpoint.lease is None
        forward()
        assert receiver.texts == ["Hello"]

    def test_a_fault_of_ours_is_not_kept_for_ever(
        self, endpoint, receiver, conversation, monkeypatch
    ):
        say(conversation)
        with patch.object(forwarding, "settle", side_effect=TypeError):
            forward()
        CrmEndpoint.objects.update(lease=None, leased_until=None)
        forward()
        assert Delivery.objects.get().state == State.DELIVERED


class TestTurns:
    @pytest.fixture(autouse=True)
    def short(self, monkeypatch):
        monkeypatch.setattr(forwarding, "TURN", 0.3)

    def test_it_ends_though_work_keeps_coming(self, endpoint, receiver, conversation):
        receiver.delay = 0.05
        for n in range(60):
            say(conversation, f"{n}")
        start = time.monotonic()
        assert forwarding._office.work() == 1
        assert time.monotonic() - start < 0.8
        assert 0 < len(receiver.got) < 30
        while forwarding._office.work():
            pass
        assert receiver.texts == [str(n) for n in range(60)]

    def test_a_post_may_outlast_it_and_keeps_nobody_waiting(
        self, account, endpoint, receiver, other_receiver, conversation, released
    ):
        say(conversation)
        assert forwarding._office.work() == 1
        slow = CrmEndpoint.objects.get()
        assert slow.lease
        quick = endpoint_to(account, other_receiver)
        say(another(conversation, "200"))
        delivered = quick.deliveries.filter(state=State.DELIVERED)
        eventually(lambda: forwarding._office.work() and delivered.exists(), AT_ONCE)
        assert not DeliveryAttempt.objects.filter(delivery__endpoint=slow).exists()
        released.set()
        while forwarding._office.work():
            pass
        assert len(receiver.got) == 2
        assert not Delivery.objects.waiting().exists()

    def test_a_worker_that_stops_writes_down_what_is_under_way(
        self, endpoint, receiver, conversation
    ):
        receiver.delay = 0.6
        for n in range(5):
            say(another(conversation, str(n)))
        forwarding._office.work()
        forwarding._settle_all()
        assert len(receiver.got) == 2
        assert Delivery.objects.filter(state=State.DELIVERED).count() == 2
        endpoint.refresh_from_db()
        assert endpoint.lease is None
        forward()
        assert len(receiver.got) == 5


def test_a_dead_endpoint_does_not_keep_the_others_waiting(
    account, receiver, other_receiver, conversation, released
):
    endpoint_to(account, receiver)
    endpoint_to(account, other_receiver)
    for n in range(40):
        say(another(conversation, str(n)))
    worker = threading.Thread(target=_work_alone)
    worker.start()
    eventually(lambda: len(other_receiver.got) == 40, AT_ONCE)
    assert receiver.under_way == len(receiver.got) == 2
    released.set()
    worker.join()
    assert len(receiver.got) == 40


def test_a_corrected_address_gets_what_waited_at_once(
    endpoint, receiver, other_receiver, conversation
):
    receiver.think = lambda got: 404
    say(conversation)
    forward()
    endpoints.change(endpoint, url=other_receiver.url, events=[])
    forward()
    assert other_receiver.texts == ["Hello"]


@pytest.mark.parametrize("status", [410, 503])
def test_what_the_address_before_answered_does_not_count_for_a_new_one(
    endpoint, receiver, other_receiver, conversation, status
):
    say(conversation)
    delivery = Delivery.objects.select_related("endpoint").get()
    log = DeliveryAttempt(
        delivery=delivery, url=receiver.url, started_at=timezone.now(), duration=timedelta(),
        status=status, error=f"HTTP {status}",
    )  # fmt: skip
    endpoints.change(endpoint, url=other_receiver.url, events=[])  # While it was under way.
    delivery_outcomes.settle([posting.Outcome(delivery, log, timedelta(minutes=1))])
    endpoint.refresh_from_db()
    assert endpoint.is_enabled
    assert (endpoint.failures, endpoint.failing_since, endpoint.paused_until) == (0, None, None)
    assert DeliveryAttempt.objects.get().url == receiver.url


def test_a_filter_keeps_the_rest_away(account, receiver, conversation):
    endpoint_to(account, receiver, ["message.read"])
    say(conversation)
    tell_read(conversation)
    forward()
    assert receiver.types == ["message.read"]


def test_replayed_it_has_the_same_id_and_says_that_it_is_late(endpoint, receiver, conversation):
    say(conversation, "one")
    say(conversation, "two")
    forward()
    assert endpoints.replay(endpoint.deliveries.filter(message__text="one")) == 1
    forward()
    one, _, again = receiver.got
    assert (again.id, again.body) == (one.id, one.body)
    assert posting.OUT_OF_ORDER in again.headers
    assert DeliveryAttempt.objects.count() == 3


def test_what_waited_for_a_replayed_one_goes_out_at_once(endpoint, receiver, conversation):
    receiver.think = lambda got: 500
    for text in ("one", "two", "three"):
        say(conversation, text)
    forward()
    CrmEndpoint.objects.update(paused_until=None)
    receiver.think = lambda got: 200
    before = len(receiver.got)
    endpoints.replay(endpoint.deliveries.filter(message__text="one"))
    forward()
    texts = [got.event["data"]["text"] for got in receiver.got[before:]]
    assert sorted(texts) == ["one", "three", "two"]
    assert texts.index("two") < texts.index("three")


def test_what_another_one_holds_stays_behind_it(endpoint, receiver, conversation):
    receiver.think = lambda got: 500
    for text in ("one", "two", "three"):
        say(conversation, text)
    forward()
    later = timezone.now() + timedelta(minutes=5)
    Delivery.objects.filter(message__text="two").update(attempts=1, due_at=later)
    CrmEndpoint.objects.update(paused_until=None)
    receiver.think = lambda got: 200
    before = len(receiver.got)
    endpoints.replay(endpoint.deliveries.filter(message__text="one"))
    forward()
    assert [got.event["data"]["text"] for got in receiver.got[before:]] == ["one"]


def test_old_deliveries_go_and_those_that_wait_stay(endpoint, receiver, conversation):
    say(conversation, "old")
    forward()
    receiver.think = lambda got: 500
    say(conversation, "waits")
    forward()
    long_ago = timezone.now() - timedelta(days=31)
    Delivery.objects.update(created_at=long_ago)
    say(conversation, "new")
    assert forwarding.prune() == 1
    assert Delivery.objects.count() == 2
    endpoints.disable(endpoint)
    assert forwarding.prune() == 1


def test_a_deleted_endpoint_takes_its_log_along(endpoint, receiver, conversation):
    say(conversation)
    forward()
    endpoints.delete(endpoint)
    assert not CrmEndpoint.objects.for_user(endpoint.account.users.get()).exists()
    forwarding.clear.run()
    assert not CrmEndpoint.objects.exists()
    assert not DeliveryAttempt.objects.exists()
