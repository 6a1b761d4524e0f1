"""Names of those who write, asked of Instagram by the worker and kept."""

import logging
from datetime import timedelta

from django.utils import timezone

from accounts.instagram_errors import InstagramError, TokenRejected
from accounts.models import Account, TokenUnreadable

from .models import Conversation
from .queues import Drain

logger = logging.getLogger(__name__)

BATCH = 10
AGAIN = timedelta(days=1)


@Drain
def ask() -> int:
    """Ask for the names of a batch of conversations that have none; returns how many.

    A refusal (no consent, a reviewer's account, somebody who blocked the shop) leaves the
    placeholder and says nothing about the token, unless Instagram says so (5.4 and 7.2).
    """
    now = timezone.now()
    nameless = Conversation.objects.filter(username="", name="").exclude(
        person_asked_at__gt=now - AGAIN
    )
    askable = nameless.filter(account__in=Account.objects.worth_trying())
    batch = list(askable.select_related("account").order_by("-pk")[:BATCH])
    for conversation in batch:
        # Written before asking: a failure is not repeated at once, nor by another worker.
        mine = nameless.filter(pk=conversation.pk).update(person_asked_at=now)
        if mine:
            _ask(conversation)
    return len(batch)


def _ask(conversation: Conversation) -> None:
    account = conversation.account
    try:
        person = account.client().person(conversation.igsid)
    except TokenRejected as exc:
        account.note_problem(Account.Problem.REVOKED, str(exc))
    except (InstagramError, TokenUnreadable) as exc:
        logger.info("conversation %s: no name yet (%s)", conversation.pk, type(exc).__name__)
    else:
        conversation.note_person(person.username, person.name)
