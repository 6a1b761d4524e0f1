"""The steps of a walk through an account's conversations, one call each.

What a step was told is written down in the same transaction as where the next one goes on: a
worker that dies costs one step. What is here already stays as it is.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.instagram import InstagramClient
from accounts.instagram_conversations import Page, PastMessage
from accounts.instagram_errors import (
    InstagramError,
    NoAnswer,
    NotSent,
    RateLimited,
    Refused,
    TokenRejected,
)
from accounts.models import Account, TokenUnreadable

from . import projection, read_back
from .events import CONTENT, mid_digest
from .models import HistorySync, Message
from .recovery import PAUSE

logger = logging.getLogger(__name__)

State = HistorySync.State

PAGE = 10
TOLD = 20
"""Of so many messages of a conversation Instagram tells what they say (5.3)."""

TOO_MUCH = 1
"""The code by which Instagram asks for smaller pages (5.1)."""

KEY_WAIT = timedelta(minutes=10)
GIVE_UP = 24
"""Failures in a row, the later ones an hour apart."""

TRIES = 3
"""Of a conversation that cannot be written down, before it is left out."""


def step_of(walks: QuerySet[HistorySync]) -> int:
    """Take the next step of one of `walks`, if one is due; returns how many were."""
    claimed = walks.claim(1)
    for walk in claimed:
        try:
            _step(walk)
        except Exception:  # Its lease says when it is tried again, should that fail as well.
            logger.exception("walk %s: a step failed", walk.pk)
            _stumbled(walk)
    return len(claimed)


def _step(walk: HistorySync) -> None:
    walk.started_at = walk.started_at or timezone.now()
    try:
        client = walk.account.client()
        if walk.cursor.get("waiting"):
            _read(walk, client)
        else:
            _list(walk, client)
    except TokenUnreadable as exc:
        if walk.account.access_token is None:
            _end(walk, State.FAILED, str(exc))
        else:
            walk.retry_later(KEY_WAIT, error=str(exc))
    except InstagramError as exc:
        _not_told(walk, exc)


def _list(walk: HistorySync, client: InstagramClient) -> None:
    """Take the next page of the list of conversations."""
    page = client.conversations(limit=walk.page_size, after=walk.cursor.get("next", ""))
    recent = [
        one.id for one in page.items if one.updated_at is None or one.updated_at >= walk.since
    ]
    # The latest come first: after a page of nothing but older ones there are only older ones.
    _go_on(walk, {**walk.cursor, "waiting": recent, "next": page.after if recent else ""})


def _read(walk: HistorySync, client: InstagramClient) -> None:
    """Take the next page of the first conversation that waits."""
    cursor = walk.cursor
    page = client.messages(
        cursor["waiting"][0], limit=walk.page_size, after=cursor.get("after", "")
    )
    cursor["read"] = cursor.get("read", 0) + len(page.items)
    with transaction.atomic():
        new, left = _write(walk, page)
        changes = {
            "messages_seen": walk.messages_seen + len(page.items),
            "messages_new": walk.messages_new + new,
            "messages_left": walk.messages_left + left,
        }
        if _is_through(walk, page):
            changes["conversations_seen"] = walk.conversations_seen + 1
            _go_on(walk, _without_first(cursor), **changes)
        else:
            _go_on(walk, {**cursor, "after": page.after}, **changes)


def _is_through(walk: HistorySync, page: Page[PastMessage]) -> bool:
    """Beyond those that are told, the others are only counted, as far as they may be missing."""
    if not page.after or not page.items:
        return True
    oldest = page.items[-1].at
    return walk.cursor["read"] >= TOLD and (oldest is None or oldest <= _missed_since(walk))


def _missed_since(walk: HistorySync) -> datetime:
    """What was written before, no webhook was to bring."""
    return max(walk.since, walk.account.linked_at)


def _write(walk: HistorySync, page: Page[PastMessage]) -> tuple[int, int]:
    """Bring in what is not here; returns how many that were, and how many cannot be read."""
    account, cursor = walk.account, walk.cursor
    own = account.instagram_account_id
    digests = {past.mid: mid_digest(own, past.mid) for past in page.items}
    here = Message.objects.filter(mid_digest__in=digests.values())
    known = {bytes(digest) for digest in here.values_list("mid_digest", flat=True)}
    is_answered = cursor.get("answered", False)
    told = read_back.tell_all(account, page.items, is_answered=is_answered)
    cursor["answered"] = is_answered or any(past.sender == own for past in page.items)
    projection.project(told[::-1])
    missing = [t for t in told if t.event.kind in CONTENT and t.digest not in known]
    # An answer written here, whose outcome was not known: now it is.
    own_now = here.filter(is_from_here=True).exclude(mid_digest__in=known).count()
    empty = sum(read_back.is_empty(one) for one in missing)
    untold = sum(
        not past.sender and past.at is not None and past.at > _missed_since(walk)
        for past in page.items
        if digests[past.mid] not in known
    )
    return len(missing) - own_now - empty, empty + untold


def _stumbled(walk: HistorySync) -> None:
    why = "Something unexpected happened; the log of the worker says what."
    if walk.failures >= TRIES and walk.cursor.get("waiting"):
        _leave_out(walk, why)
    else:
        _put_off(walk, why)


def _not_told(walk: HistorySync, exc: InstagramError) -> None:
    match exc:
        case RateLimited(code=code) if code == TOO_MUCH and walk.page_size > 1:
            walk.retry_later(PAUSE, page_size=walk.page_size // 2)
        case RateLimited() | NotSent() | NoAnswer():
            _put_off(walk, str(exc))
        case Refused() if walk.cursor.get("waiting"):  # This conversation; others may be read.
            _leave_out(walk, str(exc))
        case _:
            if isinstance(exc, TokenRejected):
                walk.account.note_problem(Account.Problem.REVOKED, str(exc))
            _end(walk, State.FAILED, str(exc))


def _leave_out(walk: HistorySync, why: str) -> None:
    note = f"A conversation was left out. {why}"
    _go_on(walk, {**_without_first(walk.cursor), "note": note})


def _without_first(cursor: dict) -> dict:
    """Where the next conversation begins."""
    kept = {name: cursor[name] for name in ("next", "note") if name in cursor}
    return kept | {"waiting": cursor["waiting"][1:]}


def _go_on(walk: HistorySync, cursor: dict, **changes: object) -> None:
    if not cursor.get("waiting") and not cursor.get("next"):
        _end(walk, State.FINISHED, cursor.get("note", ""), **changes)
        return
    if "after" not in cursor:  # Another conversation may take a larger page again.
        changes["page_size"] = min(walk.page_size * 2, PAGE)
    changes |= {"cursor": cursor, "state": State.RUNNING, "started_at": walk.started_at}
    walk.retry_later(PAUSE, failures=0, error="", **changes)


def _put_off(walk: HistorySync, why: str) -> None:
    if walk.failures >= GIVE_UP:
        _end(walk, State.FAILED, why)
        return
    delay = min(timedelta(seconds=30) * 2**walk.failures, timedelta(hours=1))
    walk.retry_later(delay, failures=walk.failures + 1, error=why)


def _end(walk: HistorySync, state: State, error: str, **changes: object) -> None:
    now = timezone.now()
    changes |= {"state": state, "finished_at": now, "started_at": walk.started_at, "cursor": {}}
    walk.settle(error=error, **changes)
