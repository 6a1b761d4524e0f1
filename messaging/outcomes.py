"""What became of a send, written down: sent under Instagram's id, failed, or not confirmed."""

from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from . import crm_events, erasure, media, projection
from .events import mid_digest
from .models import Conversation, Message

Status = Message.Status

NOT_CONFIRMED = "Instagram did not confirm it: it may have arrived."
NOT_FOUND = (
    "Instagram did not confirm it, and the conversation does not hold it: it has probably not "
    "arrived."
)
FIELDS = [
    "mid", "mid_digest", "status", "text", "error", "error_code", "timestamp", "change",
    "due_at", "lease", "reactions", "quick_replies", "edit_number", "edited_at", "unsent_at",
]  # fmt: skip
TOLD_AS = {Status.SENT: crm_events.came, Status.FAILED: crm_events.failed}
FIRST_LOOK = timedelta(seconds=30)
"""How long an echo has to settle what is not confirmed, before the conversation is read."""


def sent(answers: list[tuple[Message, str]]) -> None:
    """Instagram said yes, and gave these mids; that holds whatever the rows have become meanwhile.

    Belongs into a transaction, for one message of a conversation at a time.
    """
    if not answers:
        return
    conversations = Conversation.objects.lock(message.conversation_id for message, _ in answers)
    changes = {row.pk: row for row in conversations}
    rows = Message.objects.in_bulk([message.pk for message, _ in answers])
    mids = {
        mid_digest(message.account.instagram_account_id, mid): (rows[message.pk], mid)
        for message, mid in answers
    }
    # An echo may have been faster, and found ours, or none, or another one of ours.
    twins = {bytes(row.mid_digest): row for row in Message.objects.filter(mid_digest__in=mids)}
    named, news = [], []
    for digest, (ours, mid) in mids.items():
        if ours.mid == mid:
            continue
        if ours.status != Status.SENT:
            news.append(ours)
        conversation = changes[ours.conversation_id]
        conversation.change += 1
        if stranger := _name(ours, mid, digest, twins.get(digest), conversation.change):
            news.append(stranger)
        named.append(ours)
    crm_events.tell(crm_events.came(one) for one in news if not one.unsent_at)
    Conversation.objects.write(list(changes.values()), ["change"])
    if unsent := {bytes(ours.mid_digest) for ours in named if ours.unsent_at}:
        erasure.forget_content(unsent)
    projection.tell_again({bytes(ours.mid_digest) for ours in named})


def _name(
    ours: Message, mid: str, digest: bytes, twin: Message | None, change: int
) -> Message | None:
    """Give our message the id that Instagram gave it; returns what it had been taken for."""
    stranger = _stranger(ours, change) if ours.mid else None
    if twin:
        _become(ours, twin, change)
    ours.mid, ours.mid_digest, ours.status = mid, digest, Status.SENT
    ours.error, ours.error_code = "", ""
    ours.change, ours.due_at, ours.lease = change, None, None
    Message.objects.write([ours], FIELDS)
    if stranger:
        stranger.save(force_insert=True)
    return stranger


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
        twin.due_at = timezone.now() + FIRST_LOOK
        twin.save(update_fields=["mid", "mid_digest", "status", "error", "change", "due_at"])
        return
    # Instagram changed the text, so the echo looked like one from the phone.
    for name in ("reactions", "edit_number", "edited_at", "unsent_at"):
        setattr(ours, name, getattr(twin, name))
    if twin.unsent_at or twin.edited_at:
        ours.text = twin.text
    if twin.unsent_at:
        ours.quick_replies = []
    media.forget(twin.attachments.all())
    # What was told of it stays in the log, but for its coming: ours is told under its own id.
    twin.deliveries.exclude(type__in=crm_events.CAME).update(message=ours)
    twin.delete()


def failed(message: Message, error: str, code: str = "") -> bool:
    """Nothing of it will be sent any more."""
    return move(message, Status.SENDING, **_over(Status.FAILED, error, code))


def unconfirmed(message: Message, why: str = NOT_CONFIRMED) -> bool:
    """It may have been sent: never again by itself. The conversation is looked at in a while."""
    changes = _over(Status.UNCONFIRMED, why) | {"due_at": timezone.now() + FIRST_LOOK}
    return move(message, Status.SENDING, attempts=0, **changes)


def requeue(
    message: Message, delay: timedelta, why: str, code: str = "", **changes: object
) -> bool:
    """Nothing was sent: it is tried again after `delay`."""
    changes |= _over(Status.QUEUED, why, code) | {"due_at": timezone.now() + delay}
    return move(message, Status.SENDING, **changes)


def mark(message: Message, *, arrived: bool) -> bool:
    """A person settles an unconfirmed message, having looked in the Instagram app.

    False when it was settled meanwhile, by its echo or by a colleague.
    """
    changes = _over(Status.SENT, "") if arrived else _over(Status.FAILED, Message.NOT_ARRIVED)
    row = Message.objects.filter(pk=message.pk, status=Status.UNCONFIRMED)
    return _change(message, row, changes)


def move(message: Message, was: str, **changes: object) -> bool:
    """Change the row if it is still in state `was` and still ours; pages will hear of it."""
    row = Message.objects.filter(pk=message.pk, status=was, lease=message.lease)
    return _change(message, row, changes)


def _change(message: Message, row: QuerySet[Message], changes: dict[str, object]) -> bool:
    with transaction.atomic():
        change = message.conversation.next_change()
        if not row.update(change=change, **changes):
            return False
        if tell := TOLD_AS.get(changes.get("status")):
            now = Message.objects.select_related("conversation").get(pk=message.pk)
            crm_events.tell([tell(now)])
        return True


def _over(status: str, error: str, code: str = "") -> dict[str, object]:
    return {"status": status, "error": error, "error_code": code, "due_at": None, "lease": None}
