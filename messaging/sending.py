"""Answers: written down first, sent at most once, and honest about what became of them."""

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid5

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from accounts.instagram_errors import (
    InstagramError,
    NoAnswer,
    NotSent,
    RateLimited,
    TokenRejected,
    Withheld,
)
from accounts.models import Account, TokenUnreadable, User

from . import crm_events, erasure, media, projection, wire
from .models import Conversation, Message
from .queues import LEASE, ParallelDrain

logger = logging.getLogger(__name__)

Status = Message.Status

MAX_BYTES = 1000
"""Instagram counts UTF-8 bytes, not characters (Send API, 4.1)."""

GIVE_UP = timedelta(hours=24)
NOT_CONFIRMED = "Instagram did not confirm it: it may have arrived."


class ReplyRefused(Exception):
    """The reply cannot be sent as it is; the text says why. Nothing was stored."""


def queue_reply(
    conversation: Conversation, text: str, *, by: User | None = None, submission: UUID | None = None
) -> Message:
    """Write `text` down as the next message of the conversation, to be sent by a worker.

    `submission` names the form that was filled in: the same text from the same form, a second
    click, gives the message of the first. Raises ReplyRefused.
    """
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise ReplyRefused("Write something first.")
    if wire.UNSTORABLE.search(text):
        raise ReplyRefused("The text holds a character that cannot be sent.")
    if (size := len(text.encode())) > MAX_BYTES:
        raise ReplyRefused(
            f"Instagram takes at most {MAX_BYTES} bytes; this text has {size}. Letters outside "
            "the Latin alphabet and emoji count two to four each. Send it in two parts."
        )
    if not conversation.is_open:
        raise ReplyRefused(
            "The 24-hour window is closed: Instagram lets you answer again once the customer "
            "has written."
        )
    if submission:  # Another text from a form that the Back button brought back is a new message.
        submission = uuid5(submission, text)
    try:
        with transaction.atomic():
            message = Message.objects.create(
                account_id=conversation.account_id,
                conversation=conversation,
                direction=Message.Direction.OUT,
                status=Message.Status.QUEUED,
                text=text,
                timestamp=timezone.now(),
                is_from_here=True,
                written_by=by,
                submission=submission,
                change=conversation.next_change(),
            )
            Conversation.objects.filter(pk=conversation.pk).update(
                last_message_at=message.timestamp
            )
    except IntegrityError:
        return Message.objects.get(conversation=conversation, submission=submission)
    send.hint()
    return message


@ParallelDrain
def send() -> int:
    """Send the next due message; returns how many there were."""
    _stop_waiting_for_answers()
    claimed = Message.objects.claim(1)
    for message in claimed:
        try:
            _send(message)
        except Exception:  # One message must not keep the others; its lease says what comes next.
            logger.exception("message %s: not sent", message.public_id)
    return len(claimed)


def go_on(**signal: object) -> None:
    """An account was connected: what waited for that is due."""
    send.hint()


def mark(message: Message, *, arrived: bool) -> bool:
    """A person settles an unconfirmed message, having looked in the Instagram app.

    False when it was settled meanwhile, by its echo or by a colleague.
    """
    if arrived:
        return _finish(message, Status.UNCONFIRMED, Status.SENT, "")
    return _finish(message, Status.UNCONFIRMED, Status.FAILED, Message.NOT_ARRIVED)


def _send(message: Message) -> None:
    account = message.account
    if timezone.now() - message.created_at > GIVE_UP:
        _finish(message, Status.QUEUED, Status.FAILED, "Given up: it waited more than 24 hours.")
        return
    try:
        client = account.client()
    except TokenUnreadable as exc:
        _requeue(message, Status.QUEUED, timedelta(seconds=60), f"Waiting: {exc}")
        return
    # Written before the call: a worker that dies now leaves a row that says "may be sent".
    now = timezone.now()
    started = {"status": Status.SENDING, "called_at": now, "due_at": now + LEASE, "error": ""}
    if not _move(message, Status.QUEUED, **started):
        return
    try:
        mid = client.send_text(message.conversation.igsid, message.text)
    except InstagramError as exc:
        _insist(partial(_not_sent, message, account, exc))
    else:
        _insist(partial(_sent, message, mid))
        if account.problem:
            account.clear_problem()


def _insist(record: Callable[[], None]) -> None:
    """Write an outcome down, even while the database is busy: nobody else knows it."""
    for pause in (0.2, 1, 5, 15):
        try:
            record()
            return
        except DatabaseError as exc:
            logger.warning("an outcome is not written yet: %s", exc)
            connection.close_if_unusable_or_obsolete()
            time.sleep(pause)
    record()


