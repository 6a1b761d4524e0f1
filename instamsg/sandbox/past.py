"""Old messages, put into a chat without a webhook: what an import finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import contents, ids, orders
from .state import DAY, KEPT_MESSAGES, Conversation, Message
from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox

WRITERS = {"both": ("customer", "phone"), "customer": ("customer",), "shop": ("phone",)}


def history(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """The control API's `history`: `count` messages, the newest of them `age` seconds old."""
    account, customer = orders.pair(sandbox, order)
    count = orders.whole(order.get("count", 10), "count", 1, KEPT_MESSAGES)
    age = orders.number(order.get("age", 2 * DAY), "age")
    every = orders.number(order.get("every", 3600), "every")
    pictures = orders.whole(order.get("picture_every", 0), "picture_every", 0, KEPT_MESSAGES)
    writers = WRITERS[orders.one_of(order.get("by", "both"), "by", WRITERS)]
    text = order.get("text", "Old message {n}")
    if not isinstance(text, str) or not text:
        raise BadRequest("text is a line; {n} in it becomes the number of the message.")
    chat = sandbox.world.conversation(account, customer)
    newest = sandbox.world.now() - age
    added = []
    for number in range(1, count + 1):
        content: dict[str, Any] = {"text": text.replace("{n}", str(number))}
        if pictures and number % pictures == 0:
            content = contents.content_from(sandbox, {"image": True})
        at = int((newest - (count - number) * every) * 1000)
        mid = ids.mid(chat.ig_id, chat.igsid, at, sandbox.world.next_number())
        added.append(Message(mid, writers[number % len(writers)], at, content))
    _put_in(chat, added)
    sandbox.world.changed()
    return {"igsid": chat.igsid, "mids": [message.mid for message in added]}


def _put_in(chat: Conversation, added: list[Message]) -> None:
    """In the order of their times, among what is there; the window is as old as they are."""
    chat.messages = sorted([*chat.messages, *added], key=lambda row: row.at)[-KEPT_MESSAGES:]
    written = [message.at / 1000 for message in added if message.by == "customer"]
    if written:
        chat.last_customer_at = max(chat.last_customer_at or 0, *written)
