"""The Send API. The order of its refusals is part of what it promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import acts, events, graph, oauth
from .errors import GraphError, unsupported
from .state import DAY, Account, Conversation, Message, as_object
from .wire import Request, Response, as_json

if TYPE_CHECKING:
    from .server import Sandbox

TEXT_BYTES = 1000
MEDIA_TYPES = ("image", "video", "audio", "file")
SENDER_ACTIONS = ("typing_on", "typing_off", "mark_seen", "react", "unreact")
TYPING_SHOWS = 20
# How long an echo that overtakes the answer may hold the answer back.
ECHO_PATIENCE = 5


def send(sandbox: Sandbox, request: Request, node: str) -> Response:
    """POST /{me|IG_ID}/messages: token, role, access, recipient, window, body, result."""
    token, account = graph.caller_of_node(sandbox, request, node)
    if request.method != "POST":
        raise unsupported(request.method)
    graph.need_professional(account)
    graph.need(token, oauth.MESSAGES)
    if not account.messages_allowed:
        reason = "The account owner has disabled access to instagram direct messages"
        raise GraphError(reason, 200, 2534041, http=403)
    body = request.params
    conversation = _recipient(sandbox, account, body)
    _check_window(sandbox, conversation, body)
    if "sender_action" in body:
        _act(sandbox, conversation, body)
        return as_json({"recipient_id": conversation.igsid})
    message = sandbox.world.add_message(conversation, "api", _content(body.get("message")))
    message.choices = _choices(as_object(body.get("message")))
    response = as_json({"recipient_id": conversation.igsid, "message_id": message.mid})
    _echo(sandbox, account, conversation, message, response)
    return response


def _recipient(sandbox: Sandbox, account: Account, body: dict[str, Any]) -> Conversation:
    recipient = body.get("recipient")
    igsid = recipient.get("id") if isinstance(recipient, dict) else None
    if not igsid:
        raise GraphError("(#100) The parameter recipient is required", 100)
    found = sandbox.world.customer_of(str(igsid))
    if found is None:
        raise GraphError("The requested user cannot be found.", 100, 2534014)
    if found[0] is not account:
        raise GraphError("(#100) No matching user found", 100, 2018001)
    if found[1].blocked:
        raise GraphError("This person is not receiving messages from you.", 100, 2534029)
    # One who never wrote has no open window; that is for the next check to say.
    return sandbox.world.known_conversation(account.ig_id, str(igsid)) or Conversation(
        account.ig_id, str(igsid), found[1].username
    )


def _check_window(sandbox: Sandbox, conversation: Conversation, body: dict[str, Any]) -> None:
    tag = body.get("tag")
    if tag not in (None, "", "HUMAN_AGENT"):
        raise GraphError(f"(#100) Invalid message tag {tag}", 100)
    if tag and sandbox.world.settings.human_agent == "unapproved":
        raise GraphError(
            "To use 'Human Agent', your use of this endpoint must be reviewed and approved by "
            "Facebook.",
            10,
            http=403,
        )
    window = 7 * DAY if tag else DAY
    last = conversation.last_customer_at
    if last is None or sandbox.world.now() - last > window:
        message = "This message is sent outside of allowed window."
        raise GraphError(message, 10, 2534022, http=403)


def _act(sandbox: Sandbox, conversation: Conversation, body: dict[str, Any]) -> None:
    action = body["sender_action"]
    if "message" in body:
        raise GraphError("(#100) Cannot send message and sender_action together", 100, 2018014)
    if action not in SENDER_ACTIONS:
        names = ", ".join(SENDER_ACTIONS).upper()
        raise GraphError(f"(#100) Param sender_action must be one of {{{names}}}", 100)
    if action == "mark_seen":
        conversation.seen_at = sandbox.world.now()
    elif action in ("typing_on", "typing_off"):
        shows = TYPING_SHOWS if action == "typing_on" else 0
        conversation.typing_until = sandbox.world.now() + shows
    else:
        _react(conversation, action, as_object(body.get("payload")))
    sandbox.world.changed()


def _react(conversation: Conversation, action: str, wanted: dict[str, Any]) -> None:
    mid, reaction = wanted.get("message_id"), str(wanted.get("reaction") or "")
    message = next((row for row in conversation.messages if row.mid == mid), None)
    if message is None or message.gone:
        raise GraphError("(#100) Invalid message_id in payload", 100)
    if action == "unreact":
        message.reactions.pop("account", None)
        return
    if not reaction:
        raise GraphError("(#100) The parameter payload[reaction] is required", 100)
    emoji = acts.HEART if reaction == "love" else reaction
    message.reactions["account"] = {"reaction": acts.name_of(emoji), "emoji": emoji}


def _content(message: Any) -> dict[str, Any]:
    """The message as its echo shows it; raises for a body the platform would not send."""
    if not isinstance(message, dict) or not message:
        raise _invalid("(#100) The parameter message is required")
    text = message.get("text")
    attachments = message.get("attachments", message.get("attachment"))
    if (text is None) == (attachments is None):
        raise _invalid("(#100) A message carries either text or attachments")
    if attachments is None:
        return {"text": _checked_text(text)}
    listed = attachments if isinstance(attachments, list) else [attachments]
    if not 1 <= len(listed) <= 10:
        raise _invalid("(#100) A message carries up to 10 attachments")
    content = [_checked_attachment(attachment) for attachment in listed]
    if len(content) > 1 and any(item["type"] != "image" for item in content):
        raise _invalid("(#100) Several attachments in one message must be images")
    return {"attachments": content}


def _checked_text(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise _invalid("(#100) Param message[text] must be a non-empty string")
    # Bytes, not characters: 1000 letters with accents are too long.
    if len(text.encode("utf-8", "surrogatepass")) > TEXT_BYTES:
        raise _invalid(
            f"(#100) Length of param message[text] must be less than or equal to {TEXT_BYTES}"
        )
    return text


def _checked_attachment(attachment: Any) -> dict[str, Any]:
    kind = attachment.get("type") if isinstance(attachment, dict) else None
    if kind == "like_heart":
        return {"type": kind}
    payload = attachment.get("payload") if kind else None
    if kind not in (*MEDIA_TYPES, "template", "MEDIA_SHARE") or not isinstance(payload, dict):
        raise _invalid("(#100) Param message[attachment] must have a known type and a payload")
    if kind == "template":
        return {"type": kind, "payload": {"generic": {"elements": payload.get("elements", [])}}}
    if kind == "MEDIA_SHARE":
        return {"type": "ig_post", "payload": {"ig_post_media_id": str(payload.get("id", ""))}}
    if "attachment_id" in payload:
        raise GraphError("(#100) Invalid attachment ID", 100, 2018074)
    url = payload.get("url")
    if not isinstance(url, str) or not _is_web_address(url):
        raise GraphError("(#100) Failed to fetch the file from the url", 100, 2018008)
    return {"type": kind, "payload": {"url": url}}


def _choices(message: dict[str, Any]) -> list[dict[str, str]]:
    """What the person may tap: quick replies, and the postback buttons of a template."""
    payload = as_object(as_object(message.get("attachment")).get("payload"))
    cards = [payload, *_rows(payload.get("elements"))]
    buttons = [button for card in cards for button in _rows(card.get("buttons"))]
    found = [("quick_reply", row) for row in _rows(message.get("quick_replies"))]
    found += [("postback", row) for row in buttons if row.get("type") == "postback"]
    return [
        {"kind": kind, "title": str(row["title"]), "payload": str(row.get("payload", ""))}
        for kind, row in found
        if row.get("title")
    ]


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _echo(
    sandbox: Sandbox,
    account: Account,
    conversation: Conversation,
    message: Message,
    response: Response,
) -> None:
    """Let the echo overtake the answer, race it, or follow it."""

    def overtake() -> None:
        with sandbox.world.lock:
            delivery = events.deliver(sandbox, account, conversation, message)
        if delivery:
            delivery.tried.wait(ECHO_PATIENCE)

    def go() -> None:
        with sandbox.world.lock:
            events.deliver(sandbox, account, conversation, message)

    match sandbox.world.settings.echo:
        case "before":
            response.before.append(overtake)
        case "with":
            go()
        case "after":
            response.after += [go, sandbox.webhooks.promise()]


def _invalid(message: str) -> GraphError:
    return GraphError(message, 100, 2534015)
