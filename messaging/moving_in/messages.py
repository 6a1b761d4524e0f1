"""Messages, and with them the conversations."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import Account

from .. import projection
from ..board import Told
from ..events import MAX_MID, Event, Kind, mid_digest
from ..models import Conversation, Message
from .report import COUNTED, Report
from .routes import Lost, Route, Routes
from .source import Row, Source, moment, text

Status = Message.Status
Direction = Message.Direction
Key = tuple[str, str]  # account id, igsid

NO_TIME = "they have no time that can be read"
NO_ID = "their id is missing or too long"
OWN = "msg_"
"""How the ids begin that the predecessor gave to what was sent through it."""

NOT_KNOWN = "Nobody knows whether it was sent: the predecessor stopped before it noted that."
FAILED = "The predecessor could not send it."


class Send(NamedTuple):
    """What somebody sent through the predecessor, as it will stand here."""

    route: Route
    public_id: str
    mid: str
    text: str
    at: datetime
    status: str
    error: str

    @property
    def digest(self) -> bytes | None:
        return digest(self.route.account, self.mid) if self.mid else None


class Mover:
    """Moves messages, a batch in one transaction. What is here already stays as it is."""

    def __init__(self, source: Source, routes: Routes, report: Report):
        self.source, self.routes, self.report = source, routes, report
        self.seen: set[Key] = set()
        self.now = timezone.now()

    def move_sends(self) -> Iterator[int]:
        """Those that the predecessor's API took. Before the others: their echoes find them."""
        for rows in self.source.batches("crm_outbound_messages"):
            sends = []
            for row in rows:
                try:
                    sends.append(self._send(row))
                except Lost as exc:
                    self.report.leave(COUNTED["sent_by_api"], str(exc), text(row["id"]))
            self._write("sent_by_api", sends, [])
            yield len(rows)

    def move_messages(self) -> Iterator[int]:
        for rows in self.source.batches("messages"):
            sends, told = [], []
            for row in rows:
                try:
                    self._sort(row, sends, told)
                except Lost as exc:
                    self.report.leave("messages", str(exc), text(row["id"]))
            self._write("messages", sends, told)
            yield len(rows)

    # --- Rows of the file -----------------------------------------------------------------------

    def _send(self, row: Row) -> Send:
        mid, public_id = text(row["instagram_message_id"]), text(row["id"])
        if not public_id or len(public_id) > 32 or len(mid) > MAX_MID:
            raise Lost(NO_ID)
        at = moment(row["created_at"])
        return _send(self.routes.of_send(row), public_id, mid, row, at, row["status"])

    def _sort(self, row: Row, sends: list[Send], told: list[Told]) -> None:
        """What went well comes along as if Instagram told of it; what did not is ours alone."""
        mid = text(row["id"])
        if not mid or len(mid) > MAX_MID:
            raise Lost(NO_ID)
        route = self.routes.of_message(row)
        at = moment(row["timestamp"]) or moment(row["created_at"])
        is_own = mid.startswith(OWN) and len(mid) <= 32
        if route.is_out and (is_own or text(row["delivery_status"]) in ("failed", "pending")):
            public_id, mid = (mid, "") if is_own else ("", mid)
            sends.append(_send(route, public_id, mid, row, at, row["delivery_status"]))
        elif at is None:
            raise Lost(NO_TIME)
        else:
            told.append(self._told(route, mid, row, at))

    def _told(self, route: Route, mid: str, row: Row, at: datetime) -> Told:
        own = route.account.instagram_account_id
        event = Event(
            Kind.ECHO if route.is_out else Kind.MESSAGE,
            entry=own,
            sender=own if route.is_out else route.igsid,
            recipient=route.igsid if route.is_out else own,
            timestamp=at,
            mid=mid,
            text=text(row["message_text"]),
        )
        # Old: no rule answers, no CRM is told, nothing becomes unread.
        return Told(
            event, route.account.pk, route.igsid, digest(route.account, mid), self.now, is_old=True
        )

    # --- Rows here --------------------------------------------------------------------------------

    def _write(self, thing: str, sends: list[Send], told: list[Told]) -> None:
        # A dry run keeps nobody from writing.
        with nullcontext() if self.report.is_dry else transaction.atomic():
            new_sends = self._new_sends(sends)
            known = self._known(told)
            new = {one.digest for one in told} - known
            self.report.count(thing, "new", len(new_sends) + len(new))
            self.report.count(thing, "here", len(sends) - len(new_sends) + len(told) - len(new))
            keys = {(one.route.account.pk, one.route.igsid) for one in new_sends}
            keys |= {(one.account_id, one.igsid) for one in told if one.digest in new}
            self._open_conversations(keys)
            if not self.report.is_dry:
                _add(new_sends)
                # What is here is not told again: the file knows less of it than a webhook.
                wanted = new | _awaiting_echo(known)
                projection.project([one for one in told if one.digest in wanted])

    def _known(self, told: list[Told]) -> set[bytes]:
        known = _known({one.digest for one in told})
        if self.report.is_dry:  # The echoes of what `move_sends` would have brought.
            by_mid = {one.event.mid: one for one in told}
            marks = ", ".join("?" * len(by_mid))
            where = f"WHERE instagram_message_id IN ({marks})"
            for row in self.source.rows("crm_outbound_messages", where, sorted(by_mid)):
                one = by_mid[text(row["instagram_message_id"])]
                account = self.routes.accounts.get(text(row["account_id"]))
                if account and account.pk == one.account_id:
                    known.add(one.digest)
        return known

    def _new_sends(self, sends: list[Send]) -> list[Send]:
        """Without those that are here, by either id."""
        ids = Message.objects.filter(public_id__in={one.public_id for one in sends})
        here = set(ids.values_list("public_id", flat=True))
        digests = _known({one.digest for one in sends if one.mid})
        new = []
        for one in sends:
            if one.public_id not in here and one.digest not in digests:
                new.append(one)
                here |= {one.public_id} - {""}
                digests |= {one.digest} - {None}
        return new

    def _open_conversations(self, keys: set[Key]) -> None:
        """Begin those that are not here, with the name that the file has for the customer."""
        keys -= self.seen
        if not keys:
            return
        self.seen |= keys
        rows = Conversation.objects.filter(
            account__in={account for account, _ in keys}, igsid__in={igsid for _, igsid in keys}
        )
        missing = sorted(keys - set(rows.values_list("account", "igsid")))
        self.report.count("conversations", "new", len(missing))
        self.report.count("conversations", "here", len(keys) - len(missing))
        if self.report.is_dry or not missing:
            return
        people = self._people({igsid for _, igsid in missing})
        Conversation.objects.bulk_create(
            (
                Conversation(account_id=account, igsid=igsid, **people.get(igsid, {}))
                for account, igsid in missing
            ),
            ignore_conflicts=True,
        )

    def _people(self, igsids: set[str]) -> dict[str, dict[str, object]]:
        """Who the predecessor asked Instagram for is not asked for again before they write."""
        marks = ", ".join("?" * len(igsids))
        rows = self.source.rows(
            "instagram_profiles", f"WHERE sender_id IN ({marks})", sorted(igsids)
        )
        return {
            text(row["sender_id"]): {
                "username": text(row["username"]).removeprefix("@")[:255],
                "person_told_at": self.now,
            }
            for row in rows
        }


