"""Tells users of an API key that ends soon, while a program uses it and would fall silent."""

import logging

from django.db import transaction
from django.utils import timezone

from . import notices
from .models import ENDS_SOON, ApiKey, ApiKeyQuerySet

logger = logging.getLogger(__name__)


def due() -> ApiKeyQuerySet:
    """Keys that end soon, were used within as many days, and of which their users do not know."""
    lately = timezone.now() - ENDS_SOON
    return ApiKey.objects.ending().filter(last_used_at__gt=lately, end_told_at=None)


def send() -> int:
    """Tell of each once, in the log and, where it is configured, by mail.

    Of what no mail could tell, because the mail server was out of reach, the next look tells
    again. Returns of how many keys it told.
    """
    return sum(_tell(key) for key in due().select_related("user"))


def _tell(key: ApiKey) -> bool:
    """One worker tells it, and remembers before it does: a crash repeats no mail."""
    row, now = ApiKey.objects.filter(pk=key.pk), timezone.now()
    with transaction.atomic():
        if not row.filter(end_told_at=None).update(end_told_at=now):
            return False
        notices.key_ends(key, lambda _: row.filter(end_told_at=now).update(end_told_at=None))
    logger.warning(
        "API key %s of user %s is in use and ends on %s: a new one has to take its place",
        key.pk,
        key.user_id,
        f"{key.expires_at:%Y-%m-%d}",
    )
    return True
