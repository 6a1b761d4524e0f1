"""The settings of the control API: how the platform behaves, delivers and loses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from . import orders
from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox


@dataclass
class Settings:
    token_shape: str = "flat"  # noqa: S105 a shape, not a secret
    me_shape: str = "flat"
    refreshed_token: str = "new"  # noqa: S105 a manner, not a secret
    echo: str = "after"
    app_mode: str = "development"
    human_agent: str = "approved"
    fields_honoured: str = "app"
    stray_edits: str = "none"
    reorder: str = "none"
    duplicates: int = 0
    batch: int = 1
    lose: int = 0
    delay: float = 0
    retries: list[float] = field(default_factory=lambda: [0.2, 1, 5, 30])
    timeout: float = 5
    give_up_after: float = 36 * 3600
    disable_after: float = 3600
    big_page_limit: int = 50
    conversation_rate: float = 0
    reply_to: str = "accepted"
    fetch_media: str = "on"
    fetch_timeout: float = 5
    send_limit: str = "none"
    send_rate: float = 100
    media_rate: float = 10
    latency: float = 0
    app_usage: dict[str, Any] = field(default_factory=dict)
    account_usage: dict[str, Any] = field(default_factory=dict)
    trouble: str = "none"


CHOICES = {
    "token_shape": ("flat", "wrapped"),
    "me_shape": ("flat", "wrapped"),
    "refreshed_token": ("new", "same"),
    "echo": ("before", "with", "after", "none"),
    "app_mode": ("live", "development"),
    "human_agent": ("approved", "unapproved"),
    "fields_honoured": ("app", "account"),
    "stray_edits": ("none", "after", "bare", "before", "instead"),
    "reorder": ("none", "pairs"),
    "reply_to": ("accepted", "refused"),
    "fetch_media": ("on", "off"),
    "trouble": ("none", "refuses", "loses", "slow"),
    "send_limit": ("none", "613", "80002"),
}
NUMBERS = (
    "delay",
    "timeout",
    "give_up_after",
    "disable_after",
    "conversation_rate",
    "fetch_timeout",
    "send_rate",
    "media_rate",
    "latency",
)
# The least and the most of each whole number; the platform puts up to 1000 events into a POST.
WHOLE = {"duplicates": (0, 1000), "batch": (1, 1000), "lose": (0, 10**6), "big_page_limit": (1, 50)}


def change(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """The control API's `settings`: all of them as they are now, after these changes."""
    for name, choices in CHOICES.items():
        if name in order and order[name] not in choices:
            raise BadRequest(f"{name} is one of {', '.join(choices)}.")
    if "retries" in order and not isinstance(order["retries"], list):
        raise BadRequest("retries is a list of seconds.")
    changed = orders.changed(sandbox.world.settings, order, ())
    for name in NUMBERS:
        orders.number(getattr(changed, name), name)
    for name, (least, most) in WHOLE.items():
        setattr(changed, name, orders.whole(getattr(changed, name), name, least, most))
    for pause in changed.retries:
        orders.number(pause, "retries")
    for name in ("app_usage", "account_usage"):
        if not isinstance(getattr(changed, name), dict):
            raise BadRequest(f"{name} is an object of numbers; an empty one sends no header.")
    if "lose" in order:
        sandbox.webhooks.count_anew()
    sandbox.world.settings = changed
    sandbox.world.changed()
    return asdict(changed)
