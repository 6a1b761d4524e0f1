"""The `signed_request` of the deauthorize and data-deletion callbacks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from urllib.parse import urlencode

from . import webhooks
from .state import Account


def sign(account: Account, secret: str, now: float) -> str:
    payload = {
        "user_id": account.app_scoped_id,
        "algorithm": "HMAC-SHA256",
        "issued_at": int(now),
    }
    encoded = _base64url(json.dumps(payload, separators=(",", ":")).encode())
    digest = hmac.new(secret.encode(), encoded.encode(), hashlib.sha256).digest()
    return f"{_base64url(digest)}.{encoded}"


def post(url: str, signed_request: str, timeout: float) -> webhooks.Answer:
    body = urlencode({"signed_request": signed_request}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return webhooks.post(url, body, form, timeout)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
