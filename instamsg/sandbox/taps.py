"""What the buttons of the phone do: send, act on a message, tap a choice of the shop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from . import acts, contents, events
from .state import Account, Conversation, Customer, Message
from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox

Values = Mapping[str, str]
# The kinds offered below the compose box, as a person calls them.
KINDS = {
    "video": "Video",
    "audio": "Voice note",
    "file": "PDF",
    "images": "Three pictures",
    "gif": "GIF",
    "sticker": "Sticker",
    "heart": "Heart",
    "post": "Share a post",
    "reel": "Share a reel",
    "story": "Share a story",
    "story_mention": "Mention in a story",
    "story_reply": "Reply to a story",
    "ad": "Write from an ad",
    "product": "Ask about a product",
    "ephemeral": "View-once picture",
    "unsupported": "Unsupported",
}
EMOJIS = {acts.HEART: "a heart", "😂": "laughter", "😮": "surprise", "😢": "sadness"}


def say(sandbox: Sandbox, account: Account, customer: Customer, values: Values) -> None:
    text, what = values.get("text", "").strip(), values.get("what", "text")
    order: dict[str, object] = {"text": text}
    if what == "picture":
        order = {"image": True}
    elif what != "text":
        # What is typed goes along only where Instagram lets one type: with a story.
        order = {"kind": what, "text": text if what == "story_reply" else ""}
    elif not text:
        return
    events.say(sandbox, account, customer, contents.content_from(sandbox, order))


def act(sandbox: Sandbox, account: Account, customer: Customer, values: Values) -> None:
    conversation = sandbox.world.conversation(account, customer)
    message = events.find(conversation, values.get("mid"))
    text = values.get("text", "").strip()
    match values.get("what", "").partition(":"):
        case ("react", _, emoji):
            acts.react(sandbox, account, conversation, message, emoji or acts.HEART, "")
        case ("unreact", _, _):
            acts.unreact(sandbox, account, conversation, message)
        case ("edit", _, _):
            acts.edit(sandbox, account, conversation, message, text)
        case ("unsend", _, _):
            _need_own(message)
            acts.unsend(sandbox, account, conversation, message)
        case ("reply", _, _) if text:
            answer = contents.answering(conversation, {"text": text}, message.mid)
            events.say(sandbox, account, customer, answer)
        case _:
            raise BadRequest("There is nothing to do.")


def tap(sandbox: Sandbox, account: Account, customer: Customer, values: Values) -> None:
    """A quick reply is a message of its title; a button or an ice breaker is a postback."""
    conversation = sandbox.world.conversation(account, customer)
    offered = account.ice_breakers
    if values.get("mid"):
        offered = events.find(conversation, values["mid"]).choices
    number = values.get("choice", "")
    if not number.isdecimal() or int(number) >= len(offered):
        raise BadRequest("This is no longer on offer.")
    choice = offered[int(number)]
    if choice.get("kind") == "quick_reply":
        content = {"text": choice["title"], "quick_reply": {"payload": choice["payload"]}}
        events.say(sandbox, account, customer, content)
    else:
        known = {"title": choice["title"], "payload": choice["payload"]}
        acts.postback(sandbox, account, customer, known)


def is_editable(message: Message) -> bool:
    own = message.by == "customer" and message.postback is None
    return (
        own and isinstance(message.content.get("text"), str) and message.num_edit < acts.MOST_EDITS
    )


def offered_in(conversation: Conversation, message: Message) -> list[tuple[int, dict[str, str]]]:
    """Buttons stay; quick replies are there until anything follows them."""
    last = conversation.messages[-1] is message
    numbered = enumerate(message.choices)
    return [(at, row) for at, row in numbered if last or row["kind"] != "quick_reply"]


def _need_own(message: Message) -> None:
    if message.by != "customer":
        raise BadRequest("A customer takes back only what they wrote themselves.")


DEEDS: dict[str, Callable[[Sandbox, Account, Customer, Values], None]] = {
    "say": say,
    "act": act,
    "tap": tap,
}
