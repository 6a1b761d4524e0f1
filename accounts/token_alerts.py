"""Tells owners of a token that ends, or was revoked: only they can mend it, by reconnecting.

Tokens are refreshed each day for 60 days ahead (token_watch). Who hears of one that has 14 left
hears of six weeks in which that failed.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from . import notices
from .models import EXPIRING, Account, AccountQuerySet
from .token_watch import LEASE

logger = logging.getLogger(__name__)

LIMITS = [timedelta(days=days) for days in (14, 7, 3, 1, 0)]
"""So long before the end, and at the end."""


def due() -> list[Account]:
    """Those whose owners have not heard of the latest."""
    return [account for account in _troubled() if _has_news(account)]


def send() -> int:
    """Tell what is new: once each, in the log and, where it is configured, by mail.

    Of what no mail could tell, because the mail server was out of reach, the next look tells
    again. Returns of how many accounts it told.
    """
    waiting = due()
    if not waiting:
        return 0
    now = timezone.now()
    with transaction.atomic():
        told = [account for account in waiting if _take(account, now)]
        notices.token_trouble(
            [account.pk for account in told],
            lambda unheard: _put_back([one for one in told if one.pk in unheard], now),
        )
    for account in told:
        left = "" if account.days_left is None else f", {account.days_left} days left"
        logger.warning(
            "account %s: %s%s: an owner has to reconnect it", account.pk, account.status.value, left
        )
    return len(told)


def _troubled() -> AccountQuerySet:
    """Accounts that only their owners can mend, and of which they may not have heard."""
    now = timezone.now()
    unheard = Q(token_alerted_at=None)
    revoked = Q(problem=Account.Problem.REVOKED)
    # One that is due, or at which a worker is, may have 60 days left in a moment.
    not_helped = Q(token_expires_at__lte=now) | Q(token_refresh_at__gt=now + LEASE)
    ending = Q(access_token__isnull=False, token_expires_at__lte=now + EXPIRING) & not_helped
    return Account.objects.filter(
        revoked & (unheard | Q(token_alerted_at__lt=F("problem_at")))
        | ~revoked & ending & (unheard | Q(token_alerted_at__lt=F("token_expires_at"))),
    )


def _has_news(account: Account) -> bool:
    """Whether something happened after the owners were told last.

    So a reconnect, which moves the end, needs to reset nothing.
    """
    return account.token_alerted_at is None or account.token_alerted_at < _last_news(account)


def _last_news(account: Account) -> datetime:
    """When the account was revoked, or its token came under the last limit."""
    if account.problem == Account.Problem.REVOKED:
        return account.problem_at
    moments = [account.token_expires_at - left for left in LIMITS]
    return max(moment for moment in moments if moment <= timezone.now())


def _take(account: Account, now: datetime) -> bool:
    """One worker tells it, and remembers before it does: a crash repeats no mail."""
    seen = Account.objects.filter(pk=account.pk, token_alerted_at=account.token_alerted_at)
    return seen.update(token_alerted_at=now) == 1


def _put_back(accounts: list[Account], taken_at: datetime) -> None:
    """Nobody was told of these."""
    for account in accounts:
        mine = Account.objects.filter(pk=account.pk, token_alerted_at=taken_at)
        mine.update(token_alerted_at=account.token_alerted_at)
