"""Reads webhook bodies: bytes in, events out. Nothing here touches the database.

The shapes are those of Instagram's webhook reference (platform reference, 3.7 to 3.10). What is
unknown, odd or broken comes out as an event of kind `unknown`, never as an exception.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from .events import (
    BRING,
    KEPT_ONLY,
    MAX_ID,
    MAX_MID,
    UNSTORABLE,
    AttachmentEvent,
    Event,
    Kind,
    digest,
)

MAX_ATTACHMENTS = 50
PLAIN = ("messaging", "standby")
DASHBOARD = "0"
"""The `entry.id` of what the dashboard's Test button sends."""

NOTICES = {
    "optin": Kind.OPTIN,
    "pass_thread_control": Kind.HANDOVER,
    "take_thread_control": Kind.HANDOVER,
    "request_thread_control": Kind.HANDOVER,
    "app_roles": Kind.HANDOVER,
}
CHANGES = {
    "comments": Kind.COMMENT,
    "live_comments": Kind.COMMENT,
    "mentions": Kind.MENTION,
    "story_insights": Kind.INSIGHTS,
}
EMOJI = {
    "love": "❤️", "like": "👍", "dislike": "👎", "smile": "😆", "wow": "😮", "sad": "😢",
    "angry": "😠",
}  # fmt: skip


def read(body: bytes) -> list[Event]:
    """Every event of one signed body, in its order; at least one."""
    try:
        envelope = _parse(body)
    except (ValueError, RecursionError):
        return [_unknown("not JSON")]
    return [_event(place) for place in _places(envelope)] or [_unknown("no event")]


def scrub(body: bytes, positions: set[int]) -> bytes:
    """`body` without the content of the events at `positions` of its list; the others stay.

    Reading it gives as many events as before: unsends in place of messages.
    """
    return _rewrite(body, positions, _remove_content)


def blank(body: bytes, positions: set[int]) -> bytes:
    """`body` without the events at `positions`, of which nothing is left but their places."""
    return _rewrite(body, positions, lambda event, item: item.clear())


def _rewrite(
    body: bytes, positions: set[int], change: Callable[[Event, dict[str, Any]], None]
) -> bytes:
    envelope = _parse(body)
    for position, place in enumerate(_places(envelope)):
        if position in positions:
            change(_event(place), place.item)
    return json.dumps(envelope, separators=(",", ":")).encode()


def _remove_content(event: Event, item: dict[str, Any]) -> None:
    kept = {name: item[name] for name in ("sender", "recipient", "timestamp") if name in item}
    if event.kind in BRING:
        kept["message"] = {"mid": event.mid, "is_deleted": True, "is_scrubbed": True}
    elif event.kind == Kind.EDIT:
        kept["message_edit"] = {"mid": event.mid, "num_edit": event.number}
    else:
        return
    item.clear()
    item |= kept


def _parse(body: bytes) -> Any:
    return json.loads(body.decode("utf-8", "replace"))


def _unknown(note: str) -> Event:
    return Event(Kind.UNKNOWN, note=note)


class Place(NamedTuple):
    """Where an event stands: the entry's id and time, and the field that it was sent for, which
    is `messaging`, `standby` or the name of a change."""

    entry: str
    time: Any
    field: str
    item: dict[str, Any]


def _places(envelope: Any) -> Iterator[Place]:
    for one in envelope if isinstance(envelope, list) else [envelope]:
        if not isinstance(one, dict) or one.get("object") != "instagram":
            yield Place("", None, "object that is not instagram", {})
            continue
        for entry in _dicts(one.get("entry")):
            place = partial(Place, _id(entry.get("id")), entry.get("time"))
            for field_name in PLAIN:
                for item in _dicts(entry.get(field_name)):
                    yield place(field_name, item)
            # The documentation prints a change flat, in the entry itself.
            flat = [entry] if "field" in entry else []
            for change in [*_dicts(entry.get("changes")), *flat]:
                yield place(_text(change.get("field")), _dict(change.get("value")))


def _event(place: Place) -> Event:
    item = place.item
    routing = {
        "entry": place.entry,
        "sender": _party(item, "sender"),
        "recipient": _party(item, "recipient"),
        "timestamp": _time(item.get("timestamp")) or _time(place.time),
    }
    if place.entry == DASHBOARD:
        return Event(Kind.TEST, note=KEPT_ONLY[Kind.TEST], **routing)
    if kind := CHANGES.get(place.field):
        routing["sender"] = _party(item, "from")
        about = _id(item.get("id")) or _id(item.get("comment_id")) or _id(item.get("media_id"))
        return Event(kind, mid=about, note=KEPT_ONLY[kind], **routing)
    for name, reader in READERS.items():
        if isinstance(part := item.get(name), dict):
            mid = _text(part.get("mid"))
            if len(mid) > MAX_MID:
                return Event(Kind.UNKNOWN, note=f"{name} with a mid that is too long", **routing)
            return reader(place, part, {**routing, "mid": mid})
    for name, kind in NOTICES.items():
        if name in item:
            return Event(kind, note=f"{KEPT_ONLY[kind]} ({name})", **routing)
    return Event(Kind.UNKNOWN, note=_names(place), **routing)


def _names(place: Place) -> str:
    """What an operator is told of something that nobody understands."""
    if place.field not in PLAIN:
        return place.field[:40] or "change of nothing"
    known = ("sender", "recipient", "timestamp")
    return ", ".join(sorted(_text(k) for k in place.item if k not in known))[:80] or "empty event"


