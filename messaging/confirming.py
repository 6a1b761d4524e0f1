"""Sends that Instagram did not confirm: the conversation is read, and shows whether they came."""

import logging
import time
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.instagram import InstagramClient
from accounts.instagram_conversations import PastMessage
from accounts.instagram_errors import InstagramError
from accounts.models import TokenUnreadable

from . import outcomes, projection, read_back
from .models import Conversation, Message
from .queues import LEASE, Drain
from .recovery import PAUSE
from .walking import TOLD

logger = logging.getLogger(__name__)

LOOKS = [outcomes.FIRST_LOOK, *(timedelta(minutes=n) for n in (2, 10, 60))]
"""How long after the call the conversation is read, while the message is not found.

Once at least, however long ago the call was.
"""

AGAIN, AT_LAST = timedelta(hours=1), timedelta(days=1)
"""After the last of these it is looked for so often, and so long after the call, until the
conversation can be read: nobody has seen yet whether it is there.
"""

WAITED = (
    "It waited to be sent when the backup was made from which this site was restored: it may have "
    "been sent since."
)
"""The error of what a restore held back. It stays: when such a message went out is a guess."""


def due() -> QuerySet[Message]:
    """Unconfirmed messages whose conversation is to be read."""
    return Message.objects.filter(status=Message.Status.UNCONFIRMED, due_at__lte=timezone.now())


@Drain
def look() -> int:
    """Read the next conversation with unconfirmed messages; returns how many there were."""
    waiting = due()
    message = waiting.select_related("account").order_by("due_at").first()
    if message is None:
        return 0
    mine = waiting.filter(conversation=message.conversation_id)
    pks = list(mine.values_list("pk", flat=True))
    if not mine.filter(pk__in=pks, due_at=message.due_at).update(due_at=timezone.now() + LEASE):
        return 1  # Another worker was faster.
    conversation = message.conversation
    try:
        past = _read(message.account.client(), conversation)
    except (InstagramError, TokenUnreadable) as exc:
        logger.info("conversation %s: not read (%s)", conversation.pk, type(exc).__name__)
        _look_again(pks, conversation, read_since=None)
        return 1
    with transaction.atomic():
        projection.project(read_back.tell_all(message.account, past)[::-1])
    _look_again(pks, conversation, read_since=_reach(past))
    return 1


def _read(client: InstagramClient, conversation: Conversation) -> list[PastMessage]:
    """The latest messages, the newest first; two calls a second are Instagram's limit (8)."""
    found = client.conversations(limit=1, igsid=conversation.igsid).items
    time.sleep(PAUSE.total_seconds())
    if not found:
        return []
    past = client.messages(found[0].id, limit=TOLD).items
    time.sleep(PAUSE.total_seconds())
    return past


def _reach(past: list[PastMessage]) -> datetime:
    """The moment since which nothing is missing in what was read."""
    moments = [one.at for one in past if one.at]
    if len(past) < TOLD or not moments:
        return datetime.min.replace(tzinfo=UTC)
    return min(moments)


def _look_again(pks: list[int], conversation: Conversation, *, read_since: datetime | None) -> None:
    """Those that are not settled yet are looked for again, each a few times in all."""
    left = Message.objects.filter(pk__in=pks, status=Message.Status.UNCONFIRMED)
    for message in left:
        since = timezone.now() - message.called_at
        later = [wait for wait in LOOKS if wait > since]
        changes = {"due_at": message.called_at + later[0] if later else None}
        if read_since is None and not later and since < AT_LAST:
            changes["due_at"] = timezone.now() + AGAIN
        is_missing = read_since and read_since < message.called_at
        if is_missing and not later and message.error != WAITED:
            changes["error"] = outcomes.NOT_FOUND
        with transaction.atomic():
            change = conversation.next_change()
            left.filter(pk=message.pk).update(change=change, **changes)
