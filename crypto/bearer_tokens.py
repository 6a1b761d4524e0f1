"""Signs and verifies our own JWTs with the key ring (RFC 7519, HS256)."""

from dataclasses import dataclass
from typing import Any

import jwt
from django.utils import timezone

from .keyring import get_keyring, note_fallback

ALGORITHM = "HS256"
LEEWAY = 30
"""Seconds by which the clocks of two web hosts may differ."""


class InvalidBearerToken(Exception):
    """The token is forged, expired, for another use, or signed by a secret we no longer hold."""


@dataclass(frozen=True)
class Verified:
    """The claims of a genuine token, and whether the primary key signed it."""

    claims: dict[str, Any]
    is_current: bool


def sign(claims: dict[str, Any], *, audience: str, seconds: int) -> str:
    """A JWT with `claims`, valid for `seconds` and for one `audience` (its use)."""
    key = get_keyring().primary
    if key is None:
        raise RuntimeError("Nothing can be signed: SESSION_SECRET is not set.")
    now = int(timezone.now().timestamp())
    payload = {**claims, "aud": audience, "iat": now, "exp": now + seconds}
    headers = {"kid": key.fingerprint}
    return jwt.encode(payload, key.signing_key, algorithm=ALGORITHM, headers=headers)


def verify(token: str, *, audience: str) -> Verified:
    """What a genuine `token` says. Raises InvalidBearerToken for every other one."""
    ring = get_keyring()
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = ring.find(kid) if isinstance(kid, str) else None
        if key is None:
            raise InvalidBearerToken("signed by a secret that is not on the key ring")
        claims = jwt.decode(
            token,
            key.signing_key,
            algorithms=[ALGORITHM],
            audience=audience,
            options={"require": ["exp", "iat", "aud"]},
            leeway=LEEWAY,
        )
    except jwt.InvalidTokenError as exc:
        raise InvalidBearerToken(str(exc)) from None
    if key is not ring.primary:
        note_fallback(key)
    return Verified(claims, is_current=key is ring.primary)