def _sent(message: Message, mid: str) -> None:
    """Instagram said yes; that holds whatever the row has become meanwhile."""
    digest = wire.mid_digest(message.account.instagram_account_id, mid)
    with transaction.atomic():
        change = message.conversation.next_change()
        ours = Message.objects.get(pk=message.pk)
        if ours.mid == mid:
            return  # Its echo was faster.
        news = [] if ours.status == Status.SENT else [ours]
        stranger = _stranger(ours, change) if ours.mid else None
        twin = Message.objects.filter(mid_digest=digest).first()
        if twin:
            _become(ours, twin, change)
        ours.mid, ours.mid_digest, ours.status = mid, digest, Status.SENT
        ours.error, ours.change, ours.due_at, ours.lease = "", change, None, None
        ours.save()
        if stranger:
            stranger.save(force_insert=True)
            news.append(stranger)
        crm_events.tell(crm_events.came(one) for one in news if not one.unsent_at)
        if ours.unsent_at:
            erasure.forget_content({digest})
        projection.tell_again(digest)


def _stranger(ours: Message, change: int) -> Message:
    """What ours was taken for: an equal text from the phone, whose echo came first."""
    return Message(
        account_id=ours.account_id,
        conversation_id=ours.conversation_id,
        direction=Message.Direction.OUT,
        status=Status.SENT,
        mid=ours.mid,
        mid_digest=ours.mid_digest,
        text=ours.text,
        timestamp=ours.timestamp,
        change=change,
        due_at=None,
    )


def _become(ours: Message, twin: Message, change: int) -> None:
    """Take over the place of the message that the echo of ours made."""
    ours.timestamp = twin.timestamp
    if twin.is_from_here:  # The echo was taken for that of an equal text before it.
        twin.mid, twin.mid_digest, twin.status = "", None, Status.UNCONFIRMED
        twin.error, twin.change = NOT_CONFIRMED, change
        twin.save(update_fields=["mid", "mid_digest", "status", "error", "change"])
        return
    # Instagram changed the text, so the echo looked like one from the phone.
    for name in ("reactions", "edit_number", "edited_at", "unsent_at"):
        setattr(ours, name, getattr(twin, name))
    if twin.unsent_at or twin.edited_at:
        ours.text = twin.text
    media.forget(twin.attachments.all())
    # What was told of it stays in the log, but for its coming: ours is told under its own id.
    twin.deliveries.exclude(type__in=crm_events.CAME).update(message=ours)
    twin.delete()


def _not_sent(message: Message, account: Account, exc: InstagramError) -> None:
    logger.warning(
        "message %s: %s (code %s/%s, trace %s)",
        message.public_id, type(exc).__name__, exc.code, exc.subcode, exc.trace,
    )  # fmt: skip
    match exc:
        case NoAnswer():
            _finish(message, Status.SENDING, Status.UNCONFIRMED, NOT_CONFIRMED)
        case NotSent():
            _requeue(message, Status.SENDING, _back_off(message), f"Trying again: {exc}")
        case RateLimited():
            delay = max(_back_off(message), timedelta(seconds=60))
            _requeue(message, Status.SENDING, delay, f"Trying again: {exc}")
        case TokenRejected() | Withheld():
            is_dead = isinstance(exc, TokenRejected)
            account.note_problem(
                Account.Problem.REVOKED if is_dead else Account.Problem.HELD, str(exc)
            )
            _requeue(message, Status.SENDING, timedelta(), f"Waiting: {exc}")
        case _:
            _finish(message, Status.SENDING, Status.FAILED, str(exc))


def _requeue(message: Message, was: str, delay: timedelta, why: str) -> None:
    due_at = timezone.now() + delay
    _move(message, was, status=Status.QUEUED, due_at=due_at, lease=None, error=why)


def _back_off(message: Message) -> timedelta:
    seconds = min(2 * 2**message.attempts, 300)
    return timedelta(seconds=seconds * random.uniform(0.8, 1.2))  # noqa: S311  (jitter, no secret)


def _stop_waiting_for_answers() -> None:
    """A worker died in mid-call. Better to ask a person than to send twice."""
    overdue = Message.objects.filter(status=Status.SENDING, due_at__lt=timezone.now())
    for message in overdue.select_related("conversation"):
        _finish(message, Status.SENDING, Status.UNCONFIRMED, NOT_CONFIRMED)


def _finish(message: Message, was: str, status: str, error: str) -> bool:
    """Nothing is left to do by itself."""
    return _move(message, was, status=status, error=error, due_at=None, lease=None)


def _move(message: Message, was: str, **changes: object) -> bool:
    """Change the row if it is still in state `was` and still ours; pages will hear of it."""
    with transaction.atomic():
        change = message.conversation.next_change()
        row = Message.objects.filter(pk=message.pk, status=was, lease=message.lease)
        if not row.update(change=change, **changes):
            return False
        if changes.get("status") in (Status.SENT, Status.FAILED):
            _tell_crms(Message.objects.select_related("conversation").get(pk=message.pk))
        return True


def _tell_crms(message: Message) -> None:
    is_sent = message.status == Status.SENT
    crm_events.tell([crm_events.came(message) if is_sent else crm_events.failed(message)])
