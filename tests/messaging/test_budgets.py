"""How many messages may leave, whose, and in which order."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.instagram_usage import Usage
from accounts.models import Account
from messaging import budgets, outbox, outcomes, sending
from messaging.models import Attachment, Conversation, Message, SendingPace
from tests.conftest import work

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


def second_passes():
    a_second_ago = timezone.now() - timedelta(seconds=1)
    Message.objects.filter(called_at__isnull=False).update(called_at=a_second_ago)


@pytest.fixture
def luna(db):
    return shop("luna")


class TestLimitsOfAnAccount:
    def test_98_a_second(self, luna):
        fill(luna, 150)
        assert len(budgets.claim(1000)) == 98
        assert budgets.claim(1000) == []
        second_passes()
        assert len(budgets.claim(1000)) == 52

    @pytest.mark.parametrize("kind", ["audio", "video"])
    def test_9_of_them_sound_or_video(self, luna, kind):
        fill(luna, 20, kind=kind)
        assert len(budgets.claim(1000)) == 9
        assert budgets.claim(1000) == []
        second_passes()
        assert len(budgets.claim(1000)) == 9

    def test_pictures_count_as_any(self, luna):
        fill(luna, 20, kind="image")
        assert len(budgets.claim(1000)) == 20

    def test_heavy_ones_that_have_to_wait_hold_up_no_other(self, luna):
        fill(luna, 20, kind="video")
        fill(luna, 100)
        assert len(budgets.claim(1000)) == 98

    @pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer")
    def test_two_workers_keep_it_together(self, luna):
        fill(luna, 250)
        taken, begin = [], threading.Barrier(2)

        def worker():
            begin.wait()
            try:
                end = timezone.now() + timedelta(seconds=1.5)
                while timezone.now() < end:
                    taken.extend(budgets.claim(16))
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(worker), threads.submit(worker)]:
                done.result()
        assert max(Counter(message.pk for message in taken).values()) == 1
        moments = sorted(
            Message.objects.filter(called_at__isnull=False).values_list("called_at", flat=True)
        )
        assert len(moments) > 98
        # Whichever second is looked at.
        for first, last in zip(moments, moments[98:], strict=False):
            assert last - first >= timedelta(seconds=1)


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

    def test_the_oldest_go_first(self, luna):
        rows = fill(luna, 120)
        chosen = {message.pk for message in budgets.claim(40)}
        assert chosen == {row.pk for row in rows[:30]}


class TestFairness:
    def test_a_full_account_leaves_room_for_the_others(self, luna):
        fill(luna, 500)
        others = [shop(f"small{n}") for n in range(3)]
        for other in others:
            fill(other, 5)
        taken = Counter(message.account_id for message in budgets.claim(32))
        assert all(taken[other.pk] == 5 for other in others)
        assert taken[luna.pk] >= 8

    def test_one_account_leaves_places_for_others_to_come(self, luna):
        fill(luna, 90)
        assert len(budgets.claim(32)) == 24
        assert budgets.claim(8, Counter({luna.pk: 24})) == []

    def test_slow_calls_of_one_account_take_no_more_than_its_share(self, luna):
        slow = shop("slow")
        fill(luna, 90), fill(slow, 90)
        taken = budgets.claim(12, Counter({slow.pk: 20}))
        assert {message.account_id for message in taken} == {luna.pk}
        assert len(taken) >= 6

    def test_with_more_accounts_than_places_each_has_its_turn(self):
        shops = [shop(f"shop{n}") for n in range(12)]
        for one in shops:
            fill(one, 30)
        taken = Counter()
        for _ in range(40):
            second_passes()
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

    def test_a_new_connection_ends_it(self, luna):
        SendingPace.objects.create(
            account=luna, paused_until=timezone.now() + timedelta(days=1), used=90,
            told_at=timezone.now(),
        )  # fmt: skip
        sending.go_on(luna)
        fill(luna, 120)
        assert len(budgets.claim(1000)) == 98

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
        [(0, 98), (74, 98), (75, 98), (80, 78), (90, 39), (99, 3), (100, 1), (250, 1)],
    )
    def test_the_nearer_the_limit_the_slower(self, luna, percent, rate):
        SendingPace.objects.create(account=luna, used=percent, told_at=timezone.now())
        fill(luna, 150)
        assert len(budgets.claim(1000)) == rate

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

    def test_what_was_said_long_ago_counts_no_more(self, luna):
        long_ago = timezone.now() - timedelta(minutes=6)
        SendingPace.objects.create(account=luna, used=99, told_at=long_ago)
        fill(luna, 150)
        assert len(budgets.claim(1000)) == 98

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


def test_a_claim_asks_no_more_for_a_long_queue(luna, django_assert_max_num_queries):
    fill(luna, 50, each=20)
    budgets.claim(1)
    with django_assert_max_num_queries(20):
        assert len(budgets.claim(32)) == 24
