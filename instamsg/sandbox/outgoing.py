"""What a shop may send: each body checked against its limits, and how the echo shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import fetching, media, templates
from .errors import GraphError, invalid_message
from .state import Account, Conversation, as_object
from .wire import Request

if TYPE_CHECKING:
    from .server import Sandbox

TEXT_BYTES = 1000
MOST_ATTACHMENTS = 10
MOST_QUICK_REPLIES = 13
TITLE_LENGTH, PAYLOAD_LENGTH = 20, 1000

Content = dict[str, Any]


def content_of(
    sandbox: Sandbox,
    request: Request,
    account: Account,
    conversation: Conversation,
    body: dict[str, Any],
) -> Content:
    """The message as its echo shows it; raises for a body the platform would not send."""
    message = body.get("message")
    if not isinstance(message, dict) or not message:
        raise invalid_message("(#100) The parameter message is required")
    text, attachments = message.get("text"), _listed(message)
    if (text is None) == (attachments is None):
        raise invalid_message("(#100) A message carries either text or attachments")
    reply = _reply_to(sandbox, conversation, body)
    if attachments is None:
        return {"text": _checked_text(text), **reply}
    if message.get("quick_replies"):
        raise invalid_message("(#100) Quick replies go with a text")
    return {"attachments": _attachments(sandbox, request, account, attachments), **reply}


def choices_of(message: dict[str, Any]) -> list[dict[str, str]]:
    """What the person may tap: quick replies, and the postback buttons of a template."""
    found = _quick_replies(message)
    for attachment in _listed(message) or []:
        found += templates.postbacks(as_object(as_object(attachment).get("payload")))
    return found


def file_in(sandbox: Sandbox, request: Request, kind: str, payload: dict[str, Any]) -> str:
    """Fetch what the payload's `url` names; the address under which the platform keeps it."""
    url = payload.get("url")
    if not _is_web_address(url):
        raise GraphError("(#100) Failed to fetch the file from the url", 100, 2018008)
    if sandbox.world.settings.fetch_media == "off":
        return url
    content, content_type = fetching.checked(request.fetched[url], kind)
    return media.keep(sandbox, content, content_type)


def need_fetched(sandbox: Sandbox, request: Request, attachments: list[dict[str, Any]]) -> None:
    """Raise `Wanted` until everything these attachments name by address is here."""
    if sandbox.world.settings.fetch_media == "off":
        return
    urls = [as_object(attachment.get("payload")).get("url") for attachment in attachments]
    missing = [url for url in urls if _is_web_address(url) and url not in request.fetched]
    if missing:
        raise fetching.Wanted(missing)


def _listed(message: dict[str, Any]) -> list[Any] | None:
    """One or several, under the singular or the plural name; None when there are none."""
    attachments = message.get("attachments", message.get("attachment"))
    if attachments is None or isinstance(attachments, list):
        return attachments
    return [attachments]


def _attachments(
    sandbox: Sandbox, request: Request, account: Account, listed: list[Any]
) -> list[Content]:
    if not 1 <= len(listed) <= MOST_ATTACHMENTS:
        raise invalid_message(f"(#100) A message carries up to {MOST_ATTACHMENTS} attachments")
    for attachment in listed:
        _check_shape(sandbox, account, attachment)
    if len(listed) > 1 and any(item["type"] != "image" for item in listed):
        raise invalid_message("(#100) Several attachments in one message must be images")
    need_fetched(sandbox, request, [item for item in listed if item["type"] in media.SAMPLES])
    return [_shown(sandbox, request, item) for item in listed]


def _check_shape(sandbox: Sandbox, account: Account, attachment: Any) -> None:
    """What can be said against an attachment before anything is fetched."""
    kind = attachment.get("type") if isinstance(attachment, dict) else None
    if kind == "like_heart":
        return
    payload = attachment.get("payload") if kind else None
    if kind not in (*media.SAMPLES, "template", "MEDIA_SHARE") or not isinstance(payload, dict):
        raise invalid_message("(#100) Param message[attachment] must have a known type and payload")
    if kind == "template":
        templates.check(payload)
    elif kind == "MEDIA_SHARE":
        if not str(payload.get("id", "")).isdecimal():
            raise invalid_message("(#100) Param payload[id] must be the id of a media you own")
    elif "attachment_id" in payload:
        _uploaded(sandbox, account, kind, payload)
    else:
        if not _is_web_address(payload.get("url")):
            raise GraphError("(#100) Failed to fetch the file from the url", 100, 2018008)


def _shown(sandbox: Sandbox, request: Request, attachment: dict[str, Any]) -> Content:
    kind, payload = attachment["type"], as_object(attachment.get("payload"))
    if kind == "like_heart":
        return {"type": kind}
    if kind == "template":
        return {"type": kind, "payload": templates.shown(payload)}
    if kind == "MEDIA_SHARE":
        post = {"ig_post_media_id": str(payload["id"]), "url": media.sample(sandbox, "image")}
        return {"type": "ig_post", "payload": post}
    known = sandbox.world.uploads.get(str(payload.get("attachment_id")))
    url = known["url"] if known else file_in(sandbox, request, kind, payload)
    return {"type": kind, "payload": {"url": url}}


def _uploaded(sandbox: Sandbox, account: Account, kind: str, payload: dict[str, Any]) -> None:
    known = sandbox.world.uploads.get(str(payload["attachment_id"]))
    if known is None or known["ig_id"] != account.ig_id:
        raise GraphError("(#100) Invalid attachment ID", 100, 2018074)
    if known["kind"] != kind:
        raise GraphError("(#100) Attachment type does not match the file", 100, 2018047)


def _checked_text(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise invalid_message("(#100) Param message[text] must be a non-empty string")
    # Bytes, not characters: 1000 letters with accents are too long.
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES:
        raise invalid_message(
            f"(#100) Length of param message[text] must be less than or equal to {TEXT_BYTES}"
        )
    return text


def _reply_to(sandbox: Sandbox, conversation: Conversation, body: dict[str, Any]) -> Content:
    if "reply_to" not in body:
        return {}
    if sandbox.world.settings.reply_to == "refused":
        raise GraphError("(#100) The parameter reply_to is not supported", 100)
    mid = as_object(body["reply_to"]).get("mid")
    if not any(row.mid == mid and not row.gone for row in conversation.messages):
        raise invalid_message("(#100) Param reply_to[mid] must be a message of this conversation")
    return {"reply_to": {"mid": mid}}


def _quick_replies(message: dict[str, Any]) -> list[dict[str, str]]:
    listed = message.get("quick_replies") or []
    if not isinstance(listed, list) or len(listed) > MOST_QUICK_REPLIES:
        raise invalid_message(f"(#100) A message carries up to {MOST_QUICK_REPLIES} quick replies")
    return [_quick_reply(as_object(row)) for row in listed]


def _quick_reply(row: dict[str, Any]) -> dict[str, str]:
    title, payload = row.get("title"), row.get("payload")
    if row.get("content_type") != "text":
        raise GraphError("(#100) Quick replies have the content_type text", 100)
    if not isinstance(title, str) or not title.strip():
        raise invalid_message("(#100) A quick reply needs a title")
    if not isinstance(payload, str) or not 1 <= len(payload) <= PAYLOAD_LENGTH:
        raise invalid_message(f"(#100) A quick reply has a payload of 1 to {PAYLOAD_LENGTH}")
    return {"kind": "quick_reply", "title": title[:TITLE_LENGTH], "payload": payload}


def _is_web_address(url: Any) -> bool:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
