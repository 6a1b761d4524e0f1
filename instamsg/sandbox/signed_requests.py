"""The `signed_request` of the deauthorize and data-deletion callbacks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from . import orders, webhooks
from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox


# Ways to get it wrong, each with what is left of a good one.
MALFORMED: dict[str, Callable[[str, str], str]] = {
    "empty": lambda signature, payload: "",
    "one-part": lambda signature, payload: payload,
    "three-parts": lambda signature, payload: f"{signature}.{payload}.{payload}",
    "no-signature": lambda signature, payload: f".{payload}",
    "changed": lambda signature, payload: f"{signature}.{_base64url(b'{}')}",
}
# Signed as it should be, but not what it should be.
WRONG_INSIDE = {"not-base64": "!!!", "not-json": "bm90IGpzb24", "not-an-object": "WzFd"}
KEYS = ("good", "bad", "second-secret")


def read_order(sandbox: Sandbox, order: dict[str, Any]) -> str:
    """The signed request that an order of the control API asks for."""
    wrong = (*MALFORMED, *WRONG_INSIDE)
    malformed = order.get("malformed")
    if malformed is not None:
        orders.one_of(malformed, "malformed", wrong)
    user_id = order.get("user_id")
    if user_id is None:
        user_id = sandbox.world.account(order.get("account")).app_scoped_id
    issued_at = order.get("issued_at", int(sandbox.world.now()))
    payload = {
        "user_id": user_id,
        "algorithm": order.get("algorithm", "HMAC-SHA256"),
        "issued_at": issued_at,
    }
    key = signing_key(sandbox, order.get("secret", "good"))
    encoded = _base64url(json.dumps(payload, separators=(",", ":")).encode())
    encoded = WRONG_INSIDE.get(str(malformed), encoded)
    digest = hmac.new(key.encode(), encoded.encode(), hashlib.sha256).digest()
    form = MALFORMED.get(str(malformed), "{}.{}".format)
    return form(_base64url(digest), encoded)


def signing_key(sandbox: Sandbox, kind: Any) -> str:
    orders.one_of(kind, "secret", KEYS)
    if kind == "second-secret" and len(sandbox.app_secrets) < 2:
        raise BadRequest("There is no second app secret.")
    known = {"second-secret": sandbox.app_secrets[-1], "bad": "not the app secret"}
    return known.get(kind, sandbox.app_secrets[0])


def post(url: str, signed_request: str, timeout: float) -> webhooks.Answer:
    body = urlencode({"signed_request": signed_request}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return webhooks.post(url, body, form, timeout)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
