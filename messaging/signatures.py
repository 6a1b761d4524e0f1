"""Proves who sent a webhook: an HMAC over its raw bytes (Instagram webhooks, 3.3)."""

import hmac

from django.conf import settings


def is_genuine(body: bytes, header: str) -> bool:
    """Whether `header` (X-Hub-Signature-256) is the signature of `body` by one of our app secrets.

    Several secrets may sign: Meta does not say which of its two it uses, and each can be
    rotated. All are tried, so the time taken tells nothing.
    """
    given = header.encode("latin-1", "replace")
    genuine = False
    for secret in settings.INSTAGRAM_APP_SECRETS:
        expected = f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"
        genuine |= hmac.compare_digest(expected.encode(), given)
    return genuine
