"""Trouble on demand: errors, slowness and lost connections, by endpoint, account and call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import error_table, ids, orders
from .errors import GraphError
from .wire import BadRequest, Response

ENDPOINTS = (
    "code_exchange",
    "access_token",
    "refresh_access_token",
    "me",
    "profile",
    "subscribed_apps",
    "messages",
    "message_attachments",
    "conversations",
    "media",
    "*",
)


# The parts of an error besides code, subcode, message, type and HTTP status.
OPTIONAL = ("is_transient", "error_user_title", "error_user_msg", "error_data")


@dataclass
class Call:
    """What a fault can tell calls apart by."""

    endpoint: str
    account: str | None = None
    igsid: str | None = None
    text: str = ""


@dataclass
class Fault:
    endpoint: str
    account: str | None = None  # an IG_ID; None: every account
    customer: str | None = None  # an IGSID, or a username until the account is known
    text: str | None = None
    nth: int | None = None
    times: int | None = None
    every: int | None = None
    error: dict[str, Any] | None = None
    status: int | None = None
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    latency: float = 0
    drop: str | None = None  # before | after
    seen: int = 0

    def concerns(self, call: Call) -> bool:
        return (
            self.endpoint in (call.endpoint, "*")
            and self.account in (None, call.account)
            and (self.customer is None or self._is_customer(call))
            and (self.text is None or self.text in call.text)
        )

    def applies(self) -> bool:
        """Count this call and say whether it is one of those meant."""
        self.seen += 1
        first, step = self.nth or self.every or 1, self.every or 1
        if self.seen < first or (self.seen - first) % step:
            return False
        only = 1 if self.nth and not self.every else None
        most = self.times or only
        return most is None or (self.seen - first) // step < most

    def answer(self) -> Response | None:
        """What to say instead of acting; None when the call is to be carried out."""
        if self.error is not None:
            error = GraphError(
                self.error.get("message", "An unexpected error has occurred."),
                self.error.get("code", 2),
                self.error.get("subcode"),
                http=self.error.get("http", 400),
                type=self.error.get("type", "IGApiException"),
                more={name: self.error[name] for name in OPTIONAL if name in self.error},
            )
            return error.response()
        if self.status is not None:
            content_type = self.headers.get("Content-Type", "text/html; charset=utf-8")
            return Response(self.status, (self.body or "").encode(), content_type)
        return None

    def _is_customer(self, call: Call) -> bool:
        own = ids.igsid(call.account, self.customer or "") if call.account else None
        return call.igsid is not None and call.igsid in (self.customer, own)


def from_order(order: dict[str, Any]) -> Fault:
    unknown = set(order) - (set(Fault.__dataclass_fields__) - {"seen"})
    if unknown:
        raise BadRequest(f"A fault has no {', '.join(sorted(unknown))}.")
    if order.get("endpoint") not in ENDPOINTS:
        raise BadRequest(f"endpoint is one of {', '.join(ENDPOINTS)}.")
    if order.get("drop") not in (None, "before", "after"):
        raise BadRequest("drop is before or after.")
    for name in ("latency", "status"):
        if order.get(name) is not None:
            orders.number(order[name], name)
    for name in ("nth", "times", "every"):
        if order.get(name) is not None:
            orders.whole(order[name], name, 1, 10**6)
    return Fault(**{**order, "error": _error(order.get("error"))})


# What a visitor may switch on: each befalls every send until it is switched off.
TROUBLES = {
    "refuses": Fault("messages", error=error_table.named("551")),
    "loses": Fault("messages", drop="after"),
    "slow": Fault("messages", latency=5),
}


class Faults:
    def __init__(self) -> None:
        self.listed: list[Fault] = []

    def take(self, call: Call, trouble: str) -> Fault | None:
        """The first fault meant for this call. Every fault it matches counts it."""
        matching = [fault for fault in self.listed if fault.concerns(call)]
        meant = [fault for fault in matching if fault.applies()]
        played = TROUBLES.get(trouble)
        if played and played.concerns(call):
            meant.append(played)
        return meant[0] if meant else None


def _error(error: Any) -> dict[str, Any] | None:
    """An error of one's own, or by its name the one the platform would give."""
    if isinstance(error, str):
        return error_table.named(error)
    if error is None:
        return None
    known = ("code", "subcode", "message", "type", "http", *OPTIONAL)
    if not isinstance(error, dict) or set(error) - set(known):
        raise BadRequest(f"error is a name such as 190/460, or has {', '.join(known)}.")
    return error
