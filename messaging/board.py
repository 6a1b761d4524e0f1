"""The rows that a few events are about: loaded and locked together, changed, and saved together."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Q

from . import crm_events, erasure, media, participants
from .crm_events import News
from .events import Event, Kind
from .models import Attachment, Conversation, EventType, Message, MissingMessage

Status = Message.Status
Key = tuple[str, str]  # account id, igsid

ECHO_TOLERANCE = timedelta(minutes=15)
"""How far the echo of a send whose answer we missed may lie from the moment of the call."""

CONVERSATION_FIELDS = [
    "change", "last_message_at", "last_inbound_at", "last_inbound_change", "seen_at",
    "referral", "referral_at", "stopped_at", "started_at",
]  # fmt: skip
MESSAGE_FIELDS = [
    "mid", "mid_digest", "status", "text", "error", "error_code", "timestamp", "change",
    "due_at", "lease", "context", "reactions", "quick_replies", "edit_number", "edited_at",
    "unsent_at",
]  # fmt: skip


class Told(NamedTuple):
    """An event, and where it belongs. `igsid` is empty when the event does not say.

    `is_old` for a message that is no news to anybody: nobody is told of it.
    """

    event: Event
    account_id: str
    igsid: str
    digest: bytes | None
    received_at: datetime
    is_old: bool = False

    @property
    def moment(self) -> datetime:
        """When it happened by Instagram's clock, unless that says tomorrow."""
        moment = self.event.timestamp
        if moment is None or moment > self.received_at + timedelta(days=1):
            return self.received_at
        return moment


class Board:
    """The rows that a few events are about, as they are and as they shall be."""

    def __init__(self, told: list[Told]):
        self.conversations: dict[int, Conversation] = {}
        self._lock_those_of({t.digest for t in told if t.digest and not t.igsid})
        self.by_key = self._conversations({(t.account_id, t.igsid) for t in told if t.igsid})
        digests = {t.digest for t in told if t.digest}
        self.messages = {
            bytes(m.mid_digest): m for m in Message.objects.filter(mid_digest__in=digests)
        }
        self.new: dict[bytes, Message] = {}
        self.arrived: list[Message] = []
        self.named: set[bytes] = set()
        self.moved: set[int] = set()
        self.attachments: list[Attachment] = []
        self.changed: dict[int, Message] = {}
        self.unsent: set[bytes] = set()
        self.missing: list[MissingMessage] = []
        self.news: list[News] = []
        self.own = self._own(told)

    def _conversations(self, keys: set[Key]) -> dict[Key, Conversation]:
        """Each conversation, made if need be, and locked; in one order, so that no two workers
        wait for each other."""
        found = self._lock(keys)
        if missing := sorted(keys - found.keys()):
            rows = [Conversation(account_id=account, igsid=igsid) for account, igsid in missing]
            Conversation.objects.bulk_create(rows, ignore_conflicts=True)
            found |= self._lock(set(missing))
            participants.ask.hint()
        return found

    def _lock(self, keys: set[Key]) -> dict[Key, Conversation]:
        accounts, igsids = {a for a, _ in keys}, {i for _, i in keys}
        rows = Conversation.objects.filter(account__in=accounts, igsid__in=igsids)
        rows = rows.select_for_update(no_key=True).order_by("pk")
        found = {(row.account_id, row.igsid): row for row in rows}
        self.conversations |= {row.pk: row for key, row in found.items() if key in keys}
        return {key: row for key, row in found.items() if key in keys}

    def _lock_those_of(self, digests: set[bytes]) -> None:
        """The conversations of messages about which something is told without saying whose."""
        if digests:
            messages = Message.objects.filter(mid_digest__in=digests)
            rows = Conversation.objects.filter(pk__in=messages.values("conversation"))
            rows = rows.select_for_update(no_key=True).order_by("pk")
            self.conversations |= {row.pk: row for row in rows}

    def _own(self, told: list[Told]) -> list[Message]:
        """Sends whose answer has not been seen (yet): an echo may be theirs."""
        echoes = [t for t in told if t.event.kind == Kind.ECHO and t.digest not in self.messages]
        if not echoes:
            return []
        return list(
            Message.objects.filter(
                Q(status__in=[Status.SENDING, Status.UNCONFIRMED, Status.SENT])
                | Q(status=Status.FAILED, error=Message.NOT_ARRIVED),
                conversation__in={self.by_key[t.account_id, t.igsid].pk for t in echoes},
                is_from_here=True,
                mid="",
                called_at__range=(
                    min(t.moment for t in echoes) - ECHO_TOLERANCE,
                    max(t.moment for t in echoes) + ECHO_TOLERANCE,
                ),
            ).prefetch_related("attachments")
        )

    def conversation(self, message: Message) -> Conversation:
        """The message's own, locked as well; an event need not name it."""
        pk = message.conversation_id
        if pk not in self.conversations:
            rows = Conversation.objects.select_for_update(no_key=True)
            self.conversations[pk] = rows.get(pk=pk)
        return self.conversations[pk]

    def note(self, conversation: Conversation) -> int:
        """The number of what changes in it now."""
        if conversation.pk not in self.moved:
            self.moved.add(conversation.pk)
            conversation.change += 1
        return conversation.change

    def touch(self, message: Message) -> None:
        """It has changed: open pages shall hear of it."""
        message.change = self.note(self.conversation(message))
        if message.pk:
            self.changed[message.pk] = message

    def tell_came(self, message: Message) -> None:
        """Have CRMs told that the message is here, or with the customer; they are told once."""
        self.news.append(crm_events.came(message, self.conversation(message)))

    def tell(self, kind: EventType, message: Message, told: Told, **more: Any) -> None:
        """Have CRMs told of something about the message, unless it is no news."""
        if not told.is_old:
            conversation = self.conversation(message)
            self.news.append(News(kind, conversation, message, told.moment, more))

    def save(self) -> None:
        Message.objects.bulk_create(self.new.values())
        Attachment.objects.bulk_create(self.attachments)
        if any(one.due_at for one in self.attachments):
            media.fetch.hint()
        for message in self.changed.values():
            message.save(update_fields=MESSAGE_FIELDS)
        moved = [row for pk, row in self.conversations.items() if pk in self.moved]
        Conversation.objects.write(moved, CONVERSATION_FIELDS)
        if self.unsent:
            erasure.forget_content(self.unsent)
        if self.missing:
            MissingMessage.objects.bulk_create(self.missing, ignore_conflicts=True)
        crm_events.tell(self._worth_telling())

    def _worth_telling(self) -> list[News]:
        """Of a message that is taken back this alone; nothing of one that was never told of."""
        if not self.news:
            return []
        new = {message.pk for message in self.new.values()}
        told = {one.message.pk for one in self.news if one.type in crm_events.CAME}
        return [
            one
            for one in self.news
            if one.message is None
            or (one.message.pk in new & told and not one.message.unsent_at)
            or (
                one.message.pk not in new
                and (one.type == EventType.DELETED or not one.message.unsent_at)
            )
        ]
