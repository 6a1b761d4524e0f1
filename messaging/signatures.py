"""HMACs over raw bytes: who sent a webhook to us (Instagram webhooks, 3.3), and that one to a CRM
is ours."""

import base64
import hashlib
import hmac
import secrets
from contextlib import suppress

from django.conf import settings

PREFIX = "whsec_"


def signer(body: bytes, header: str) -> str | None:
    """The app secret of ours that `header` (X-Hub-Signature-256) signs `body` with, if any did.

    Several secrets may sign: Meta does not say which of its two it uses, and each can be
    rotated. All are tried, so the time taken tells nothing.
    """
    given = header.encode("latin-1", "replace")
    found = None
    for secret in settings.INSTAGRAM_APP_SECRETS:
        if hmac.compare_digest(_hub(secret, body).encode(), given):
            found = secret
    return found


def fingerprint(app_secret: str) -> str:
    """Names an app secret, which has 128 random bits, without telling anything about it."""
    return hashlib.sha256(b"app secret of Instagram: " + app_secret.encode()).hexdigest()[:12]


def new_secret() -> str:
    """256 random bits, as Standard Webhooks write them."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def headers(keys: list[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that prove a delivery to be ours, for each of `keys`; the first is the current.

    Two conventions side by side. Standard Webhooks sign id and time along and may name several
    signatures. X-Hub-Signature-256 knows one: the current secret's, whole and as text, which is
    what people who verified the signatures of a predecessor paste into the code they have.
    """
    signed = f"{event_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_standard(key, signed) for key in keys),
        "X-Hub-Signature-256": _hub(keys[0], body),
    }


def _standard(secret: str, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode()


def _key(secret: str) -> bytes:
    """The bytes that `secret` writes down; one that moved in with its account may be any text."""
    with suppress(ValueError):
        if secret.startswith(PREFIX):
            return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    return secret.encode()


def _hub(secret: str, body: bytes) -> str:
    return f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"
