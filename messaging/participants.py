"""Names of those who write, asked of Instagram by the worker and kept."""

import logging
from datetime import timedelta

from django.utils import timezone

from accounts.instagram_errors import InstagramError
from accounts.models import TokenUnreadable

from .models import Conversation
from .queues import Drain

logger = logging.getLogger(__name__)

BATCH = 10
AGAIN = timedelta(days=1)


@Drain
def ask() -> int:
    """Ask for the names of a batch of conversations that have none; returns how many.

    A refusal (no consent, a reviewer's account, somebody who blocked the shop) leaves the
    placeholder and never says anything about the token (Instagram profiles, 5.4).
    """
    now = timezone.now()
    nameless = Conversation.objects.filter(username="", name="").exclude(
        person_asked_at__gt=now - AGAIN
    )
    sending = nameless.filter(account__problem="", account__access_token__isnull=False)
    batch = list(sending.select_related("account").order_by("-pk")[:BATCH])
    # Written before asking: a failure is not repeated at once.
    Conversation.objects.filter(pk__in=[c.pk for c in batch]).update(person_asked_at=now)
    for conversation in batch:
        _ask(conversation)
    return len(batch)


def _ask(conversation: Conversation) -> None:
    try:
        person = conversation.account.client().person(conversation.igsid)
    except (InstagramError, TokenUnreadable) as exc:
        logger.info("conversation %s: no name yet (%s)", conversation.pk, type(exc).__name__)
        return
    conversation.note_person(person.username, person.name)
