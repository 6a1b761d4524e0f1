"""What events make of conversations: the same rows in whatever order and number they come.

Each event moves its message or conversation one way only: content is written once, of copies that
tell different times the latest counts, the edit with the highest number wins, the latest reaction
of each side, the latest reading; taken back is taken back.
So order, copies and the number of workers do not matter.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from . import automation, matching, media, wire
from .board import ECHO_TOLERANCE, Board, Told
from .crm_events import News
from .events import CONTENT, LATER, Kind
from .models import (
    Attachment,
    Conversation,
    EventType,
    InboundEvent,
    Message,
    MissingMessage,
    State,
    WebhookEvent,
)

Status = Message.Status

GRACE = timedelta(seconds=30)
"""How long a message may come after its edit before it is asked for (3.9)."""


def project(told: list[Told]) -> list[str]:
    """Write events down, inside a transaction; returns for each why it is not shown, or "".

    A few queries for all that is new, and one for each message that was here and changes. The
    conversations stay locked until the commit, so what is told of one of them is written by one
    worker after the other.
    """
    board = Board(told)
    reasons = [""] * len(told)
    # Content first: then whatever is told of it finds it.
    for n in sorted(range(len(told)), key=lambda n: told[n].event.kind not in CONTENT):
        reasons[n] = HANDLERS[told[n].event.kind](board, told[n])
    _catch_up(board)
    board.save()
    automation.answer(board.arrived)
    return reasons


def tell_again(digests: set[bytes]) -> None:
    """Project what waits for these messages, which are here now; belongs into a transaction."""
    rows, told = _waiting_for(digests)
    if not rows:
        return
    reasons = project(told)
    _settle_waiting([row for row, reason in zip(rows, reasons, strict=True) if not reason])


def _waiting_for(digests: set[bytes]) -> tuple[list[InboundEvent], list[Told]]:
    """What was told of messages that were not here."""
    if not digests:
        return [], []
    rows = list(
        InboundEvent.objects.filter(
            mid_digest__in=digests, kind__in=LATER, state__in=[State.PENDING, State.UNHANDLED]
        )
    )
    webhooks = WebhookEvent.objects.in_bulk({row.webhook_id for row in rows})
    # Once each: a body may hold a thousand of them.
    events = {pk: wire.read(bytes(webhook.body)) for pk, webhook in webhooks.items()}
    told = [
        Told(
            events[row.webhook_id][row.position],
            row.account_id or "",
            row.igsid,
            bytes(row.mid_digest),
            webhooks[row.webhook_id].received_at,
        )
        for row in rows
    ]
    return rows, told


def _settle_waiting(rows: list[InboundEvent]) -> None:
    done = InboundEvent.objects.filter(pk__in=[row.pk for row in rows])
    done.update(state=State.PROCESSED, reason="", due_at=None, lease=None)
    WebhookEvent.objects.filter(pk__in={row.webhook_id for row in rows}).sum_up()


def _catch_up(board: Board) -> None:
    """Apply what was told of the messages before they came, or before their mid was known."""
    came = {*board.new, *board.named}
    rows, told = _waiting_for(came)
    done = [
        row
        for row, one in zip(rows, told, strict=True)
        if one.event.kind in LATER and not HANDLERS[one.event.kind](board, one)
    ]
    if done:
        _settle_waiting(done)


# --- One function per kind ------------------------------------------------------------------------


def _content(board: Board, told: Told) -> str:
    """A message, an echo or a postback. The first copy wins."""
    event, digest = told.event, told.digest
    conversation = board.by_key[told.account_id, told.igsid]
    message = board.messages.get(digest)
    if message is None and event.kind == Kind.ECHO:
        message = _our_own(board, told)
    if message is None:
        message = board.messages[digest] = board.new[digest] = _new(conversation, told)
        board.touch(message)
        board.attachments += [
            media.attachment(message, position, item)
            for position, item in enumerate(event.attachments)
        ]
        if not told.is_old:
            board.tell_came(message)
            if not message.is_out:
                conversation.last_inbound_change = board.note(conversation)
                board.arrived.append(message)
    elif message.unsent_at:
        board.unsent.add(digest)  # Its body came late, and must not stay.
    elif message.is_from_here and event.kind == Kind.ECHO:
        _confirm(board, message, told)
    elif message.context.get("read_back") and not event.context.get("read_back"):
        _complete(board, message, told)
    # Our own have the time of their echo (_confirm).
    if not message.is_from_here and told.moment > message.timestamp:
        message.timestamp = told.moment
        board.touch(message)
    _note_times(board, conversation, message)
    if not message.is_out:
        _note_wish(conversation, event.text or "", told.moment)
    if referral := event.context.get("referral"):
        _came_by(board, conversation, referral, told.moment)
    return ""


def _edit(board: Board, told: Told) -> str:
    """The edit with the highest number stands. Those without a text tell nothing new (3.9)."""
    event, message = told.event, board.messages.get(told.digest)
    if message is None:
        if _is_to_oneself(told.digest):
            return InboundEvent.NOT_HERE
        board.missing.append(
            MissingMessage(
                account_id=told.account_id,
                mid=event.mid,
                mid_digest=told.digest,
                due_at=told.received_at + GRACE,
            )
        )
        return InboundEvent.NOT_HERE
    if message.unsent_at:
        board.unsent.add(told.digest)
    elif event.text is not None:
        rank = (event.number, told.moment, event.text)
        if message.edited_at is None or rank > _rank(message):
            message.edit_number, message.edited_at, message.text = rank
            board.touch(message)
            board.tell(EventType.EDITED, message, told)
    return ""


def _is_to_oneself(digest: bytes) -> bool:
    return InboundEvent.objects.filter(mid_digest=digest, kind=Kind.SELF).exists()


def _rank(message: Message) -> tuple[int, datetime, str]:
    return message.edit_number, message.edited_at, message.text


def _unsend(board: Board, told: Told) -> str:
    """Nothing of what it said may stay, here or in the ledger (9.3)."""
    message = board.messages.get(told.digest)
    board.unsent.add(told.digest)
    if message is None:
        return InboundEvent.NOT_HERE
    is_earlier = message.unsent_at and told.moment < message.unsent_at
    if message.unsent_at is None or (is_earlier and not told.event.is_scrubbed):
        message.unsent_at = told.moment
        message.text, message.error = "", ""
        message.context, message.reactions, message.quick_replies = {}, {}, []
        message.edit_number, message.edited_at = 0, None
        if message.pk is None:
            board.attachments = [one for one in board.attachments if one.message is not message]
        board.touch(message)
        board.tell(EventType.DELETED, message, told)
    return ""


def _reaction(board: Board, told: Told) -> str:
    """One per person and message; a later one replaces it, and so does taking it back."""
    event, message = told.event, board.messages.get(told.digest)
    if message is None:
        return InboundEvent.NOT_HERE
    side = event.sender or told.igsid
    at = int(told.moment.timestamp() * 1000)
    known = message.reactions.get(side, {"at": 0, "emoji": ""})
    if not message.unsent_at and (at, event.emoji) > (known["at"], known["emoji"]):
        message.reactions[side] = {"emoji": event.emoji, "at": at}
        board.touch(message)
        by = "customer" if side == board.conversation(message).igsid else "account"
        board.tell(EventType.REACTION, message, told, reaction={"emoji": event.emoji, "by": by})
    return ""


def _seen(board: Board, told: Told) -> str:
    """The customer has read all that was there at that moment."""
    conversation = board.by_key[told.account_id, told.igsid]
    if conversation.seen_at is None or told.moment > conversation.seen_at:
        conversation.seen_at = told.moment
        board.note(conversation)
        board.news.append(News(EventType.READ, conversation, at=told.moment))
    return ""


def _referral(board: Board, told: Told) -> str:
    conversation = board.by_key[told.account_id, told.igsid]
    _came_by(board, conversation, told.event.context["referral"], told.moment)
    return ""


def _kept(board: Board, told: Told) -> str:
    return told.event.note


HANDLERS: dict[Kind, Callable[[Board, Told], str]] = {
    **dict.fromkeys(Kind, _kept),
    **dict.fromkeys(CONTENT, _content),
    Kind.EDIT: _edit,
    Kind.UNSEND: _unsend,
    Kind.REACTION: _reaction,
    Kind.SEEN: _seen,
    Kind.REFERRAL: _referral,
}
NEED_A_PARTICIPANT = {*CONTENT, Kind.SEEN, Kind.REFERRAL}


# --- What they share ------------------------------------------------------------------------------


def _new(conversation: Conversation, told: Told) -> Message:
    event = told.event
    is_out = event.kind == Kind.ECHO
    return Message(
        account_id=conversation.account_id,
        conversation=conversation,
        direction=Message.Direction.OUT if is_out else Message.Direction.IN,
        status=Status.SENT if is_out else Status.RECEIVED,
        mid=event.mid,
        mid_digest=told.digest,
        text=event.text or "",
        context=event.context,
        timestamp=told.moment,
        due_at=None,
    )


def _our_own(board: Board, told: Told) -> Message | None:
    """The send that this echo belongs to, when Instagram's answer to it has not been seen (yet).

    The echo may overtake the answer, or be all that comes after a crash, even after a person has
    settled the message. It carries no mark of ours, so what it says and the time have to tell.
    """
    conversation = board.by_key[told.account_id, told.igsid]
    said = (told.event.text or "").strip(), [item.kind for item in told.event.attachments]
    equal = [
        message
        for message in board.own
        if (message.text.strip(), [one.kind for one in message.attachments.all()]) == said
        and message.conversation_id == conversation.pk
        and abs(message.called_at - told.moment) <= ECHO_TOLERANCE
    ]
    if not equal:
        return None
    # The one under way rather than one of before, and then the nearest.
    found = min(
        equal, key=lambda m: (m.status != Status.SENDING, abs(m.called_at - told.moment), m.pk)
    )
    board.own.remove(found)
    board.messages[told.digest] = found
    board.named.add(told.digest)
    return found


def _confirm(board: Board, message: Message, told: Told) -> None:
    """Our own message as Instagram has it: sent, under this id, at this time."""
    # What is read back knows whole seconds only: of our own messages we know more.
    moment = message.timestamp if told.event.context.get("read_back") else told.moment
    if (message.status, message.timestamp, message.mid) == (
        Status.SENT, moment, told.event.mid
    ):  # fmt: skip
        return
    if message.status != Status.SENT:
        board.tell_came(message)
    message.mid, message.mid_digest = told.event.mid, told.digest
    message.status, message.error, message.error_code = Status.SENT, "", ""
    message.timestamp = moment
    message.due_at = message.lease = None
    board.touch(message)


def _complete(board: Board, message: Message, told: Told) -> None:
    """The webhook of a message that was read back before it came: it tells more, and counts."""
    event = told.event
    message.context = event.context
    if message.edited_at is None:
        message.text = event.text or ""
    board.touch(message)
    if not told.is_old:
        board.tell_came(message)  # It may have been told when it was read back.
    stored = Attachment.objects.filter(message__mid_digest=told.digest)
    waiting = [one for one in board.attachments if one.message is message]
    if [one.kind for one in (*stored, *waiting)] != [item.kind for item in event.attachments]:
        media.forget(stored)
        board.attachments = [one for one in board.attachments if one.message is not message]
        board.attachments += [
            media.attachment(message, position, item)
            for position, item in enumerate(event.attachments)
        ]


def _note_times(board: Board, conversation: Conversation, message: Message) -> None:
    """Times only move forward; an echo never opens the window."""
    last, inbound = conversation.last_message_at, conversation.last_inbound_at
    conversation.last_message_at = _later(last, message.timestamp)
    if not message.is_out:
        conversation.last_inbound_at = _later(inbound, message.timestamp)
    if (last, inbound) != (conversation.last_message_at, conversation.last_inbound_at):
        board.note(conversation)


def _note_wish(conversation: Conversation, text: str, moment: datetime) -> None:
    """The customer wants no automatic replies, or wants them again."""
    if matching.is_stop(text):
        conversation.stopped_at = _later(conversation.stopped_at, moment)
    elif matching.is_start(text):
        conversation.started_at = _later(conversation.started_at, moment)


def _came_by(
    board: Board, conversation: Conversation, referral: dict[str, Any], moment: datetime
) -> None:
    rank = (moment, sorted(referral.items()))
    if conversation.referral_at is None or rank > (
        conversation.referral_at, sorted(conversation.referral.items())
    ):  # fmt: skip
        conversation.referral, conversation.referral_at = referral, moment
        board.note(conversation)


def _later(a: datetime | None, b: datetime) -> datetime:
    return b if a is None or b > a else a
