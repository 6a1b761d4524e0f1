"""What Instagram tells when it is asked, as the events that webhooks would have been.

It tells less: whole seconds, nothing of buttons and ads, of a shared post the link at most. So the
context of such a message has `read_back`, and a webhook of it, should one come, completes it.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from django.utils import timezone

from accounts.instagram_conversations import PastMessage
from accounts.models import Account

from . import wire
from .board import Told
from .events import MAX_ID, MAX_MID, UNSTORABLE, AttachmentEvent, Event, Kind, mid_digest


def tell_all(
    account: Account, past: Iterable[PastMessage], *, is_answered: bool = False
) -> list[Told]:
    """What messages of one conversation tell, which come the newest first.

    `is_answered` when one newer than these is the account's.
    """
    told = []
    for one in past:
        is_answered = is_answered or one.sender == account.instagram_account_id
        told += tell(account, one, is_answered=is_answered)
    return told


def tell(account: Account, past: PastMessage, *, is_answered: bool = False) -> list[Told]:
    """The message and the reactions to it; nothing when it cannot be placed.

    It is no news when the account has answered since, or was not even linked at the time.
    """
    own = account.instagram_account_id
    other = past.recipient if past.sender == own else past.sender
    is_ours = own in (past.sender, past.recipient) and other not in ("", own)
    if not is_ours or past.at is None or not _is_storable(past.mid, other):
        return []
    # Whole seconds: of the one in which it was linked, nobody knows.
    is_old = is_answered or past.at <= account.linked_at - timedelta(seconds=1)
    digest, now = mid_digest(own, past.mid), timezone.now()
    return [Told(event, account.pk, other, digest, now, is_old) for event in _events(account, past)]


def is_empty(told: Told) -> bool:
    """Whether no more is known of a message than that there was one."""
    return any(one.kind in ("unknown", "unsupported") for one in told.event.attachments)


def _events(account: Account, past: PastMessage) -> Iterator[Event]:
    own = account.instagram_account_id
    routing = {"entry": own, "timestamp": past.at, "mid": past.mid}
    story = {"story": _storable(past.story)} if past.story else {}
    yield Event(
        Kind.ECHO if past.sender == own else Kind.MESSAGE,
        sender=past.sender,
        recipient=past.recipient,
        text=_storable(past.text),
        attachments=tuple(_attachments(past)),
        context={"read_back": True, **story},
        **routing,
    )
    for who, reaction in past.reactions:
        # When it was made is not told. Any that a webhook brought is later than the message.
        yield Event(Kind.REACTION, sender=who, emoji=_emoji(reaction), **routing)


def _attachments(past: PastMessage) -> Iterator[AttachmentEvent]:
    if past.is_unsupported:
        yield AttachmentEvent("unsupported")
    for file in past.files[: wire.MAX_ATTACHMENTS]:
        yield AttachmentEvent(file.kind, _storable(file.url), _storable(file.title))
    if not (past.text or past.files or past.is_unsupported):
        yield AttachmentEvent("unknown")  # Shared posts and hearts are not readable afterwards.


def _emoji(reaction: str) -> str:
    is_name = reaction.isascii()
    return wire.EMOJI.get(reaction, "❤️") if is_name else _storable(reaction)[:16]


def _is_storable(mid: str, igsid: str) -> bool:
    is_short = len(mid) <= MAX_MID and len(igsid) <= MAX_ID
    return is_short and not UNSTORABLE.search(mid + igsid)


def _storable(text: str) -> str:
    return UNSTORABLE.sub("\ufffd", text)
