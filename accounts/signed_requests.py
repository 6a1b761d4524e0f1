"""Reads Meta's `signed_request`: what the deauthorize and data-deletion callbacks carry (9.1).

Two base64url parts, a signature and the JSON that it signs. Nothing of the JSON is looked at
before one of our app secrets has proven where it comes from.
"""

import base64
import hmac
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

LONGEST = 4096
"""Characters; a genuine one has about 200."""

FRESH = timedelta(days=1)
"""How late one may come: Meta's second attempts arrive, what somebody kept does not."""

AHEAD = timedelta(minutes=5)
"""How far Meta's clock may be before ours."""

ALGORITHM = "HMAC-SHA256"
PART = re.compile(r"[A-Za-z0-9_-]+")
ID = re.compile(r"[1-9][0-9]{0,63}")


class NotGenuine(Exception):
    """Not to be acted on. The text is fit for an answer; `status` is its HTTP status."""

    def __init__(self, text: str, *, status: int = 400):
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class SignedRequest:
    """Whom it is about, and when Meta said so. `user_id` is "" when it can be nobody's."""

    user_id: str
    issued_at: datetime


def read(text: str) -> SignedRequest:
    """What a genuine and fresh signed_request says. Raises NotGenuine."""
    parts = text.split(".") if len(text) <= LONGEST else []
    if len(parts) != 2 or not all(PART.fullmatch(part) for part in parts):
        raise NotGenuine("This is not a signed_request: it has two base64url parts.")
    signature, signed = parts
    if not _is_ours(_decoded(signature), signed.encode()):
        raise NotGenuine("The signature is not by this app's secret.", status=403)
    payload = _payload(signed)
    if str(payload.get("algorithm", "")).upper() != ALGORITHM:
        raise NotGenuine(f"The algorithm is not {ALGORITHM}.")
    return SignedRequest(_id(payload.get("user_id")), _moment(payload.get("issued_at")))


def _is_ours(signature: bytes, signed: bytes) -> bool:
    # Several secrets may sign, and all are tried, so the time taken tells nothing.
    genuine = False
    for secret in settings.INSTAGRAM_APP_SECRETS:
        genuine |= hmac.compare_digest(hmac.digest(secret.encode(), signed, "sha256"), signature)
    return genuine


def _payload(signed: str) -> dict[str, Any]:
    try:
        payload = json.loads(_decoded(signed))
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise NotGenuine("What was signed is not a JSON object.")
    return payload


def _id(value: Any) -> str:
    """The id as text, however it came; "0" and whatever else names nobody become ""."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if ID.fullmatch(text) else ""


def _moment(value: Any) -> datetime:
    now = timezone.now()
    if isinstance(value, bool) or not isinstance(value, int):
        raise NotGenuine("It does not say when it was issued.")
    if value < (now - FRESH).timestamp():
        raise NotGenuine("It was issued too long ago, so nothing was done.")
    if value > (now + AHEAD).timestamp():
        raise NotGenuine("It was issued in the future: is this server's clock right?")
    return datetime.fromtimestamp(value, UTC)


def _decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:  # A length that no bytes have.
        raise NotGenuine("This is not a signed_request: a part is not base64url.") from None
