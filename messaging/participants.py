"""Names and pictures of those who write, asked of Instagram by the worker and kept.

Asked when somebody has written for the first time, and again when they write after a week: a
thread that sleeps costs no calls. Whatever goes wrong leaves a placeholder, and no error.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from accounts.instagram import InstagramClient
from accounts.instagram_errors import (
    NoAnswer,
    NotSent,
    RateLimited,
    Refused,
    TokenRejected,
    Withheld,
)
from accounts.models import Account, TokenUnreadable

from . import media, media_types, outbound_http
from .events import UNSTORABLE
from .models import PERSON_WANTED, Conversation, FileToDelete
from .queues import Drain

logger = logging.getLogger(__name__)

BATCH = 10
OLD = timedelta(days=7)
"""After so long what Instagram told of a person, or would not tell, is asked again."""

FIRST_WAIT, LONGEST_WAIT = timedelta(days=1), timedelta(days=30)
"""After a failure: a day, two days, four, …"""

PAUSE = timedelta(minutes=30)
"""How long nobody is asked for while an account may not ask, or Instagram is out of reach."""

LEASE = timedelta(minutes=10)
"""For a batch in which every answer, and every picture, takes as long as it may."""

MAX_PICTURE = 1024 * 1024
FIELDS = [
    "username", "name", "picture", "picture_type", "change",
    "person_told_at", "person_due_at", "person_attempts", "person_paused_until",
]  # fmt: skip


@dataclass
class Answer:
    """What came of asking for one person: changes to the row, and the bytes of a picture."""

    conversation: Conversation
    asked_at: datetime
    changes: dict[str, object] = field(default_factory=dict)
    picture: bytes = b""

    def told(self, **changes: object) -> None:
        """Instagram said who it is, or that it will not say: good for a while."""
        self.changes |= changes | {
            "person_told_at": self.asked_at,
            "person_due_at": timezone.now() + OLD,
            "person_attempts": 0,
        }

    def failed(self) -> None:
        """Asked again later, each time later still."""
        wait = FIRST_WAIT * 2 ** min(self.conversation.person_attempts - 1, 5)
        self.changes["person_due_at"] = timezone.now() + min(wait, LONGEST_WAIT)
        self.changes.pop("person_told_at", None)
        self.changes.pop("person_attempts", None)

    def put_off(self, wait: timedelta) -> None:
        """It was not asked; no fault of this person."""
        self.changes["person_due_at"] = timezone.now() + wait
        self.changes["person_attempts"] = self.conversation.person_attempts - 1

    def pause_account(self) -> None:
        self.changes["person_paused_until"] = timezone.now() + PAUSE


@Drain
def ask() -> int:
    """Ask for a batch of people, a few queries whatever their number; returns how many."""
    answers = _claim()
    if answers:
        _ask(answers)
        _settle(answers)
    return len(answers)


def due(now: datetime) -> models.QuerySet[Conversation]:
    paused = Conversation.objects.filter(person_paused_until__gt=now)
    # Exists, not "in": SQLite would go through every conversation by account.
    able = Exists(Account.objects.worth_trying().filter(pk=OuterRef("account")))
    due = Conversation.objects.filter(PERSON_WANTED, able, person_due_at__lte=now)
    return due.exclude(account__in=paused.values("account"))


def _claim() -> list[Answer]:
    """Lease some that are due to this worker, each account's in turn."""
    now = timezone.now()
    # An account with thousands of new people does not keep those of the others waiting.
    turn = Window(RowNumber(), partition_by="account", order_by=["person_due_at", "pk"])
    first = due(now).annotate(turn=turn).order_by("turn", "person_due_at", "pk")
    if not (pks := list(first.values_list("pk", flat=True)[:BATCH])):
        return []
    with transaction.atomic():
        free = Conversation.objects.filter(pk__in=pks, person_due_at__lte=now).order_by("pk")
        free = free.select_for_update(skip_locked=True, no_key=True)
        pks = list(free.values_list("pk", flat=True))
        Conversation.objects.filter(pk__in=pks).update(
            person_due_at=now + LEASE, person_attempts=F("person_attempts") + 1
        )
    # Asked as of now: who writes from here on has written since.
    rows = Conversation.objects.filter(pk__in=pks).order_by("account", "pk")
    return [Answer(conversation, now) for conversation in rows]


# --- Asking ---------------------------------------------------------------------------------------


