"""What a message looks like to the Send API (4.1)."""

from collections.abc import Iterable, Mapping
from typing import Any

Body = dict[str, Any]


def text(text: str, quick_replies: Iterable[Mapping[str, str]] = ()) -> Body:
    """At most 1,000 bytes of UTF-8, and up to 13 quick replies of `title` and `payload`."""
    choices = [{"content_type": "text", **choice} for choice in quick_replies]
    return {"message": {"text": text} | ({"quick_replies": choices} if choices else {})}


def files(kind: str, urls: list[str]) -> Body:
    """One image, video, audio or file, or up to 10 images; Instagram fetches them meanwhile."""
    attachments = [{"type": kind, "payload": {"url": url}} for url in urls]
    if len(attachments) == 1:
        return {"message": {"attachment": attachments[0]}}
    return {"message": {"attachments": attachments}}


def by_a_person(body: Body) -> Body:
    """For what a person writes between 24 hours and 7 days after the customer (4.3)."""
    return {"messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT"} | body


def reaction(mid: str, emoji: str) -> Body:
    """A reaction to the message `mid`; without an emoji the one that is there goes."""
    if not emoji:
        return {"sender_action": "unreact", "payload": {"message_id": mid}}
    return {"sender_action": "react", "payload": {"message_id": mid, "reaction": emoji}}


def action(name: str) -> Body:
    """`typing_on`, `typing_off` or `mark_seen`."""
    return {"sender_action": name}
