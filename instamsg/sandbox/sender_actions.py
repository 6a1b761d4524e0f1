"""What the Send API does besides sending: typing, seen, reactions. None of them has an echo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import acts
from .errors import GraphError
from .state import Conversation, Message, as_object

if TYPE_CHECKING:
    from .server import Sandbox

ACTIONS = ("typing_on", "typing_off", "mark_seen", "react", "unreact")
TYPING_SHOWS = 20


def check(conversation: Conversation, body: dict[str, Any]) -> None:
    """Raise for an action the platform would not carry out."""
    action = body["sender_action"]
    if "message" in body:
        raise GraphError("(#100) Cannot send message and sender_action together", 100, 2018014)
    if action not in ACTIONS:
        names = ", ".join(ACTIONS).upper()
        raise GraphError(f"(#100) Param sender_action must be one of {{{names}}}", 100)
    if action in ("react", "unreact"):
        _message(conversation, body)
    if action == "react":
        _emoji(body)


def perform(sandbox: Sandbox, conversation: Conversation, body: dict[str, Any]) -> None:
    now = sandbox.world.now()
    match body["sender_action"]:
        case "typing_on":
            conversation.typing_until = now + TYPING_SHOWS
        case "typing_off":
            conversation.typing_until = now
        case "mark_seen":
            conversation.seen_at = now
        case "react":
            emoji = _emoji(body)
            reaction = {"reaction": acts.name_of(emoji), "emoji": emoji}
            _message(conversation, body).reactions["account"] = reaction
        case "unreact":
            _message(conversation, body).reactions.pop("account", None)
    sandbox.world.changed()


def _message(conversation: Conversation, body: dict[str, Any]) -> Message:
    mid = as_object(body.get("payload")).get("message_id")
    message = next((row for row in conversation.messages if row.mid == mid), None)
    if message is None or message.gone:
        raise GraphError("(#100) Invalid message_id in payload", 100)
    return message


def _emoji(body: dict[str, Any]) -> str:
    reaction = as_object(body.get("payload")).get("reaction")
    if not isinstance(reaction, str) or not reaction:
        raise GraphError("(#100) The parameter payload[reaction] is required", 100)
    if reaction == "love":
        return acts.HEART
    # An emoji never is plain ASCII; names other than love are not known here.
    if reaction.isascii():
        raise GraphError("(#100) Param payload[reaction] must be love or an emoji", 100)
    return reaction
