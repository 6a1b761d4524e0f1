"""Requests and responses as plain values: everything above the socket is a function of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from email.message import Message


class BadRequest(Exception):
    """The caller's mistake, in words for the caller."""


class Dropped(Exception):
    """Close the connection without an answer."""

    def __init__(self, after: list[Callable[[], None]] | None = None) -> None:
        self.after = after or []


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes = b""
    # What was fetched for this call from the addresses it names.
    fetched: dict[str, Any] = field(default_factory=dict)

    @property
    def content_type(self) -> str:
        return (self.headers.get("Content-Type") or "").split(";")[0].strip().lower()

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of a urlencoded or multipart form; empty for any other body."""
        if self.content_type == "application/x-www-form-urlencoded":
            return fields(self.body.decode("utf-8", "replace"))
        if self.content_type == "multipart/form-data":
            return _multipart(self.headers["Content-Type"], self.body)
        return {}

    @cached_property
    def json(self) -> dict[str, Any]:
        """The JSON object in the body; empty when there is no body."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            raise BadRequest("The body is not JSON.") from None
        if not isinstance(value, dict):
            raise BadRequest("The body is not a JSON object.")
        return value

    @cached_property
    def params(self) -> dict[str, Any]:
        """Query and body together, as the platform reads them; form values may hold JSON."""
        if self.content_type == "application/json":
            return {**self.query, **self.json}
        return {**self.query, **{name: _unpacked(value) for name, value in self.form.items()}}

    @cached_property
    def token(self) -> tuple[str, str]:
        """The access token and where it came from: header, query, body or none."""
        scheme, _, value = (self.headers.get("Authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and value.strip():
            return value.strip(), "header"
        if self.query.get("access_token"):
            return self.query["access_token"], "query"
        try:
            sent = self.params.get("access_token")
        except BadRequest:
            sent = None
        return (sent, "body") if isinstance(sent, str) and sent else ("", "none")


@dataclass
class Response:
    status: int
    body: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict)
    # What happens around the answer: an echo can overtake it, or follow it.
    before: list[Callable[[], None]] = field(default_factory=list)
    after: list[Callable[[], None]] = field(default_factory=list)


def as_json(value: Any, status: int = 200) -> Response:
    body = json.dumps(value, separators=(",", ":")).encode()
    return Response(status, body, "application/json; charset=UTF-8")


def as_text(value: str, status: int = 200) -> Response:
    return Response(status, value.encode(), "text/plain; charset=utf-8")


def redirect(url: str, status: int = 302) -> Response:
    return Response(status, b"", "text/plain; charset=utf-8", {"Location": url})


def fields(text: str) -> dict[str, str]:
    """A query string or urlencoded form; the last of two equal names wins."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=200))
    except ValueError:
        raise BadRequest("Too many fields.") from None


def _unpacked(value: str) -> Any:
    if value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _multipart(content_type: str, body: bytes) -> dict[str, str]:
    from email import message_from_bytes, policy

    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    form = message_from_bytes(head + body, policy=policy.HTTP)
    return {
        str(part.get_param("name", header="content-disposition")): str(part.get_content())
        for part in form.iter_parts()
        if part.get_content_maintype() == "text"
    }
