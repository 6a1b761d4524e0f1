"""When recent conversations are read back: after connecting, and where webhooks may be lost.

A walk is a row, one of each account at a time.
"""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Exists, Max, OuterRef
from django.utils import timezone

from accounts.models import Account

from . import recovery, walking
from .models import HistorySync, MissingMessage, WebhookEvent
from .queues import Drain

Reason, State = HistorySync.Reason, HistorySync.State

START = timedelta(seconds=3)
"""Until the first call: what is written after it must come by webhook, so these are asked for."""

LOOK_BACK = timedelta(days=30)
PATIENCE = timedelta(seconds=5)
"""So far ahead a worker waits for the next step, rather than leave it to the next sweep."""

SILENCE = timedelta(hours=1)
DAY = timedelta(days=1)
CLOCKS = timedelta(minutes=10)
"""How far Instagram's clock and ours may differ."""


def begin(account: Account, reason: Reason) -> HistorySync:
    """The account's walk that is under way, or a new one."""
    due_at = timezone.now() + START
    walk, is_new = HistorySync.objects.get_or_create(
        account=account,
        finished_at__isnull=True,
        defaults={"reason": reason, "since": _since(account), "due_at": due_at},
    )
    if not is_new:  # One that backs off does so no longer.
        mine = HistorySync.objects.filter(pk=walk.pk, lease=None, due_at__gt=due_at)
        mine.update(due_at=due_at)
    sync.hint()
    return walk


def go_on(account: Account, **signal: object) -> None:
    """The account was connected, for the first time or again."""
    is_known = account.history_syncs.exists() or account.conversations.exists()
    begin(account, Reason.RECONNECTED if is_known else Reason.CONNECTED)


def look() -> None:
    """Begin a walk wherever messages may have been lost; called now and then.

    A token that no key opens: the walk waits, and goes on once one does. A whole hour of the last
    day without a single webhook: perhaps this site was out of reach, or Meta has switched its
    webhooks off; then every account gets a walk, one a day at most.
    """
    unreadable = Account.objects.filter(problem=Account.Problem.UNREADABLE)
    for account in unreadable.filter(access_token__isnull=False):
        begin(account, Reason.KEY_RECOVERED)
    if _was_silent():
        lately = HistorySync.objects.filter(
            account=OuterRef("pk"), created_at__gt=timezone.now() - DAY
        )
        for account in Account.objects.worth_trying().filter(~Exists(lately)):
            begin(account, Reason.OUTAGE)


@Drain
def sync() -> int:
    """Take the next step of a walk, and ask for the next missing message; returns how many.

    One thread does both, at the pace that Instagram allows: it waits for what is due soon.
    """
    found = walking.step_of(HistorySync.objects.all()) + recovery.recover_next()
    return found or _wait_for_next()


def run(walk: HistorySync) -> Iterator[HistorySync]:
    """Take the steps here, beside a worker that may do so as well; yields after each.

    Ends with the walk, or when it has to wait for more than a minute or two.
    """
    mine = HistorySync.objects.filter(pk=walk.pk)
    while walk.is_under_way and (wait := walk.due_at - timezone.now()) < timedelta(seconds=90):
        time.sleep(min(max(wait.total_seconds(), 0), 1))  # A worker's step takes less than it may.
        walking.step_of(mine)
        walk.refresh_from_db()
        yield walk


def _since(account: Account) -> datetime:
    """From where on conversations may hold something new."""
    # A walk that saw nothing proves nothing: an app that is not live gets empty lists.
    good = account.history_syncs.filter(state=State.FINISHED, conversations_seen__gt=0)
    oldest = timezone.now() - LOOK_BACK
    last = good.aggregate(last=Max("started_at"))["last"]
    return max(oldest, last - CLOCKS) if last else oldest


def _was_silent() -> bool:
    now = timezone.now()
    hours = (now - SILENCE * n for n in range(1, DAY // SILENCE + 1))
    webhooks = WebhookEvent.objects
    return not all(webhooks.filter(received_at__range=(h, h + SILENCE)).exists() for h in hours)


def _wait_for_next() -> int:
    """Sleep until something is due, if that is soon."""
    now = timezone.now()
    soon = [
        rows.filter(due_at__lte=now + PATIENCE).order_by("due_at").values_list("due_at", flat=True)
        for rows in (HistorySync.objects.all(), MissingMessage.objects.askable())
    ]
    if not (moments := [moment for rows in soon for moment in rows[:1]]):
        return 0
    time.sleep(max((min(moments) - now).total_seconds(), 0))
    return 1
