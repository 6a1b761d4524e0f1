"""What a customer does in a chat besides writing: react, edit, take back, look, tap, arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import events
from .state import Account, Conversation, Customer, Message
from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox

HEART = "\u2764\ufe0f"
MOST_EDITS = 5


def react(
    sandbox: Sandbox, account: Account, chat: Conversation, message: Message, emoji: str, name: str
) -> bool:
    """One reaction per person and message: a new one takes the place of the one before."""
    reaction = {"reaction": name or name_of(emoji), "emoji": emoji}
    message.reactions["customer"] = reaction
    what = {"mid": message.mid, "action": "react", **reaction}
    return _tell(sandbox, account, chat, "message_reactions", {"reaction": what})


def unreact(sandbox: Sandbox, account: Account, chat: Conversation, message: Message) -> bool:
    if message.reactions.pop("customer", None) is None:
        raise BadRequest("There is no reaction to take back.")
    what = {"mid": message.mid, "action": "unreact"}
    return _tell(sandbox, account, chat, "message_reactions", {"reaction": what})


def edit(
    sandbox: Sandbox, account: Account, chat: Conversation, message: Message, text: str
) -> bool:
    if message.by != "customer" or "text" not in message.content:
        raise BadRequest("Only the customer's own texts can be edited.")
    if not text:
        raise BadRequest("text is missing.")
    if message.num_edit >= MOST_EDITS:
        raise BadRequest(f"A message can be edited {MOST_EDITS} times.")
    message.num_edit += 1
    message.content["text"] = text
    what = {"mid": message.mid, "text": text, "num_edit": str(message.num_edit)}
    return _tell(sandbox, account, chat, "message_edit", {"message_edit": what})


def unsend(sandbox: Sandbox, account: Account, chat: Conversation, message: Message) -> bool:
    """Whoever wrote it takes it back; the shop does so on its phone."""
    events.take_back(sandbox, message)
    message.delivery = "none"
    return events.deliver(sandbox, account, chat, message) is not None


def read(sandbox: Sandbox, account: Account, chat: Conversation, message: Message) -> bool:
    """The customer has seen everything up to this message of the shop."""
    chat.read_mid = message.mid
    what = {"read": {"mid": message.mid}}
    return _tell(sandbox, account, chat, "messaging_seen", what)


def postback(
    sandbox: Sandbox, account: Account, customer: Customer, tap: dict[str, Any]
) -> Message:
    """A tap on an ice breaker or a button. In the chat it reads like a message of its title."""
    chat = sandbox.world.conversation(account, customer)
    message = sandbox.world.add_message(chat, "customer", {"text": tap["title"]})
    message.postback = tap
    events.deliver(sandbox, account, chat, message)
    return message


def referral(
    sandbox: Sandbox, account: Account, customer: Customer, how: dict[str, Any]
) -> tuple[Conversation, bool]:
    """A link or an ad opened the chat; nothing is written yet."""
    chat = sandbox.world.conversation(account, customer)
    return chat, _tell(sandbox, account, chat, "messaging_referral", {"referral": how})


def look(sandbox: Sandbox, account: Account, chat: Conversation) -> None:
    """The customer has the chat open: what the shop wrote since is seen."""
    message = newest(chat, mine=False)
    if message is not None and message.mid != chat.read_mid:
        read(sandbox, account, chat, message)


def newest(chat: Conversation, mine: bool) -> Message | None:
    """The last message of the customer, or of the shop, that still stands."""
    standing = (row for row in reversed(chat.messages) if not row.gone)
    return next((row for row in standing if (row.by == "customer") is mine), None)


def name_of(emoji: str) -> str:
    """Instagram knows a name for the heart; all others are `other`."""
    return "love" if emoji in (HEART, HEART[0]) else "other"


def _tell(
    sandbox: Sandbox, account: Account, chat: Conversation, field: str, what: dict[str, Any]
) -> bool:
    sandbox.world.changed()
    item = {**events.sides(sandbox, chat), **what}
    return events.tell(sandbox, account, chat, field, item) is not None
