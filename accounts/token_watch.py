"""Keeps every access token alive: each is refreshed once a day, from its first day on.

Instagram extends a token that is 24 hours old, and has not expired, to 60 days from then
(Business Login, refresh). Done daily, whatever goes wrong has eight weeks to be noticed. The row
says when it is due: `token_refresh_at` is the plan and, while a worker is at it, the end of its
lease. `token_alerts` tells the owners when all this does not help.
"""

import logging
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from django.db import OperationalError, connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from crypto.models import SupersededSecret

from . import audit
from .instagram import Grant
from .instagram_errors import (
    NO_ROLE,
    InstagramError,
    NoAnswer,
    NotSent,
    RateLimited,
    TokenRejected,
    Withheld,
)
from .models import REFRESHABLE_AFTER, Account, AccountQuerySet, TokenUnreadable

logger = logging.getLogger(__name__)

DAY = timedelta(days=1)
LEASE = timedelta(minutes=10)
"""How long a worker may be at one token before it is anybody's again."""

AT_A_TIME = 1000
MINUTES = 5
"""So many tokens, and so long, in one look. The next look goes on."""

SPREAD = timedelta(hours=2)
"""Tokens that came together are so far apart on the next day, and further on each one after."""

SOONEST, LATEST = timedelta(minutes=30), timedelta(hours=6)
"""How long to wait after a failure."""

PAUSES = (0.2, 1, 5)
"""Seconds between attempts to store a new token while the database is busy."""

NOT_EXTENDED = "The permission could not be extended."


class Outcome(StrEnum):
    REFRESHED = "refreshed"
    LATER = "later"
    UNREACHABLE = "unreachable"
    REVOKED = "revoked"
    HELD = "held"
    UNREADABLE = "unreadable"
    TAKEN = "taken"


@dataclass(frozen=True)
class Result:
    """What became of one refresh; `reason` is fit for a page."""

    outcome: Outcome
    reason: str = ""


def due() -> AccountQuerySet:
    """Accounts whose token is to be refreshed now; whose turn came first comes first."""
    now = timezone.now()
    is_due = Q(token_refresh_at=None) | Q(token_refresh_at__lte=now)
    # One that Instagram revoked as well: it alone knows whether that still holds.
    accounts = Account.objects.refreshable().filter(is_due)
    return accounts.order_by(F("token_refresh_at").asc(nulls_first=True), "pk")


def refresh_due() -> int:
    """Refresh what is due, one after the other; one account's trouble does not keep the others.

    Any number of workers may do so at once. Returns how many this one refreshed.
    """
    refreshed = 0
    deadline = time.monotonic() + MINUTES * 60
    for account in due()[:AT_A_TIME]:
        try:
            result = refresh(account)
        except Exception:  # Its lease says when it is looked at again.
            logger.exception("account %s: token not refreshed", account.pk)
            continue
        refreshed += result.outcome == Outcome.REFRESHED
        if result.outcome == Outcome.UNREACHABLE or time.monotonic() > deadline:
            break
    return refreshed


def refresh(account: Account) -> Result:
    """Put a fresh token in the place of the account's, unless another worker is at it."""
    if not _claim(account):
        return Result(Outcome.TAKEN, "Another worker is at it, or it was reconnected.")
    try:
        account.refresh_from_db()  # A rotation may have passed since it was read.
        is_stored = _keep(account, account.client().refresh())
    except TokenUnreadable as exc:
        return _put_off(account, Outcome.UNREADABLE, str(exc))
    except SupersededSecret as exc:
        logger.error("account %s: the refreshed token was not stored: %s", account.pk, exc)
        return _put_off(account, Outcome.LATER, str(exc))
    except InstagramError as exc:
        return _failed(account, exc)
    if not is_stored:
        return Result(Outcome.TAKEN, "It was reconnected or disconnected meanwhile.")
    return Result(Outcome.REFRESHED)


def why_not(account: Account) -> str:
    """What keeps Instagram from refreshing this token; empty when nothing is known to."""
    if account.access_token is None:
        return "It is disconnected: there is no token. Its owner reconnects it."
    if account.days_left == 0:
        return "The token has expired. Its owner reconnects the account."
    if timezone.now() - (account.token_issued_at or account.linked_at) < REFRESHABLE_AFTER:
        return "The token is younger than 24 hours; Instagram refreshes it only after that."
    return ""


