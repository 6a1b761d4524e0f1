"""The Test button of the app dashboard: made-up ids, and a time that no real message has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import orders, webhooks

if TYPE_CHECKING:
    from .server import Sandbox

VARIANTS = ("changes", "messaging", "popup", "comments")
COMMENT = {
    "id": "17860000000000001",
    "text": "This is an example.",
    "from": {"id": "232323232", "username": "test"},
    "media": {"id": "123123123", "media_product_type": "FEED"},
}


def body(sandbox: Sandbox, order: dict[str, Any]) -> bytes:
    """The body behind the dashboard's Test button, in each of the forms that were seen."""
    variant = orders.one_of(order.get("variant", "changes"), "variant", VARIANTS)
    value = {
        "sender": {"id": "12334"},
        "recipient": {"id": "23245"},
        # A string, and in seconds: no real message has either.
        "timestamp": "1527459824",
        "message": {"mid": "random_mid", "text": "random_text"},
    }
    change = {"field": "messages", "value": value}
    now = sandbox.world.now()
    if variant == "popup":
        return webhooks.encoded(change)
    if variant == "comments":
        change = {"field": "comments", "value": COMMENT}
    entry: dict[str, Any] = webhooks.entry("0", "changes", [change], now)
    if variant == "messaging":
        entry = {"id": "0", "time": int(now), "messaging": [value]}
    return webhooks.encoded({"object": "instagram", "entry": [entry]})
