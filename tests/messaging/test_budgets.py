"""How many messages may leave, whose, and in which order."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.instagram_errors import NotSent
from accounts.instagram_usage import Usage
from accounts.models import Account
from messaging import budgets, outbox, outcomes, sending
from messaging.models import Attachment, Conversation, Message, SendingPace
from tests.conftest import work
from tests.waiting import A_WHILE

pytestmark = pytest.mark.django_db(transaction=True)

Status = Message.Status


def shop(name):
    return Account.objects.create(
        instagram_account_id=f"1784{name}", username=name, access_token="IGAATestToken",
        token_expires_at=timezone.now() + timedelta(days=60),
    )  # fmt: skip


def fill(account, conversations, each=1, kind=""):
    """`each` messages for every one of so many conversations, as if they had been written."""
    now, first = timezone.now(), account.conversations.count()
    threads = Conversation.objects.bulk_create(
        Conversation(account=account, igsid=f"{first + n}", last_inbound_at=now)
        for n in range(conversations)
    )
    rows = Message.objects.bulk_create(
        Message(account=account, conversation=thread, direction="out", status=Status.QUEUED,
                text=str(n), timestamp=now, is_from_here=True)
        for n in range(each) for thread in threads
    )  # fmt: skip
    if kind:
        Attachment.objects.bulk_create(
            Attachment(message=row, position=0, kind=kind) for row in rows
        )
    return rows


class Clock:
    """Time passes only when it is told to."""

    def __init__(self):
        # Rows are due by the true clock.
        self.now = timezone.now() + timedelta(minutes=1)

    def passes(self, seconds):
        self.now += timedelta(seconds=seconds)

    def take(self, seconds, places=1000):
        """What a worker takes that looks all the time, for so long, while no call ends."""
        end, taken = self.now + timedelta(seconds=seconds), []
        while self.now < end:
            busy = Counter(message.account_id for message in taken)
            taken += budgets.claim(places - busy.total(), busy)
            self.passes(0.02)
        self.now = end
        return [message for message in taken if message.called_at < end]


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timezone, "now", lambda: clock.now)
    return clock


def assert_within_a_second(moments, most=97):
    """Whichever second is looked at."""
    moments = sorted(moments)
    for first, last in zip(moments, moments[most:], strict=False):
        assert last - first >= timedelta(seconds=1)


@pytest.fixture
def luna(db):
    return shop("luna")


class TestLimitsOfAnAccount:
    def test_97_a_second(self, luna, clock):
        fill(luna, 150)
        assert len(clock.take(1)) == 97
        clock.take(1)
        moments = Message.objects.values_list("called_at", flat=True)
        assert None not in moments
        assert_within_a_second(moments)

    def test_they_leave_evenly(self, luna, clock):
        fill(luna, 50)
        moments = [message.called_at for message in clock.take(0.5)]
        assert len(moments) == 49
        for first, second in pairwise(moments):
            assert second - first == timedelta(microseconds=10_310)

    def test_none_is_taken_long_before_its_moment(self, luna, clock):
        fill(luna, 150)
        taken = budgets.claim(1000)
        assert taken[0].called_at == clock.now
        assert taken[-1].called_at <= clock.now + budgets.AHEAD
        assert budgets.claim(1000) == []

    def test_a_look_that_comes_a_little_late_makes_up_for_it(self, luna, clock):
        fill(luna, 150)
        for _ in range(5):
            budgets.claim(1000)
            clock.passes(budgets.AHEAD.total_seconds() + 0.02)
        moments = Message.objects.filter(called_at__isnull=False).values_list(
            "called_at", flat=True
        )
        assert len(moments) == 1 + int((4 * 0.17 + 0.15) * 97)
        assert_within_a_second(moments, most=99)

    def test_a_long_pause_is_not_made_up_for(self, luna, clock):
        fill(luna, 300)
        clock.take(1)
        clock.passes(10)
        assert len(clock.take(1)) <= 99

    @pytest.mark.parametrize("kind", ["audio", "video"])
    def test_9_of_them_sound_or_video(self, luna, clock, kind):
        fill(luna, 20, kind=kind)
        assert len(clock.take(1)) == 9
        assert len(clock.take(1)) == 9
        called = Message.objects.filter(called_at__isnull=False)
        assert_within_a_second(called.values_list("called_at", flat=True), most=9)

    def test_pictures_count_as_any(self, luna, clock):
        fill(luna, 20, kind="image")
        assert len(clock.take(0.3)) == 20

    def test_heavy_ones_that_have_to_wait_hold_up_no_other(self, luna, clock):
        fill(luna, 20, kind="video")
        fill(luna, 100)
        assert len(clock.take(1)) == 97

    def test_other_calls_count_as_well(self, luna, clock):
        fill(luna, 150)
        booked = [budgets.book(luna) for _ in range(20)]
        taken = clock.take(1)
        assert len(taken) == 77
        assert_within_a_second(booked + [message.called_at for message in taken])

    def test_other_calls_wait_little_though_messages_wait(self, luna, clock):
        fill(luna, 150)
        clock.take(0.5)
        assert budgets.book(luna) <= clock.now + timedelta(seconds=0.2)

    def test_a_clock_that_was_put_back_stops_nothing(self, luna):
        SendingPace.objects.create(account=luna, next_at=timezone.now() + timedelta(hours=1))
        fill(luna, 3)
        assert len(budgets.claim(10)) == 3

    @pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer")
    def test_two_workers_keep_it_together(self, luna):
        fill(luna, 250)
        taken, begin = [], threading.Barrier(2)

        def worker():
            begin.wait()
            try:
                end = time.monotonic() + A_WHILE
                while len(taken) < 150:
                    assert time.monotonic() < end
                    taken.extend(budgets.claim(16))
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(worker), threads.submit(worker)]:
                done.result()
        assert max(Counter(message.pk for message in taken).values()) == 1
        called = Message.objects.filter(called_at__isnull=False)
        assert called.count() == len(taken)
        assert_within_a_second(called.values_list("called_at", flat=True))


def test_a_process_that_stood_still_makes_up_for_it_within_the_limit(luna):
    left, long_ago = [], timezone.now() - timedelta(seconds=5)

    def call():
        left.append(time.monotonic())

    with ThreadPoolExecutor(20) as threads:
        count = budgets.A_SECOND + 20
        for done in [threads.submit(budgets.make_at, long_ago, luna, call) for _ in range(count)]:
            done.result()
    left.sort()
    assert left[budgets.A_SECOND - 1] - left[0] < 0.9
    # The call is made just after it may leave.
    assert left[-1] - left[0] > 0.95


class TestOrder:
    def test_a_conversation_has_one_message_under_way(self, luna):
        fill(luna, 1, each=3)
        (first,) = budgets.claim(10)
        assert budgets.claim(10) == []
        with transaction.atomic():
            outcomes.sent([(first, "mid-0")])
        (second,) = budgets.claim(10)
        assert (first.text, second.text) == ("0", "1")

    @pytest.mark.parametrize("state", [Status.FAILED, Status.UNCONFIRMED])
    def test_one_that_ended_otherwise_does_not_hold_the_next(self, luna, state):
        fill(luna, 1, each=2)
        (first,) = budgets.claim(10)
        {Status.FAILED: lambda m: outcomes.failed(m, "No."),
         Status.UNCONFIRMED: outcomes.unconfirmed}[state](first)  # fmt: skip
        assert [message.text for message in budgets.claim(10)] == ["1"]

    def test_one_that_is_put_off_holds_the_next(self, luna):
        fill(luna, 1, each=2)
        (first,) = budgets.claim(10)
        outcomes.requeue(first, timedelta(minutes=5), "Trying again.")
        assert budgets.claim(10) == []

    def test_the_oldest_go_first(self, luna, clock):
        rows = fill(luna, 120)
        chosen = {message.pk for message in clock.take(0.3)}
        assert chosen == {row.pk for row in rows[:30]}


class TestFairness:
    def test_a_full_account_leaves_room_for_the_others(self, luna):
        fill(luna, 500)
        others = [shop(f"small{n}") for n in range(3)]
        for other in others:
            fill(other, 2)
        taken = Counter(message.account_id for message in budgets.claim(8))
        assert all(taken[one.pk] == 2 for one in [luna, *others])

    def test_one_account_leaves_places_for_others_to_come(self, luna, clock):
        fill(luna, 90)
        assert len(clock.take(1, places=32)) == 24
        assert budgets.claim(8, Counter({luna.pk: 24})) == []

    def test_slow_calls_of_one_account_take_no_more_than_its_share(self, luna, clock):
        slow = shop("slow")
        fill(luna, 90), fill(slow, 90)
        busy, taken = Counter({slow.pk: 20}), []
        for _ in range(10):
            taken += budgets.claim(32 - busy.total(), busy)
            busy = Counter({slow.pk: 20, luna.pk: len(taken)})
            clock.passes(0.04)
        assert {message.account_id for message in taken} == {luna.pk}
        assert len(taken) == 12

    def test_with_more_accounts_than_places_each_has_its_turn(self, clock):
        shops = [shop(f"shop{n}") for n in range(12)]
        for one in shops:
            fill(one, 30)
        taken = Counter()
        for _ in range(40):
            clock.passes(1)
            taken.update(message.account_id for message in budgets.claim(4))
        assert len(taken) == 12
        assert taken.total() == 160


class TestPausedAccounts:
    def test_nothing_is_taken_until_the_pause_is_over(self, luna):
        fill(luna, 3)
        budgets.claim(1)
        budgets.pause(luna, timedelta(minutes=1))
        assert budgets.claim(10) == []
        SendingPace.objects.update(paused_until=timezone.now())
        assert len(budgets.claim(10)) == 2

    def test_one_that_never_sent_a_message_pauses_as_well(self, luna):
        budgets.pause(luna, timedelta(minutes=1))
        fill(luna, 3)
        assert budgets.claim(10) == []

    def test_the_longer_pause_stands(self, luna):
        budgets.pause(luna, timedelta(hours=1))
        budgets.pause(luna, timedelta(seconds=2))
        assert SendingPace.objects.get().paused_until > timezone.now() + timedelta(minutes=59)

    def test_others_go_on(self, luna):
        other = shop("other")
        fill(luna, 3), fill(other, 3)
        SendingPace.objects.create(account=luna, paused_until=timezone.now() + timedelta(minutes=1))
        assert {message.account_id for message in budgets.claim(10)} == {other.pk}

    def test_a_long_pause_lets_the_worker_rest(self, luna):
        fill(luna, 3)
        SendingPace.objects.create(account=luna, paused_until=timezone.now() + timedelta(minutes=1))
        assert not budgets.is_more_due()
        assert sending.send.work() == 0

    def test_a_short_pause_is_waited_for(self, instagram, open_conversation):
        SendingPace.objects.create(
            account=open_conversation.account, paused_until=timezone.now() + timedelta(seconds=1.5)
        )
        outbox.queue_reply(open_conversation, "soon")
        sending.send.run()
        assert instagram.sent_by_api() == ["soon"]

    def test_a_new_connection_ends_it(self, luna, clock):
        SendingPace.objects.create(
            account=luna, paused_until=timezone.now() + timedelta(days=1), used=90,
            told_at=timezone.now(),
        )  # fmt: skip
        sending.go_on(luna)
        fill(luna, 120)
        assert len(clock.take(1)) == 97

    @pytest.mark.parametrize(
        "changes",
        [{"access_token": None, "token_expires_at": None}, {"problem": "revoked"},
         {"token_expires_at": timezone.now() - timedelta(days=1)}],
        ids=["disconnected", "revoked", "expired"],
    )  # fmt: skip
    def test_an_account_that_cannot_send_keeps_its_queue(self, luna, changes):
        fill(luna, 3)
        Account.objects.update(**changes)
        assert budgets.claim(10) == []
        assert not budgets.is_more_due()
        assert set(Message.objects.values_list("status", "attempts")) == {(Status.QUEUED, 0)}


class TestWhatInstagramSaysIsUsed:
    @pytest.mark.parametrize(
        ("percent", "rate"),
        [(0, 97), (74, 97), (75, 97), (80, 77), (90, 38), (99, 3), (100, 1), (250, 1)],
    )
    def test_the_nearer_the_limit_the_slower(self, luna, clock, percent, rate):
        SendingPace.objects.create(account=luna, used=percent, told_at=timezone.now())
        fill(luna, 150)
        assert len(clock.take(1)) == rate

    def test_what_was_said_before_the_first_message_counts(self, luna):
        budgets.note(luna, Usage(percent=90))
        assert SendingPace.objects.get().used == 90

    def test_an_account_that_was_deleted_meanwhile_is_no_error(self, luna):
        Account.objects.all().delete()
        budgets.note(luna, Usage(percent=99))
        assert not SendingPace.objects.exists()

    def test_near_the_limit_it_stops_for_a_while(self, luna):
        budgets.note(luna, Usage(percent=97))
        fill(luna, 3)
        assert budgets.claim(10) == []
        assert SendingPace.objects.get().paused_until > timezone.now() + timedelta(seconds=50)

    def test_what_was_said_long_ago_counts_no_more(self, luna, clock):
        long_ago = timezone.now() - timedelta(minutes=6)
        SendingPace.objects.create(account=luna, used=99, told_at=long_ago)
        fill(luna, 150)
        assert len(clock.take(1)) == 97

    def test_no_header_is_no_headroom(self, luna):
        SendingPace.objects.create(account=luna, used=90, told_at=timezone.now())
        budgets.note(luna, None)
        assert SendingPace.objects.get().used == 90

    def test_a_busy_account_is_slowed_down_by_the_answers_themselves(
        self, instagram, open_conversation
    ):
        instagram.control("settings", app_usage={"call_count": 90, "total_time": 3})
        outbox.queue_reply(open_conversation, "one")
        work()
        pace = SendingPace.objects.get()
        assert (pace.used, pace.paused_until) == (90, None)
        instagram.control("settings", app_usage={"call_count": 99})
        outbox.queue_reply(open_conversation, "two")
        work()
        outbox.queue_reply(open_conversation, "three")
        work()
        assert instagram.sent_by_api() == ["one", "two"]


def test_a_claim_asks_no_more_for_a_long_queue(luna, clock, django_assert_max_num_queries):
    fill(luna, 50, each=20)
    budgets.claim(1)
    with django_assert_max_num_queries(14):
        assert len(budgets.claim(32)) == 14


def test_a_call_that_is_so_late_that_others_take_it_for_dead_is_not_made(luna):
    made, long_ago = [], timezone.now() - timedelta(seconds=40)
    with pytest.raises(NotSent):
        budgets.make_at(long_ago, luna, lambda: made.append(1))
    assert made == []


class TestAnAccountThatIsHeld:
    @pytest.fixture
    def held(self, luna):
        fill(luna, 5)
        luna.problem, luna.problem_at = "held", timezone.now() - timedelta(hours=1)
        luna.save()
        return luna

    def test_one_message_tells_whether_that_is_over(self, held, clock):
        assert len(clock.take(2)) == 1

    def test_once_it_is_the_others_go(self, held, clock):
        [tried] = clock.take(1)
        with transaction.atomic():
            outcomes.sent([(tried, "mid.1")])
        Account.objects.update(problem="")
        assert len(clock.take(2)) == 4
