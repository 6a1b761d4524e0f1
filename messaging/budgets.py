"""Which messages may go out now: so many of each account a second, and the accounts in turn.

Instagram takes 100 calls a second of an account, 10 of them with sound or video (8). A row of the
account says when its next call may leave, so all workers together keep within it.
"""

import random
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime, timedelta
from math import ceil
from threading import Lock
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.db.models import (
    Case,
    DateTimeField,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from accounts.instagram_errors import NotSent, RateLimited, Withheld
from accounts.instagram_usage import Usage
from accounts.models import Account

from .models import Attachment, Conversation, Message, SendingPace

Status = Message.Status

SECOND = timedelta(seconds=1)
A_SECOND = 97
HEAVY_A_SECOND = 9
"""A little below Instagram's limits: its second is not quite ours.

Calls leave evenly, but for those of MADE_UP: if one is late by some milliseconds, few others come
too near to it.
"""

AHEAD = timedelta(seconds=0.15)
"""Messages are taken so long before their moment, and the threads that call wait for it: else
each look would come a little late. Whatever a worker has taken when it dies counts as perhaps sent,
so it is not longer.
"""

MADE_UP = timedelta(seconds=0.02)
"""Moments that nobody took go to later calls for so long. With those a second has 99, however many
workers there are: one is left for calls of theirs that are not equally late.
"""

LONGEST = timedelta(seconds=30)
"""No call is put off for longer: a clock that was put back must not stop an account."""

HEAVY = ("audio", "video")

SLOW_AT, STOP_AT = 75, 97
"""Percent of a limit that Instagram says is used."""

MOST_OF_ONE = 0.75
"""Of the places for calls: when others come, some are free."""

NOBODY: Counter[str] = Counter()

CALL_LASTS = timedelta(minutes=2)
"""After so long the worker that called is dead: Instagram may take 75 s to fetch a video."""

LATEST = timedelta(seconds=30)
"""A call that is later does not leave: well before others take its worker for dead."""

SWEEP = timedelta(minutes=1)
TOLD_LASTS = timedelta(minutes=5)
SOON = timedelta(seconds=2.5)
"""Above the pause after the limit of so many calls a second."""


def claim(size: int, busy: Counter[str] = NOBODY) -> list[Message]:
    """Take up to `size` messages to send them now; they are `sending` from here on.

    `busy` says how many calls of each account are under way: one whose calls are slow takes no
    more than its share of the places, and never all.

    Whoever takes some must call Instagram at the moment that `called_at` says, at most AHEAD from
    now: a message that a dead worker had taken counts as perhaps sent.
    """
    if size < 1 or not (problems := _ready_accounts()):
        return []
    with transaction.atomic():
        chosen: list[tuple[int, datetime]] = []
        paces = list(
            SendingPace.objects.filter(pk__in=problems).select_for_update(skip_locked=True)
        )
        random.shuffle(paces)  # Over time everybody is first as often.
        places = size + busy.total()
        most = min(ceil(places / max(len(paces), 1)), ceil(places * MOST_OF_ONE))
        for left, pace in zip(range(len(paces), 0, -1), paces, strict=True):
            share = ceil((size - len(chosen)) / left)
            if problems[pace.account_id]:
                share = min(share, _left_to_try(pace))
            chosen += _choose(pace, min(share, most - busy[pace.account_id]))
        return _take(dict(chosen))


def book(account: Account) -> datetime:
    """The moment for one call beside the messages, before which it must not leave."""
    with transaction.atomic():
        pace = _pace_of(account).select_for_update().get()
        (moment,) = _book(pace, timezone.now(), 1)
    return moment


def make_at(moment: datetime, account: Account, call: Callable[[], Any]) -> Any:
    """Wait for the moment that was booked, and make the call.

    Also a process that stood still for a while makes no more of them in a second than it may.
    Raises NotSent when it stood still for so long that others may take it for dead.
    """
    time.sleep(max(min(moment - timezone.now(), LONGEST), timedelta()).total_seconds())
    with _doors:
        door = _door_of.setdefault(account.pk, _Door())
    door.leave()
    if timezone.now() - moment > LATEST:
        raise NotSent("This site stood still, and its turn was over.")
    return call()


class _Door:
    """Where the calls of one account leave this process.

    A call that is late may be made up for: what Instagram counts is a second.
    """

    def __init__(self):
        self.lock = Lock()
        self.left: deque[float] = deque(maxlen=A_SECOND)

    def leave(self) -> None:
        with self.lock:
            if len(self.left) == A_SECOND:
                time.sleep(max(self.left[0] + 1 - time.monotonic(), 0))
            self.left.append(time.monotonic())


_doors = Lock()
_door_of: dict[str, _Door] = {}


def is_more_due() -> bool:
    """Whether something can be sent within moments, though nothing can now."""
    now = timezone.now()
    soon = Message.objects.heads().filter(status=Status.QUEUED, due_at__lte=now + SOON)
    return soon.filter(account__in=_accounts(now + SOON)).exists()


def next_due_at() -> datetime | None:
    """When the next message that waits for its time, or its account's, can go, if that is soon."""
    now = timezone.now()
    paused_until = Coalesce("account__sending_pace__paused_until", "due_at")
    queued = Message.objects.filter(status=Status.QUEUED, due_at__lte=now + SWEEP)
    soon = queued.annotate(at=Greatest("due_at", paused_until)).filter(
        at__range=(now, now + SWEEP), account__in=Account.objects.worth_trying()
    )
    return soon.order_by("at").values_list("at", flat=True).first()


def due() -> QuerySet[Message]:
    """Messages that could go out now, were it not for Instagram's limits."""
    now = timezone.now()
    return Message.objects.due().filter(account__in=_accounts(now))


def heed(account: Account, result: object, usage: Usage | None) -> None:
    """Remember what came of a call, an exception perhaps, as far as it concerns the limits.

    Not in a transaction that locks conversations: who claims locks the pace before them.
    """
    if isinstance(result, RateLimited | Withheld):
        pause(account, result.wait)
    note(account, usage)


def note(account: Account, usage: Usage | None) -> None:
    """Remember what Instagram said of its limits."""
    if usage is None or (usage.percent < SLOW_AT and not usage.wait):
        return
    now = timezone.now()
    wait = usage.wait or (timedelta(minutes=1) if usage.percent >= STOP_AT else None)
    _pace_of(account).update(used=usage.percent, told_at=now)
    if wait:
        pause(account, wait)


def pause(account: Account, wait: timedelta) -> None:
    """Send nothing of the account for so long: calls meanwhile would make it longer."""
    until = timezone.now() + wait
    shorter = Q(paused_until=None) | Q(paused_until__lt=until)
    _pace_of(account).filter(shorter).update(paused_until=until)


def go_on(account: Account) -> None:
    """Somebody connected it again: what held it may be over."""
    SendingPace.objects.filter(account=account).update(paused_until=None, told_at=None)


def _pace_of(account: Account) -> QuerySet[SendingPace]:
    """Its row, made if it never sent a message: a reaction may be the first that is called."""
    rows = SendingPace.objects.filter(account=account.pk)
    # An account that was deleted during the call gets none.
    if not rows.exists() and Account.objects.filter(pk=account.pk).exists():
        SendingPace.objects.bulk_create([SendingPace(account=account)], ignore_conflicts=True)
    return rows


def _accounts(now: datetime) -> QuerySet[Account]:
    """Those of which something waits, and which may send."""
    queued = Message.objects.filter(account=OuterRef("pk"), status=Status.QUEUED, due_at__lte=now)
    paused = Q(sending_pace__paused_until__gt=now)
    return Account.objects.worth_trying().filter(Exists(queued)).exclude(paused)


def _ready_accounts() -> dict[str, str]:
    """Those of `_accounts` whose next call may leave now, with their problems; each has a pace."""
    now = timezone.now()
    put_off = Q(sending_pace__next_at__range=(now + AHEAD, now + LONGEST))
    found = list(_accounts(now).exclude(put_off).values_list("pk", "sending_pace", "problem"))
    if new := [SendingPace(account_id=pk) for pk, pace, _ in found if pace is None]:
        SendingPace.objects.bulk_create(new, ignore_conflicts=True)
    return {pk: problem for pk, _, problem in found}


def _left_to_try(pace: SendingPace) -> int:
    """Of an account with a problem one message tells whether it is over: more refusals, for all
    that waits, would make it last."""
    under_way = Message.objects.filter(account=pace.account_id, status=Status.SENDING)
    return 0 if under_way.exists() else 1


def _choose(pace: SendingPace, size: int) -> list[tuple[int, datetime]]:
    """The next messages of one account, within what it may send now, and when each is called.

    The pace is locked: one worker at a time takes messages of an account, others pass it over.
    """
    now = timezone.now()
    size = min(size, _places(pace, now))
    if size < 1:
        return []
    heavy = Attachment.objects.filter(message=OuterRef("pk"), kind__in=HEAVY)
    due = Message.objects.due().filter(account=pace.account_id).annotate(is_heavy=Exists(heavy))
    due = due.order_by("due_at", "pk").values_list("due_at", "pk", "is_heavy")
    chosen = list(due[:size])
    if any(is_heavy for _, _, is_heavy in chosen):
        called = Message.objects.filter(account=pace.account_id, called_at__gt=now - SECOND)
        left = max(HEAVY_A_SECOND - called.filter(Exists(heavy)).count(), 0)
        # Those that have to wait hold up no other.
        chosen = [one for one in chosen if one[2]][:left] + list(due.filter(is_heavy=False)[:size])
    pks = [pk for _, pk, _ in sorted(chosen)[:size]]
    return list(zip(pks, _book(pace, now, len(pks)), strict=True))


def _places(pace: SendingPace, now: datetime) -> int:
    """How many of its calls may leave within AHEAD."""
    return (now + AHEAD - _next(pace, now)) // _step(pace, now) + 1


def _book(pace: SendingPace, now: datetime, count: int) -> list[datetime]:
    """The moments of its next calls, which are nobody else's from then on."""
    first, step = _next(pace, now), _step(pace, now)
    SendingPace.objects.filter(pk=pace.pk).update(next_at=first + count * step)
    return [max(first + n * step, now) for n in range(count)]


def _next(pace: SendingPace, now: datetime) -> datetime:
    if pace.next_at is None or pace.next_at > now + LONGEST:
        return now
    return max(pace.next_at, now - MADE_UP)


def _step(pace: SendingPace, now: datetime) -> timedelta:
    # Rounded up: else the last of a second would be one too many.
    return timedelta(microseconds=ceil(1_000_000 / _a_second(pace, now)))


def _a_second(pace: SendingPace, now: datetime) -> int:
    """What the account may send in a second: less and less once Instagram says it is much."""
    if pace.told_at is None or pace.told_at < now - TOLD_LASTS or pace.used < SLOW_AT:
        return A_SECOND
    return max(A_SECOND * (100 - pace.used) // (100 - SLOW_AT), 1)


def _take(moments: dict[int, datetime]) -> list[Message]:
    if not moments:
        return []
    lease, now = uuid4(), timezone.now()
    rows = Message.objects.filter(pk__in=moments)
    its_moment = [When(pk=pk, then=Value(moment)) for pk, moment in moments.items()]
    conversations = Conversation.objects.lock(rows.values("conversation"))
    changed = Conversation.objects.filter(pk__in=[row.pk for row in conversations])
    changed.update(change=F("change") + 1)
    own = Conversation.objects.filter(pk=OuterRef("conversation"))
    # Written before the call: a worker that dies now leaves a row that says "may be sent".
    rows.filter(status=Status.QUEUED).update(
        status=Status.SENDING,
        lease=lease,
        called_at=Case(*its_moment, output_field=DateTimeField()),
        due_at=now + CALL_LASTS,
        attempts=F("attempts") + 1,
        error="",  # Its code stays until the outcome: the same one again counts.
        change=Subquery(own.values("change")),
    )
    taken = rows.filter(lease=lease)
    taken = taken.select_related("account", "conversation").prefetch_related("attachments")
    return list(taken.order_by("called_at", "pk"))
