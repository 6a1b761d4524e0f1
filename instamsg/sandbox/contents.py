"""What a message may hold: a sample of everything a customer can send."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import media
from .state import Conversation
from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox

Content = dict[str, Any]


def content_from(sandbox: Sandbox, order: dict[str, Any]) -> Content:
    """The message object of an order: from `message`, or from `kind`, `text`, `attachments`…"""
    if isinstance(order.get("message"), dict):
        return dict(order["message"])
    content: Content = {}
    if order.get("text"):
        content["text"] = str(order["text"])
    attachments = list(order.get("attachments") or [])
    if order.get("image"):
        attachments.append({"type": "image"})
    if attachments:
        content["attachments"] = [_with_address(sandbox, item) for item in attachments]
    if order.get("kind"):
        content = {**_sample(sandbox, order["kind"]), **content}
    if order.get("quick_reply"):
        content["quick_reply"] = {"payload": str(order["quick_reply"])}
    if not content:
        raise BadRequest("Say something: text, kind, image, attachments or message.")
    return content


def answering(chat: Conversation, content: Content, mid: Any) -> Content:
    """The same as the answer to a message; to one's own it says so."""
    own = any(row.mid == mid and row.by == "customer" for row in chat.messages)
    reply = {"reply_to": {"mid": str(mid)}}
    return {**content, **reply, **({"is_self_reply": True} if own else {})}


def _sample(sandbox: Sandbox, kind: Any) -> Content:
    make = KINDS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise BadRequest(f"kind is one of {', '.join(KINDS)}.")
    return make(sandbox)


def _with_address(sandbox: Sandbox, attachment: Any) -> dict[str, Any]:
    if not isinstance(attachment, dict):
        raise BadRequest("An attachment is an object.")
    kind = attachment.get("type")
    if kind in media.SAMPLES and "payload" not in attachment:
        return {**attachment, "payload": {"url": media.sample(sandbox, kind)}}
    return attachment


def _attached(*attachments: dict[str, Any]) -> Content:
    return {"attachments": list(attachments)}


def _file(kind: str) -> Callable[[Sandbox], Content]:
    return lambda sandbox: _attached(_with_address(sandbox, {"type": kind}))


def _picture_as(kind: str, **more: Any) -> Callable[[Sandbox], Content]:
    """An attachment that is a picture with something to it."""

    def make(sandbox: Sandbox) -> Content:
        url = media.sample(sandbox, "image")
        return _attached({"type": kind, "payload": {**more, "url": url}})

    return make


def _story(sandbox: Sandbox) -> Content:
    payload = {"story_media_id": "18000000000000002"}
    payload["story_media_url"] = media.sample(sandbox, "image")
    return _attached({"type": "ig_story", "payload": payload})


def _reel(sandbox: Sandbox) -> Content:
    # A page and not a file: that is how reels come in live traffic.
    url = "https://www.instagram.com/reel/DExample01/"
    payload = {"reel_video_id": "18000000000000001", "title": "How a mug is made", "url": url}
    return _attached({"type": "ig_reel", "payload": payload})


def _post_twice(sandbox: Sandbox) -> Content:
    """One shared post under its old and its new name, as in the months of the change."""
    url = media.sample(sandbox, "image")
    post = {"ig_post_media_id": "18012345678901235", "title": "Autumn glazes", "url": url}
    old = {"type": "share", "payload": {"url": url}}
    return _attached(old, {"type": "ig_post", "payload": post})


def _shared_comment(sandbox: Sandbox) -> Content:
    return _attached({"type": "template", "payload": {"generic": {"elements": []}}})


def _several_pictures(sandbox: Sandbox) -> Content:
    return _attached(*(_with_address(sandbox, {"type": "image"}) for _ in range(3)))


def _story_reply(sandbox: Sandbox) -> Content:
    story = {"id": "18000000000000009", "url": media.sample(sandbox, "image")}
    return {"text": "Love it!", "reply_to": {"story": story}}


def _from_ad(sandbox: Sandbox) -> Content:
    context = {"ad_title": "Autumn sale", "photo_url": media.sample(sandbox, "image")}
    referral = {"ref": "autumn", "ad_id": "120200000000000001", "source": "ADS"}
    referral |= {"type": "OPEN_THREAD", "ads_context_data": context}
    return {"text": "Hello", "referral": referral}


def _from_product(sandbox: Sandbox) -> Content:
    return {"text": "Is this available?", "referral": {"product": {"id": "5500000000000001"}}}


KINDS: dict[str, Callable[[Sandbox], Content]] = {
    "image": _file("image"),
    "images": _several_pictures,
    "video": _file("video"),
    "audio": _file("audio"),
    "file": _file("file"),
    "gif": _picture_as("image"),
    "sticker": _picture_as("image", sticker_id=369239263222822),
    "heart": lambda sandbox: _attached({"type": "like_heart"}),
    "post": _picture_as("ig_post", ig_post_media_id="18012345678901234", title="Autumn glazes"),
    "reel": _reel,
    "story": _story,
    "story_mention": _picture_as("story_mention"),
    "story_reply": _story_reply,
    "share": _picture_as("share"),
    "share_and_post": _post_twice,
    "shared_comment": _shared_comment,
    "link": lambda sandbox: _attached(
        {"type": "fallback", "payload": {"title": "A page", "url": "https://example.com/"}}
    ),
    "ephemeral": lambda sandbox: _attached({"type": "ephemeral"}),
    "unsupported_type": _picture_as("unsupported_type"),
    "unsupported": lambda sandbox: {"is_unsupported": True},
    "quick_reply": lambda sandbox: {"text": "Red", "quick_reply": {"payload": "COLOR_RED"}},
    "ad": _from_ad,
    "product": _from_product,
}
