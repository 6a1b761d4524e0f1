"""Trouble on demand: errors, slowness and lost connections, by endpoint, account and call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import orders
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


@dataclass
class Fault:
    endpoint: str
    account: str | None = None  # an IG_ID; None: every account
    nth: int | None = None
    times: int | None = None
    error: dict[str, Any] | None = None
    status: int | None = None
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    latency: float = 0
    drop: str | None = None  # before | after
    seen: int = 0

    def applies(self) -> bool:
        """Count this call and say whether it is one of those meant."""
        self.seen += 1
        if self.nth is not None:
            return self.seen == self.nth
        return self.times is None or self.seen <= self.times

    def answer(self) -> Response | None:
        """What to say instead of acting; None when the call is to be carried out."""
        if self.error is not None:
            error = GraphError(
                self.error.get("message", "An unexpected error has occurred."),
                self.error.get("code", 2),
                self.error.get("subcode"),
                http=self.error.get("http", 400),
                type=self.error.get("type", "IGApiException"),
            )
            return error.response()
        if self.status is not None:
            content_type = self.headers.get("Content-Type", "text/html; charset=utf-8")
            return Response(self.status, (self.body or "").encode(), content_type)
        return None


def from_order(order: dict[str, Any]) -> Fault:
    unknown = set(order) - (set(Fault.__dataclass_fields__) - {"seen"})
    if unknown:
        raise BadRequest(f"A fault has no {', '.join(sorted(unknown))}.")
    if order.get("endpoint") not in ENDPOINTS:
        raise BadRequest(f"endpoint is one of {', '.join(ENDPOINTS)}.")
    if order.get("drop") not in (None, "before", "after"):
        raise BadRequest("drop is before or after.")
    for name in ("nth", "times", "latency", "status"):
        if order.get(name) is not None:
            orders.number(order[name], name)
    return Fault(**order)


class Faults:
    def __init__(self) -> None:
        self.listed: list[Fault] = []

    def take(self, endpoint: str, ig_id: str | None) -> Fault | None:
        """The first fault meant for this call. Every fault it matches counts it."""
        matching = [
            fault
            for fault in self.listed
            if fault.endpoint in (endpoint, "*") and fault.account in (None, ig_id)
        ]
        return next((fault for fault in [f for f in matching if f.applies()]), None)
