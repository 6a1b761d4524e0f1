"""Proves who sent a webhook: an HMAC over its raw bytes (Instagram webhooks, 3.3)."""

import hashlib
import hmac

from django.conf import settings


def signer(body: bytes, header: str) -> str | None:
    """The app secret of ours that `header` (X-Hub-Signature-256) signs `body` with, if any did.

    Several secrets may sign: Meta does not say which of its two it uses, and each can be
    rotated. All are tried, so the time taken tells nothing.
    """
    given = header.encode("latin-1", "replace")
    found = None
    for secret in settings.INSTAGRAM_APP_SECRETS:
        expected = f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"
        if hmac.compare_digest(expected.encode(), given):
            found = secret
    return found


def fingerprint(app_secret: str) -> str:
    """Names an app secret, which has 128 random bits, without telling anything about it."""
    return hashlib.sha256(b"app secret of Instagram: " + app_secret.encode()).hexdigest()[:12]
