"""API keys: `imsg_`, 256 random bits and a checksum, shown once and stored as a digest.

They prove a program, not a person, and are independent of SESSION_SECRET: a rotation ends none.
"""

import secrets
import string
import zlib
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

from . import audit
from .models import Account, ApiKey, ApiKeyQuerySet, Scope, User, by_hand, digest

PREFIX = "imsg_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 43
CHECKSUM_LENGTH = 6

LIFETIME = timedelta(days=30)
MOST_DAYS = 365
"""No key lasts for ever: one that nobody remembers should stop working some day."""

FOR_PASSWORD = (Scope.READ, Scope.SEND)
"""What a key may do that was made by user name and password."""

FROM_LOGIN = "Made by password"
"""The name of such a key, and what tells it from others."""

MOST = 50
"""Working keys of one user: more than that, nobody looks after."""


KEY = by_hand.Columns(
    ApiKey, "id", "user", "name", "scopes", "is_limited", "expires_at", "last_used_at", "revoked_at"
)
USER = by_hand.Columns(User, "id", "username", "is_active")
LOOK_UP = f"""
    SELECT {KEY}, {USER} FROM api_keys JOIN users ON users.id = api_keys.user_id
    WHERE api_keys.digest = %s
"""  # noqa: S608  (our columns)


class TooManyKeys(Exception):
    """The user has as many working keys as one may have; the text says what to do."""


class AlreadyMade(Exception):
    """The form that was sent has made its key; the text says what to do."""


class KeyRefused(Exception):
    """The key opens nothing; the text says why, and `reason` says it to a program."""

    def __init__(self, reason: str, text: str):
        super().__init__(text)
        self.reason = reason


def make(
    user: User,
    name: str,
    *,
    scopes: Iterable[str] = FOR_PASSWORD,
    accounts: Iterable[Account] | None = None,
    lifetime: timedelta = LIFETIME,
    made_by: ApiKey | None = None,
    submission: UUID | None = None,
) -> tuple[ApiKey, str]:
    """A new row and the key itself, which nobody can see again.

    It reaches `accounts`, or whatever the user belongs to when that is None. What the key
    `made_by` makes ends with it at the latest. Raises TooManyKeys; KeyRefused when `made_by` has
    been revoked meanwhile; AlreadyMade when the form, `submission`, was sent before.
    """
    secret = _new_secret()
    expires_at = timezone.now() + lifetime
    with transaction.atomic():
        _check_number(user)
        if submission:
            _check_submission(user, submission)
        if made_by:
            _check_maker(made_by)
            expires_at = min(expires_at, made_by.expires_at)
        key = ApiKey.objects.create(
            user=user,
            name=name,
            digest=digest(secret),
            beginning=secret[: len(PREFIX) + 4],
            scopes=[scope.value for scope in Scope if scope in set(scopes)],
            is_limited=accounts is not None,
            made_by=made_by,
            submission=submission,
            expires_at=expires_at,
        )
        key.accounts.set(accounts or [])
        audit.api_key_made(key)
    return key, secret


def make_by_password(user: User) -> tuple[ApiKey, str]:
    """A new key for a program that logs in, as `make` gives it; many do so at each start.

    Where the user has as many as one may have, the one made this way that was not used for the
    longest time ends. Raises TooManyKeys when all were made in other ways.
    """
    with transaction.atomic():
        working = _lock_working(user)
        if working.count() >= MOST:
            last_use = Coalesce("last_used_at", "created_at")
            longest_unused = working.filter(name=FROM_LOGIN).order_by(last_use, "pk").first()
            if longest_unused:
                revoke(longest_unused)
        return make(user, FROM_LOGIN)


def revoke(key: ApiKey) -> bool:
    """End the key now, and all that it made. False when it was revoked before."""
    with transaction.atomic():
        now = timezone.now()
        if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
            return False
        key.revoked_at = now
        audit.api_key_revoked(key)
        for made in key.made.select_related("user"):
            revoke(made)
    return True


def find(secret: str) -> ApiKey:
    """The key that works, with its user. Raises KeyRefused for every other one."""
    if not _is_well_formed(secret):
        text = "The API key is incomplete or mistyped: its checksum does not match."
        raise KeyRefused("mistyped", text)
    key = _look_up(secret)
    if key is None:
        raise KeyRefused("unknown", "There is no such API key here.")
    if key.revoked_at:
        raise KeyRefused("revoked", f"The API key was revoked on {key.revoked_at:%Y-%m-%d}.")
    if key.is_expired:
        text = f"The API key expired on {key.expires_at:%Y-%m-%d}. Make a new one."
        raise KeyRefused("expired", text)
    if not key.user.is_active:
        raise KeyRefused("deactivated", "The user whose API key this is was deactivated.")
    return key


def _lock_working(user: User) -> ApiKeyQuerySet:
    """The user's keys that work. Locks the user, so that no two requests count at once."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    return ApiKey.objects.filter(user=user).working()


def _check_number(user: User) -> None:
    if _lock_working(user).count() >= MOST:
        name = user.get_username()
        text = f"{name} has {MOST} API keys that work. Revoke those that nothing uses any more."
        raise TooManyKeys(text)


def _check_submission(user: User, submission: UUID) -> None:
    """After the user is locked: a second click waits, and finds what the first one made."""
    if key := ApiKey.objects.filter(user=user, submission=submission).first():
        text = (
            f"This form has made its key, “{key.name}”, which is not shown again. If you have no "
            "copy of it, revoke it below and make another one."
        )
        raise AlreadyMade(text)


def _check_maker(key: ApiKey) -> None:
    """Locks it: who revokes it either waits, and finds the new key, or was here before."""
    if ApiKey.objects.select_for_update(no_key=True).get(pk=key.pk).revoked_at:
        raise KeyRefused("revoked", "The API key was revoked meanwhile.")


def _look_up(secret: str) -> ApiKey | None:
    rows = by_hand.first(LOOK_UP, [digest(secret)], KEY, USER)
    if rows is None:
        return None
    key, key.user = rows
    return key


def _new_secret() -> str:
    random = PREFIX + _base62(secrets.randbits(256), RANDOM_LENGTH)
    return random + _checksum(random)


def _is_well_formed(secret: str) -> bool:
    random, checksum = secret[:-CHECKSUM_LENGTH], secret[-CHECKSUM_LENGTH:]
    return (
        len(secret) == len(PREFIX) + RANDOM_LENGTH + CHECKSUM_LENGTH
        and secret.isascii()
        and checksum == _checksum(random)
    )


def _checksum(text: str) -> str:
    """Tells a mistyped key without a look into the database; proves nothing."""
    return _base62(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
