"""What Instagram tells, in our words: one event for each thing that happened.

`wire` reads them out of webhooks, `read_back` out of conversations.
"""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
MAX_ID = 64
MAX_MID = 512


class Kind(StrEnum):
    """What an event tells. The first three bring content, those after them are about it."""

    MESSAGE = "message"
    ECHO = "echo"
    POSTBACK = "postback"
    EDIT = "edit"
    UNSEND = "unsend"
    REACTION = "reaction"
    SEEN = "seen"
    REFERRAL = "referral"
    SELF = "self"
    OPTIN = "optin"
    HANDOVER = "handover"
    COMMENT = "comment"
    MENTION = "mention"
    INSIGHTS = "insights"
    TEST = "test"
    UNKNOWN = "unknown"


CONTENT = {Kind.MESSAGE, Kind.ECHO, Kind.POSTBACK}
BRING = {*CONTENT, Kind.SELF}
"""What brings a text that may be taken back, shown here or not."""

LATER = {Kind.EDIT, Kind.UNSEND, Kind.REACTION}
"""About a message that was sent before; it may arrive before that message all the same."""

KEPT_ONLY = {
    Kind.SELF: "a message to oneself",
    Kind.OPTIN: "an opt-in to news",
    Kind.HANDOVER: "another app was given, or took, the conversation",
    Kind.COMMENT: "a comment",
    Kind.MENTION: "a mention",
    Kind.INSIGHTS: "figures of a story",
    Kind.TEST: "test event from the Meta dashboard",
}
"""Understood, kept in the ledger, and not shown in the inbox."""


@dataclass(frozen=True)
class AttachmentEvent:
    """Something that came with a message; `url` and `title` may be empty."""

    kind: str
    url: str = ""
    title: str = ""


@dataclass(frozen=True)
class Event:
    """One thing that Instagram tells. Ids are text, empty when missing.

    `entry`, `sender` and `recipient` are the ids that route it; `mid` is the message that it
    brings or is about. `text` is None where none was given, which is not the same as empty.
    """

    kind: Kind
    entry: str = ""
    sender: str = ""
    recipient: str = ""
    timestamp: datetime | None = None
    mid: str = ""
    text: str | None = None
    attachments: tuple[AttachmentEvent, ...] = ()
    context: dict[str, Any] = field(default_factory=dict)
    """Around content: what it answers (`reply_to`, a mid, or `story`), `payload`, `referral`,
    `standby`; `read_back` when no webhook told of it."""
    number: int = 0
    """Of an edit: how many there have been."""
    emoji: str = ""
    """Of a reaction; empty when it was taken back."""
    is_scrubbed: bool = False
    """Of an unsend: it stands in the ledger where a message was, and knows no time of its own."""
    note: str = ""
    """What an operator reads of an event that is not shown."""


def key_of(event: Event) -> bytes:
    """16 bytes that copies of an event share, and nothing else that is told of its message."""
    parts = [
        event.kind, event.entry, event.sender, event.recipient, event.mid,
        event.timestamp.isoformat() if event.timestamp else "",
        event.text or "", event.emoji, event.number,
    ]  # fmt: skip
    return digest(*map(str, parts))


def mid_digest(instagram_account_id: str, mid: str) -> bytes:
    """16 bytes that stand for a message in indexes.

    A mid itself has 164 characters and is unique for one account only (3.8).
    """
    return digest(instagram_account_id, mid)


def digest(*parts: str) -> bytes:
    """16 bytes that stand for all of `parts` in indexes."""
    text = "\x00".join(parts)
    return hashlib.sha256(text.encode()).digest()[:16]
