"""The control API's commands for what a customer does in a chat, one call each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import acts, events, orders
from .state import Conversation, Message, as_object
from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox

Order = dict[str, Any]


def react(sandbox: Sandbox, order: Order) -> Order:
    """Without a mid, to the newest message of the shop."""
    account, chat, message = _meant(sandbox, order, mine=False)
    emoji = str(order.get("emoji") or acts.HEART)
    name = str(order.get("reaction") or "")
    return _done(chat, message, acts.react(sandbox, account, chat, message, emoji, name))


def unreact(sandbox: Sandbox, order: Order) -> Order:
    account, chat, message = _meant(sandbox, order, mine=False)
    return _done(chat, message, acts.unreact(sandbox, account, chat, message))


def edit(sandbox: Sandbox, order: Order) -> Order:
    """Without a mid, the customer's newest message."""
    account, chat, message = _meant(sandbox, order, mine=True)
    text = str(order.get("text") or "")
    return _done(chat, message, acts.edit(sandbox, account, chat, message, text))


def unsend(sandbox: Sandbox, order: Order) -> Order:
    """Without a mid, the customer's newest; with one of the shop's, the shop takes it back."""
    account, chat, message = _meant(sandbox, order, mine=True)
    return _done(chat, message, acts.unsend(sandbox, account, chat, message))


def read(sandbox: Sandbox, order: Order) -> Order:
    account, chat, message = _meant(sandbox, order, mine=False)
    return _done(chat, message, acts.read(sandbox, account, chat, message))


def postback(sandbox: Sandbox, order: Order) -> Order:
    """`mid: false` leaves the mid out of the event, as in some captures."""
    account, customer = orders.pair(sandbox, order)
    title = str(order.get("title") or "Opening hours")
    tap: Order = {"title": title, "payload": str(order.get("payload") or "HOURS")}
    if order.get("referral") is not None:
        tap["referral"] = as_object(order["referral"])
    if order.get("mid") is False:
        tap["mid"] = None
    message = acts.postback(sandbox, account, customer, tap)
    chat = sandbox.world.conversation(account, customer)
    return _done(chat, message, message.delivery not in ("none", "lost"))


def referral(sandbox: Sandbox, order: Order) -> Order:
    account, customer = orders.pair(sandbox, order)
    how = {
        "ref": str(order.get("ref") or "qr-42"),
        "source": str(order.get("source") or "IGME-SOURCE-LINK"),
        "type": str(order.get("type") or "OPEN_THREAD"),
    }
    chat, heard = acts.referral(sandbox, account, customer, how)
    return {"igsid": chat.igsid, "heard": heard}


def _meant(sandbox: Sandbox, order: Order, mine: bool) -> tuple[Any, Conversation, Message]:
    account, customer = orders.pair(sandbox, order)
    chat = sandbox.world.conversation(account, customer)
    if order.get("mid") is not None:
        return account, chat, events.find(chat, order["mid"])
    message = acts.newest(chat, mine)
    if message is None:
        raise BadRequest(f"{'The customer' if mine else 'The shop'} has written nothing yet.")
    return account, chat, message


def _done(chat: Conversation, message: Message, heard: bool) -> Order:
    return {"mid": message.mid, "igsid": chat.igsid, "heard": heard}
