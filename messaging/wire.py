"""Reads webhook bodies: bytes in, plain events out. Nothing here touches the database.

The shapes are those of Instagram's webhook reference (platform reference, 3.7 to 3.10); what is
unknown, odd or broken comes out as an `Unknown`, never as an exception.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
MAX_ID = 64
MAX_MID = 512
MAX_ATTACHMENTS = 50


@dataclass(frozen=True)
class AttachmentEvent:
    """Something that came with a message; `url` may be empty."""

    kind: str
    url: str


@dataclass(frozen=True)
class MessageEvent:
    """A message or an echo. `sender`, `recipient` and `entry` are ids, empty when missing."""

    entry: str
    sender: str
    recipient: str
    mid: str
    text: str
    timestamp: datetime | None
    is_echo: bool
    attachments: list[AttachmentEvent] = field(default_factory=list)


@dataclass(frozen=True)
class Unknown:
    """What we keep but do not show; `what` names it in an operator's words."""

    what: str


def read(body: bytes) -> list[MessageEvent | Unknown]:
    """Every event of one signed body, in its order."""
    try:
        envelope = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return [Unknown("not JSON")]
    envelopes = envelope if isinstance(envelope, list) else [envelope]
    return [event for one in envelopes for event in _events(one)] or [Unknown("no event")]


def _events(envelope: Any) -> Iterator[MessageEvent | Unknown]:
    if not isinstance(envelope, dict) or envelope.get("object") != "instagram":
        yield Unknown("not an Instagram notification")
        return
    for entry in _dicts(envelope.get("entry")):
        entry_id = _id(entry.get("id"))
        for item in [*_dicts(entry.get("messaging")), *_dicts(entry.get("standby"))]:
            yield _event(entry_id, item)
        for change in _dicts(entry.get("changes")):
            value = change.get("value")
            if change.get("field") == "messages" and isinstance(value, dict):
                yield _event(entry_id, value)
            else:
                yield Unknown(f"change of {_text(change.get('field'))[:40] or 'nothing'}")


def _event(entry_id: str, item: dict[str, Any]) -> MessageEvent | Unknown:
    message = item.get("message")
    if not isinstance(message, dict):
        names = sorted(_text(k) for k in item if k not in ("sender", "recipient", "timestamp"))
        return Unknown(", ".join(names)[:80] or "empty event")
    if entry_id == "0":
        return Unknown("test event from the Meta dashboard")
    mid = _text(message.get("mid"))
    if not mid or len(mid) > MAX_MID:
        return Unknown("message without a usable mid")
    if message.get("is_deleted"):
        return Unknown("unsend")
    if message.get("is_self"):
        return Unknown("message to oneself")
    attachments = list(_attachments(message))
    text = _text(message.get("text"))
    if not text and not attachments:
        return Unknown("message without content")
    return MessageEvent(
        entry=entry_id,
        sender=_party(item, "sender"),
        recipient=_party(item, "recipient"),
        mid=mid,
        text=text,
        timestamp=_time(item.get("timestamp")),
        is_echo=message.get("is_echo") is True,
        attachments=attachments,
    )


def _attachments(message: dict[str, Any]) -> Iterator[AttachmentEvent]:
    if message.get("is_unsupported"):
        yield AttachmentEvent("unsupported", "")
    for item in _dicts(message.get("attachments"))[:MAX_ATTACHMENTS]:
        payload = item.get("payload")
        url = _text(payload.get("url")) if isinstance(payload, dict) else ""
        yield AttachmentEvent(_text(item.get("type"))[:MAX_ID] or "unknown", url)


def _party(item: dict[str, Any], role: str) -> str:
    party = item.get(role)
    return _id(party.get("id")) if isinstance(party, dict) else ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    """`value` if it is text, with what a database cannot hold replaced by U+FFFD."""
    return UNSTORABLE.sub("\ufffd", value) if isinstance(value, str) else ""


def _id(value: Any) -> str:
    """An id as text; it may come as a bare number. Empty when it cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if value.bit_length() < 256 else ""
    text = _text(value)
    return text if len(text) <= MAX_ID else ""


def _time(value: Any) -> datetime | None:
    """A moment, from milliseconds, seconds (below 10^11), digits in text, or ISO 8601."""
    try:
        if isinstance(value, str) and not value.isdigit():
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        else:
            number = int(value)
            moment = datetime.fromtimestamp(number if number < 10**11 else number / 1000, UTC)
        moment = moment.astimezone(UTC)  # Odd offsets are more than a database takes.
        return moment if 2010 <= moment.year < 2100 else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None
