"""Tells users of an API key that ends soon, while a program uses it and would fall silent."""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from . import notices
from .models import ApiKey, ApiKeyQuerySet

logger = logging.getLogger(__name__)

AGAIN = timedelta(days=1)
"""So long before the end they are told once more: the first mail may be overlooked, or lost."""

LATELY = timedelta(days=7)
"""What was not used for so long has been replaced already."""


def due() -> ApiKeyQuerySet:
    """Keys that end soon, are in use, and of which their users have not heard the latest."""
    now = timezone.now()
    last_day = Q(expires_at__lte=now + AGAIN, end_told_at__lt=F("expires_at") - AGAIN)
    in_use = ApiKey.objects.ending().filter(last_used_at__gt=now - LATELY)
    return in_use.filter(Q(end_told_at=None) | last_day).select_related("user")


def send() -> int:
    """Tell what is new: once each, in the log and, where it is configured, by mail.

    Of what no mail could tell, because the mail server was out of reach, the next look tells
    again. Returns of how many keys it told.
    """
    now = timezone.now()
    with transaction.atomic():
        told = [key for key in due() if _take(key, now)]
        for key in told:  # Before the mails: for those a worker may wait, and be stopped.
            text = "API key %s of user %s is in use and ends on %s: a new one has to take its place"
            logger.warning(text, key.pk, key.user_id, f"{key.expires_at:%Y-%m-%d %H:%M} UTC")
        notices.keys_end(
            told, lambda unheard: _put_back([key for key in told if str(key.pk) in unheard], now)
        )
    return len(told)


def _take(key: ApiKey, now: datetime) -> bool:
    """One worker tells it, and remembers before it does: a crash repeats no mail."""
    seen = ApiKey.objects.filter(pk=key.pk, end_told_at=key.end_told_at)
    return seen.update(end_told_at=now) == 1


def _put_back(keys: list[ApiKey], taken_at: datetime) -> None:
    """Nobody was told of these."""
    for key in keys:
        mine = ApiKey.objects.filter(pk=key.pk, end_told_at=taken_at)
        mine.update(end_told_at=key.end_told_at)
