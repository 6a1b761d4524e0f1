"""Messages of which only an edit came (3.9): asked for, and then as if they had come."""

import logging
from dataclasses import replace
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.instagram_conversations import PastMessage
from accounts.instagram_errors import InstagramError, Refused, TokenRejected
from accounts.models import Account, TokenUnreadable

from . import projection, read_back
from .models import Message, MissingMessage

logger = logging.getLogger(__name__)

PAUSE = timedelta(seconds=0.5)
"""Between two calls for one account: the Conversations API takes two a second (8)."""

ATTEMPTS = 14
"""Take about a day."""


def recover_next() -> int:
    """Ask for the next missing message; returns how many there were."""
    claimed = MissingMessage.objects.claim(1)
    for missing in claimed:
        try:
            _recover(missing)
        except Exception:  # Its lease says when it is tried again.
            logger.exception("missing message %s: not recovered", missing.pk)
    return len(claimed)


def _recover(missing: MissingMessage) -> None:
    if Message.objects.filter(mid_digest=missing.mid_digest).exists():
        with transaction.atomic():  # It came after all, and maybe at the same moment.
            projection.tell_again({bytes(missing.mid_digest)})
            missing.delete()
        return
    account = missing.account
    try:
        past = account.client().message(missing.mid)
    except Refused:  # Taken back, or older than Instagram tells: nobody will know.
        _settle(missing, None)
    except TokenRejected as exc:
        account.note_problem(Account.Problem.REVOKED, str(exc))
        _put_off(missing)
    except (InstagramError, TokenUnreadable) as exc:
        logger.info("missing message %s: not told yet (%s)", missing.pk, type(exc).__name__)
        _put_off(missing)
    else:
        _settle(missing, replace(past, mid=missing.mid))


def _settle(missing: MissingMessage, past: PastMessage | None) -> None:
    with transaction.atomic():
        if past:
            projection.project(read_back.tell(missing.account, past))
        missing.delete()
        _slow_down(missing)


def _put_off(missing: MissingMessage) -> None:
    if missing.attempts >= ATTEMPTS:
        _settle(missing, None)
        return
    delay = min(timedelta(minutes=1) * 2 ** (missing.attempts - 1), timedelta(hours=3))
    with transaction.atomic():
        missing.retry_later(delay)
        _slow_down(missing)


def _slow_down(missing: MissingMessage) -> None:
    """The account's others are not due at once."""
    others = MissingMessage.objects.filter(account=missing.account_id, lease=None)
    soonest = timezone.now() + PAUSE
    others.filter(due_at__lt=soonest).update(due_at=soonest)
