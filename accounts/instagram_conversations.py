"""What Instagram's Conversations API answers, as plain values (Conversations, 5.1 to 5.3).

Whatever is missing or odd is left out: one strange message must not keep the others.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

MESSAGE_FIELDS = "id,created_time,from,to,message,attachments,shares,story,reactions,is_unsupported"
URLS = {"image": "image_data", "video": "video_data"}

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of a list, the newest first. `after` asks for the next; empty on the last one."""

    items: list[T]
    after: str


@dataclass(frozen=True)
class PastConversation:
    id: str
    updated_at: datetime | None


@dataclass(frozen=True)
class PastFile:
    """`kind` as in webhooks: image, video, audio, file, share or story_mention."""

    kind: str
    url: str
    title: str = ""


@dataclass(frozen=True)
class PastMessage:
    """A message as it is read back. Ids are text.

    Only the 20 newest of a conversation are told; of the others there is no `sender`.
    """

    mid: str
    at: datetime | None
    sender: str = ""
    recipient: str = ""
    text: str = field(default="", repr=False)
    files: tuple[PastFile, ...] = field(default=(), repr=False)
    story: str = field(default="", repr=False)
    """The story that it answers: its address, or its id once that is gone."""
    reactions: tuple[tuple[str, str], ...] = ()
    """Who, and the name or the character of the reaction."""
    is_unsupported: bool = False


def page(answer: Any, read: Callable[[dict[str, Any]], T]) -> Page[T]:
    """One page of a list. Its addresses are not followed: they hold a host, and tokens."""
    answer = _dict(answer)
    paging = _dict(answer.get("paging"))
    after = _text(_dict(paging.get("cursors")).get("after")) if paging.get("next") else ""
    return Page([read(item) for item in _dicts(answer.get("data")) if _id(item)], after)


def conversation(item: dict[str, Any]) -> PastConversation:
    return PastConversation(_id(item), _time(item.get("updated_time")))


def message(item: dict[str, Any]) -> PastMessage:
    to = _data(item.get("to"))
    story = _dict(item.get("story"))
    reply = _dict(story.get("reply_to"))
    return PastMessage(
        mid=_id(item),
        at=_time(item.get("created_time")),
        sender=_id(_dict(item.get("from"))),
        recipient=_id(to[0]) if to else "",
        text=_text(item.get("message")),
        files=_files(item, _dict(story.get("mention"))),
        story=_text(reply.get("link")) or _id(reply),
        reactions=tuple(
            (_id(person), _text(one.get("reaction")))
            for one in _data(item.get("reactions"))
            for person in _dicts(one.get("users"))
            if _id(person)
        ),
        is_unsupported=item.get("is_unsupported") is True,
    )


def _files(item: dict[str, Any], mention: dict[str, Any]) -> tuple[PastFile, ...]:
    found = [_file(one) for one in _data(item.get("attachments"))]
    for share in _data(item.get("shares")):
        title = _text(share.get("name")) or _text(share.get("description"))
        found.append(PastFile("share", _text(share.get("link")) or _text(share.get("url")), title))
    if mention:  # Its link is empty once the story has ended.
        found.append(PastFile("story_mention", _text(mention.get("link"))))
    return tuple(found)


def _file(one: dict[str, Any]) -> PastFile:
    for kind, name in URLS.items():
        if isinstance(data := one.get(name), dict):
            return PastFile(kind, _text(data.get("url")))
    # A voice note and a PDF come under the same name.
    told = _text(one.get("mime_type")) or _text(one.get("name"))
    return PastFile("audio" if told.startswith("audio") else "file", _text(one.get("file_url")))


def _data(value: Any) -> list[dict[str, Any]]:
    return _dicts(_dict(value).get("data"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _id(item: dict[str, Any]) -> str:
    """An item's id; it may come as a bare number."""
    value = item.get("id")
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 256:
        return str(value)
    return _text(value)


def _time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(value))
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if 2010 <= moment.year < 2100 else None