def _message(place: Place, part: dict[str, Any], routing: dict[str, Any]) -> Event:
    if not routing["mid"]:
        return Event(Kind.UNKNOWN, note="message without a mid", **routing)
    if part.get("is_deleted") is True:
        return Event(Kind.UNSEND, is_scrubbed=part.get("is_scrubbed") is True, **routing)
    if True in (part.get("is_self"), place.item.get("is_self")):
        return Event(Kind.SELF, note=KEPT_ONLY[Kind.SELF], **routing)
    is_echo = part.get("is_echo") is True or routing["sender"] == routing["entry"] != ""
    text = _text(part.get("text"))
    attachments = _attachments(part)
    if not text and not attachments:
        attachments = (AttachmentEvent("unknown"),)
    return Event(
        Kind.ECHO if is_echo else Kind.MESSAGE,
        text=text,
        attachments=attachments,
        context=_context(part, place),
        **routing,
    )


def _postback(place: Place, part: dict[str, Any], routing: dict[str, Any]) -> Event:
    if True in (part.get("is_self"), place.item.get("is_self")):
        return Event(Kind.SELF, note=KEPT_ONLY[Kind.SELF], **routing)
    payload = _text(part.get("payload"))
    title = _text(part.get("title"))
    if not routing["mid"]:  # Some come without; a copy must find the first again.
        moment = routing["timestamp"] and routing["timestamp"].isoformat()
        routing["mid"] = "postback:" + digest(routing["sender"], str(moment), title).hex()
    return Event(
        Kind.POSTBACK,
        text=title or payload,
        context=_context(part, place) | ({"payload": payload} if payload else {}),
        **routing,
    )


def _edit(place: Place, part: dict[str, Any], routing: dict[str, Any]) -> Event:
    number = _id(part.get("num_edit"))
    text = part.get("text")
    return Event(
        Kind.EDIT,
        text=_text(text) if isinstance(text, str) and text else None,
        number=int(number) if number.isdecimal() and len(number) < 5 else 0,
        **routing,
    )


def _reaction(place: Place, part: dict[str, Any], routing: dict[str, Any]) -> Event:
    emoji = _text(part.get("emoji")) or EMOJI.get(_text(part.get("reaction")), "❤️")
    return Event(
        Kind.REACTION, emoji="" if part.get("action") == "unreact" else emoji[:16], **routing
    )


def _seen(place: Place, part: dict[str, Any], routing: dict[str, Any]) -> Event:
    return Event(Kind.SEEN, **routing)


def _referral(place: Place, part: dict[str, Any], routing: dict[str, Any]) -> Event:
    return Event(Kind.REFERRAL, context={"referral": _referral_of(part)}, **routing)


READERS = {
    "message": _message,
    "message_edit": _edit,
    "reaction": _reaction,
    "read": _seen,
    "postback": _postback,
    "referral": _referral,
}


def _context(part: dict[str, Any], place: Place) -> dict[str, Any]:
    """What stands around a message; only what is there."""
    reply, quick = _dict(part.get("reply_to")), _dict(part.get("quick_reply"))
    story = _dict(reply.get("story"))
    found = {
        "reply_to": _text(reply.get("mid"))[:MAX_MID],
        "story": _text(story.get("url")) or _id(story.get("id")),
        "payload": _text(quick.get("payload")),
        "referral": _referral_of(_dict(part.get("referral"))),
        "standby": place.field == "standby",
    }
    return {name: value for name, value in found.items() if value}


def _referral_of(part: dict[str, Any]) -> dict[str, str]:
    """Where somebody comes from: an ad, a product, a link."""
    ad, product = _dict(part.get("ads_context_data")), _dict(part.get("product"))
    found = {
        "ref": _text(part.get("ref")),
        "source": _text(part.get("source")),
        "ad_id": _id(part.get("ad_id")),
        "ad_title": _text(ad.get("ad_title")),
        "product_id": _id(product.get("id")),
    }
    return {name: value[:255] for name, value in found.items() if value}


def _attachments(part: dict[str, Any]) -> tuple[AttachmentEvent, ...]:
    found = [AttachmentEvent("unsupported")] if part.get("is_unsupported") else []
    for item in _dicts(part.get("attachments"))[:MAX_ATTACHMENTS]:
        found.append(_attachment(_text(item.get("type"))[:MAX_ID] or "unknown", item))
    # While Instagram renames `share` to `ig_post`, one shared post comes as both (3.9).
    posts = {one.url for one in found if one.kind in ("ig_post", "ig_reel")}
    return tuple(one for one in found if not (one.kind == "share" and one.url in posts))


def _attachment(kind: str, item: dict[str, Any]) -> AttachmentEvent:
    payload = _dict(item.get("payload"))
    story = _dict(payload.get("story"))
    url = payload.get("url") or payload.get("story_media_url") or story.get("url")
    title = _text(payload.get("title")) or _text(item.get("title"))
    if kind == "image" and payload.get("sticker_id"):
        kind = "sticker"
    if kind == "template":
        elements = _dicts(_dict(payload.get("generic")).get("elements"))
        titles = [_text(one.get("title")) for one in elements]
        title = " · ".join(filter(None, titles)) or _text(payload.get("text"))
    return AttachmentEvent(kind, _text(url), title)


def _party(item: dict[str, Any], role: str) -> str:
    return _id(_dict(item.get(role)).get("id"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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