def _ask(answers: list[Answer]) -> None:
    accounts = Account.objects.in_bulk({answer.conversation.account_id for answer in answers})
    wait = timedelta()
    try:
        for account_id, mine in groupby(answers, key=lambda one: one.conversation.account_id):
            if account := accounts.get(account_id):
                _ask_as(account, list(mine))
    except NotSent:
        wait = PAUSE
        _put_all_off()
    for answer in answers:
        if not answer.changes:
            answer.put_off(wait)


def _ask_as(account: Account, answers: list[Answer]) -> None:
    """Ask with the account's token, until that is refused. Raises NotSent."""
    try:
        client = account.client()
        for answer in answers:
            _ask_one(client, answer)
    except TokenRejected as exc:
        account.note_problem(Account.Problem.REVOKED, str(exc))
    except TokenUnreadable:
        answers[0].put_off(timedelta())
        answers[0].pause_account()
    except (RateLimited, Withheld) as exc:  # Neither says anything about the token (7.2).
        logger.info("account %s: no names for now (%s)", account.pk, type(exc).__name__)


def _ask_one(client: InstagramClient, answer: Answer) -> None:
    conversation = answer.conversation
    try:
        person = client.person(conversation.igsid)
    except Refused as exc:
        logger.info("conversation %s: Instagram names nobody (%s)", conversation.pk, exc.code)
        answer.told()
        return
    except NoAnswer:
        answer.failed()
        return
    except (RateLimited, Withheld):
        answer.failed()  # Perhaps it is about this person alone.
        answer.pause_account()
        raise
    answer.told()
    if person.username or person.name:
        answer.changes |= {"username": _clean(person.username), "name": _clean(person.name)}
    if person.picture_url:
        _fetch_picture(answer, person.picture_url)
    else:
        answer.changes |= {"picture": "", "picture_type": ""}


def _clean(name: str) -> str:
    return UNSTORABLE.sub("\ufffd", name)[:255]


def _fetch_picture(answer: Answer, url: str) -> None:
    """Whatever goes wrong, the picture of before stays."""
    try:
        answer.picture = media.download(url, MAX_PICTURE)
    except outbound_http.Forbidden as exc:
        logger.info("conversation %s: no picture (%s)", answer.conversation.pk, exc)
    except media.NotFetched as exc:
        logger.info("conversation %s: no picture yet (%s)", answer.conversation.pk, exc)
        answer.failed()


def _put_all_off() -> None:
    """Instagram is out of reach: nobody would fare better now."""
    now = timezone.now()
    due(now).update(person_due_at=now + PAUSE)


# --- Settling -------------------------------------------------------------------------------------


def _settle(answers: list[Answer]) -> None:
    """Write down what came of it, in one transaction; open pages hear of what can be seen."""
    marks = _store_pictures(answers)
    by_pk = {answer.conversation.pk: answer for answer in answers}
    with transaction.atomic():
        locked = Conversation.objects.select_for_update(no_key=True).order_by("pk")
        rows = list(locked.filter(pk__in=by_pk))
        here = {by_pk[row.pk].changes.get("picture") for row in rows}
        kept = media.adopt(mark for mark in marks if mark.name in here)
        replaced = [_apply(row, by_pk[row.pk].changes, kept) for row in rows]
        Conversation.objects.bulk_update(rows, FIELDS)
        media.delete_later(filter(None, replaced))


def _apply(row: Conversation, changes: dict[str, object], kept: set[str]) -> str:
    """Change the row; returns the name of the file that it lets go."""
    if changes.get("picture") and changes["picture"] not in kept:
        changes = {name: changes[name] for name in changes if not name.startswith("picture")}
    before = (row.username, row.name, row.picture.name)
    for name, value in changes.items():
        setattr(row, name, value)
    if before != (row.username, row.name, row.picture.name):
        row.change += 1
    return before[2] if before[2] != row.picture.name else ""


def _store_pictures(answers: list[Answer]) -> list[FileToDelete]:
    files, given = {}, []
    for answer in answers:
        content_type, ending = media_types.of(answer.picture)
        if content_type in media_types.RASTER:
            name = media.new_name("people", ending)
            files[name] = answer.picture
            answer.changes |= {"picture": name, "picture_type": content_type}
            given.append(answer)
    if not files:
        return []
    try:
        return media.write(files)
    except Exception:  # The disk's. Their names count all the same.
        for answer in given:
            del answer.changes["picture"], answer.changes["picture_type"]
            answer.failed()
        return []
