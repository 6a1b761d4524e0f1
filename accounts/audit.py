"""What happens to tokens and logins, written down: who did it, from where and when.

What changes a token is recorded in the same transaction: neither is there without the other. A
login, a failed one, or a token that is unreadable or not refreshed, goes on as it would when the
record cannot be written. A refresh that succeeds is routine, every day, and leaves no record.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import Error, transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from crypto import actor
from crypto.models import SecurityEvent

from .instagram_errors import InstagramError

if TYPE_CHECKING:
    from .models import Account, ApiKey, User

logger = logging.getLogger(__name__)

Kind = SecurityEvent.Kind

UNREADABLE_EVERY = timedelta(hours=1)
"""One account's unreadable token is recorded once in so long, however often it is tried."""

REFRESH_FAILED_EVERY = timedelta(days=1)
"""So is one account's token that Instagram does not refresh."""

LOCK_OUT = timedelta(hours=settings.AXES_COOLOFF_TIME)
FAILURES_PER_ADDRESS = 20
FAILURES_IN_ALL = 200
"""So many failed logins are recorded in the time of a lock-out. Whoever guesses names without end
fills no disk."""


def token_stored(account: "Account", *, is_new: bool, expires_at: datetime) -> None:
    """Belongs into the transaction that stores the token."""
    details = {"reconnected": not is_new, "token_expires_at": expires_at.isoformat()}
    _record(Kind.CONNECTED, _name(account), **details)


def token_moved_in(account: "Account") -> None:
    """Belongs into the transaction that stores the token, as another program encrypted it."""
    _record(Kind.CONNECTED, _name(account), moved_in=True)


def token_forgotten(account: "Account") -> None:
    """Belongs into the transaction that clears the token."""
    _record(Kind.DISCONNECTED, _name(account))


def permission_withdrawn(account: "Account") -> None:
    """Belongs into the transaction that clears the token: its owner removed us at Instagram."""
    _record(Kind.DISCONNECTED, _name(account), actor="Instagram", withdrawn=True)


def deletion_begun(account: "Account", *, for_instagram: bool) -> None:
    """Belongs into the transaction that clears the token; what the account holds follows."""
    who = {"actor": "Instagram"} if for_instagram else {}
    _record(Kind.DISCONNECTED, _name(account), deleted=True, **who)


def account_deleted(instance: "Account", **kwargs: Any) -> None:
    """Before an account goes for good, and its token with it."""
    if instance.access_token is not None:
        _record(Kind.DISCONNECTED, _name(instance), deleted=True)


def token_unreadable(account: "Account", reason: str) -> None:
    _record_now_and_then(Kind.DECRYPTION_FAILED, UNREADABLE_EVERY, account, reason=reason)


def token_not_refreshed(account: "Account", exc: InstagramError) -> None:
    codes = {"code": exc.code, "subcode": exc.subcode, "trace": exc.trace}
    _record_now_and_then(
        Kind.REFRESH_FAILED, REFRESH_FAILED_EVERY, account, reason=str(exc), **codes
    )


def api_key_made(key: "ApiKey") -> None:
    """Belongs into the transaction that stores the key."""
    reach = [account.pk for account in key.accounts.all()] if key.is_limited else "all"
    expires_at = key.expires_at.isoformat()
    _record(Kind.API_KEY_MADE, _key(key), scopes=key.scopes, accounts=reach, expires_at=expires_at)


def api_key_revoked(key: "ApiKey") -> None:
    """Belongs into the transaction that ends the key."""
    _record(Kind.API_KEY_REVOKED, _key(key))


def logged_in(user: "User", **kwargs: Any) -> None:
    with _going_on(Kind.LOGGED_IN):
        _record(Kind.LOGGED_IN, user.get_username())


def login_failed(credentials: dict, request: HttpRequest | None = None, **kwargs: Any) -> None:
    if getattr(request, "axes_locked_out", False):
        return  # By this failure or an earlier one: locked_out() was told.
    with _going_on(Kind.LOGIN_FAILED):
        _record_failure(str(credentials.get("username") or ""))


def locked_out(username: str | None, **kwargs: Any) -> None:
    """One failure too many, or one more attempt while locked out; the latter is no news."""
    with _going_on(Kind.LOGIN_FAILED):
        recorded = _recent(Kind.LOGIN_FAILED, LOCK_OUT).filter(
            subject=_printable(username or ""),
            address=actor.current().address,
            details__locked=True,
        )
        if not recorded.exists():
            _record_failure(username or "", locked=True)


def tried_name(request: HttpRequest | None, credentials: dict | None) -> str:
    """The user name that somebody tried, cut to what the table of django-axes takes."""
    tried = (credentials or {}).get("username") or (request.POST.get("username") if request else "")
    return (tried or "")[:255]


def _record_failure(username: str, **details: Any) -> None:
    failures = _recent(Kind.LOGIN_FAILED, LOCK_OUT)
    from_there = failures.filter(address=actor.current().address)
    room = min(FAILURES_PER_ADDRESS - from_there.count(), FAILURES_IN_ALL - failures.count())
    if room == 1:
        details["more_may_follow_unrecorded"] = True
    if room > 0:
        _record(Kind.LOGIN_FAILED, username, **details)


def _record_now_and_then(
    kind: SecurityEvent.Kind, every: timedelta, account: "Account", **details: Any
) -> None:
    with _going_on(kind):
        # One at a time: on PostgreSQL two workers would both find nothing recorded yet.
        type(account).objects.select_for_update(no_key=True).filter(pk=account.pk).first()
        recorded = _recent(kind, every).filter(subject__startswith=f"account {account.pk} ")
        if not recorded.exists():
            _record(kind, _name(account), **details)


def _recent(kind: SecurityEvent.Kind, age: timedelta) -> QuerySet[SecurityEvent]:
    return SecurityEvent.objects.filter(kind=kind, at__gt=timezone.now() - age)


def _record(kind: SecurityEvent.Kind, subject: str, **details: Any) -> None:
    SecurityEvent.objects.record(kind, _printable(subject), **details)


def _name(account: "Account") -> str:
    return f"account {account.pk} @{account.username}"


def _key(key: "ApiKey") -> str:
    return f"API key {key.pk} of {key.user.get_username()}: {key.name}"


def _printable(text: str) -> str:
    """Fit for the column and for a reader: no NUL, no half characters, no hidden ones."""
    limit = SecurityEvent._meta.get_field("subject").max_length
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:limit])


@contextmanager
def _going_on(kind: SecurityEvent.Kind) -> Iterator[None]:
    """For what is only seen, not done: a database that refuses the record stops nobody."""
    try:
        with transaction.atomic():
            yield
    except Error as exc:
        logger.error("Security event %s could not be recorded: %s", kind, exc)