def _claim(account: Account) -> bool:
    """One conditional UPDATE decides who refreshes; after a crash the lease ends by itself."""
    until = timezone.now() + LEASE
    seen = Account.objects.filter(
        pk=account.pk,
        token_issued_at=account.token_issued_at,
        token_refresh_at=account.token_refresh_at,
        access_token__isnull=False,
    )
    return seen.update(token_refresh_at=until) == 1


def _keep(account: Account, grant: Grant) -> bool:
    """As `_store`, but patient: nobody else knows this token, and Instagram gives it once."""
    for pause in PAUSES:
        try:
            return _store(account, grant)
        except OperationalError:
            logger.warning("account %s: the database is busy: once more in %s s", account.pk, pause)
            connection.close_if_unusable_or_obsolete()
            time.sleep(pause)
    return _store(account, grant)


def _store(account: Account, grant: Grant) -> bool:
    """False when the row holds another token by now: whoever reconnected has the last word."""
    now = timezone.now()
    with transaction.atomic():
        # The account before the registry of secrets, as a rotation locks them.
        row = Account.objects.select_for_update(no_key=True).filter(
            pk=account.pk, token_issued_at=account.token_issued_at, access_token__isnull=False
        ).first()  # fmt: skip
        if row is None:
            return False
        row.access_token = grant.token
        row.token_issued_at, row.token_expires_at = now, grant.expires_at
        row.token_refresh_at = now + DAY + SPREAD * random.random()  # noqa: S311  (no secret)
        if _is_cured(row):
            row.problem, row.problem_reason, row.problem_at = "", "", None
        row.save(
            update_fields=[
                "access_token", "token_issued_at", "token_expires_at", "token_refresh_at",
                "problem", "problem_reason", "problem_at", "updated_at",
            ]
        )  # fmt: skip
    account.token_expires_at = row.token_expires_at
    return True


def _is_cured(account: Account) -> bool:
    """Whether a good refresh proves the problem wrong.

    It proves that Instagram knows the token, and lets the app call for the account. That the
    account may send again, it does not: what held a message back stands until one goes out.
    """
    if account.problem == Account.Problem.HELD:
        return account.problem_reason.startswith((NOT_EXTENDED, NO_ROLE))
    return bool(account.problem)


def _failed(account: Account, exc: InstagramError) -> Result:
    logger.warning(
        "account %s: token not refreshed: %s (code %s/%s, trace %s)",
        account.pk, type(exc).__name__, exc.code, exc.subcode, exc.trace,
    )  # fmt: skip
    if not isinstance(exc, NotSent | NoAnswer | RateLimited):  # These say nothing about the token.
        audit.token_not_refreshed(account, exc)
    match exc:
        case NotSent() | RateLimited(code=4):  # 4: all accounts of the app together.
            # The others would fare no better now.
            return _put_off(account, Outcome.UNREACHABLE, str(exc))
        case TokenRejected():
            account.note_problem(Account.Problem.REVOKED, str(exc))
            return _put_off(account, Outcome.REVOKED, str(exc))
        case Withheld():
            if not account.problem:
                account.note_problem(Account.Problem.HELD, f"{NOT_EXTENDED} {exc}")
            return _put_off(account, Outcome.HELD, str(exc))
        case _:  # Also "younger than 24 hours": the token is as good as before.
            return _put_off(account, Outcome.LATER, str(exc))


def _put_off(account: Account, outcome: Outcome, reason: str) -> Result:
    """Plan the next attempt: each wait is half as long as it has failed by then."""
    failing_for = timezone.now() - (account.token_issued_at or account.linked_at) - DAY
    match outcome:
        case Outcome.UNREACHABLE:  # Perhaps this machine was asleep, and no token is at fault.
            wait = SOONEST
        case Outcome.REVOKED:
            wait = DAY
        case _:
            wait = min(max(failing_for / 2, SOONEST), LATEST)
    wait *= random.uniform(0.8, 1.2)  # noqa: S311  (no secret)
    # If it is still this worker's.
    mine = Account.objects.filter(pk=account.pk, token_refresh_at=account.token_refresh_at)
    mine.update(token_refresh_at=timezone.now() + wait)
    return Result(outcome, reason)