def digest(account: Account, mid: str) -> bytes:
    return mid_digest(account.instagram_account_id, mid)


def _send(
    route: Route, public_id: str, mid: str, row: Row, at: datetime | None, said: object
) -> Send:
    if at is None:
        raise Lost(NO_TIME)
    status, error = _outcome(text(said), text(row["error_code"]), text(row["error_message"]), mid)
    return Send(route, public_id, mid, text(row["message_text"]), at, status, error)


def _outcome(said: str, code: str, reason: str, mid: str) -> tuple[str, str]:
    """What waited there is not sent from here: it may have gone out, and is old by now."""
    if said == "pending" or code == "server_restart":
        return (Status.SENT, "") if mid else (Status.UNCONFIRMED, NOT_KNOWN)
    if said == "failed":
        return Status.FAILED, f"{FAILED} {reason}".strip()
    return Status.SENT, ""


def _known(digests: set[bytes]) -> set[bytes]:
    rows = Message.objects.filter(mid_digest__in=digests)
    return {bytes(found) for found in rows.values_list("mid_digest", flat=True)}


def _awaiting_echo(digests: set[bytes]) -> set[bytes]:
    """Of messages that `_add` wrote, and of which Instagram's own time is not known yet."""
    rows = Message.objects.filter(
        mid_digest__in=digests, is_from_here=True, timestamp=F("called_at")
    )
    return {bytes(found) for found in rows.values_list("mid_digest", flat=True)}


def _add(sends: list[Send]) -> None:
    """Each in its conversation, whose times move forward as with every other message."""
    if not sends:
        return
    keys = {(one.route.account.pk, one.route.igsid) for one in sends}
    rows = Conversation.objects.filter(
        account__in={account for account, _ in keys}, igsid__in={igsid for _, igsid in keys}
    )
    locked = Conversation.objects.lock(rows.values_list("pk", flat=True))
    by_key = {(row.account_id, row.igsid): row for row in locked}
    touched = [by_key[key] for key in keys]
    for conversation in touched:
        conversation.change += 1
    messages = [_message(one, by_key[one.route.account.pk, one.route.igsid]) for one in sends]
    for message in messages:
        last = message.conversation.last_message_at
        message.conversation.last_message_at = max(last or message.timestamp, message.timestamp)
    Message.objects.bulk_create(messages)
    Conversation.objects.write(touched, ["change", "last_message_at"])


def _message(one: Send, conversation: Conversation) -> Message:
    return Message(
        **({"public_id": one.public_id} if one.public_id else {}),
        account_id=conversation.account_id,
        conversation=conversation,
        direction=Direction.OUT,
        status=one.status,
        mid=one.mid,
        mid_digest=one.digest,
        text=one.text,
        timestamp=one.at,
        called_at=one.at,
        is_from_here=True,
        error=one.error,
        change=conversation.change,
        due_at=None,
    )
