"""The control API's commands about people: who there is, what they write, what they allow."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from . import contents, events, ids, oauth, orders
from .graph import SUBSCRIBABLE
from .state import Account, Conversation, Customer, Message
from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox


def accounts(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """Make an account, or change the one of that username."""
    username = orders.username(order)
    known = {account.username: account for account in sandbox.world.accounts.values()}
    fixed = ("username", "ig_id", "app_scoped_id") if username in known else ()
    account = known.get(username) or Account(
        username, username, ids.ig_id(username), ids.app_scoped_id(username)
    )
    changed = orders.changed(account, order, fixed)
    sandbox.world.accounts[account.ig_id] = changed
    sandbox.world.changed()
    return asdict(changed)


def customers(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """Make a customer, or change the one of that username."""
    username = orders.username(order)
    customer = sandbox.world.customers.get(username) or Customer(username, username)
    changed = orders.changed(customer, order, ("username",))
    sandbox.world.customers[username] = changed
    sandbox.world.changed()
    return asdict(changed)


def say(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    account, customer = orders.pair(sandbox, order)
    content = _content(sandbox, account, customer, order)
    return _said(*events.say(sandbox, account, customer, content))


def phone_reply(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    account, customer = orders.pair(sandbox, order)
    by = orders.one_of(order.get("by", "phone"), "by", ("phone", "other_app"))
    content = _content(sandbox, account, customer, order)
    return _said(*events.phone_reply(sandbox, account, customer, content, by))


def authorize(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """Consent without a browser. Without `grant`, everything asked for is granted."""
    values = {"client_id": sandbox.app_id, "response_type": "code"}
    values["redirect_uri"] = str(order.get("redirect_uri", ""))
    values["scope"] = str(order.get("scope") or f"{oauth.BASIC},{oauth.MESSAGES}")
    if order.get("state") is not None:
        values["state"] = str(order["state"])
    account = sandbox.world.account(order.get("account"))
    try:
        ask = oauth.read_ask(sandbox, values)
    except oauth.Refused as error:
        raise BadRequest(str(error)) from None
    grant = order.get("grant")
    code = oauth.approve(sandbox, ask, account, list(ask.scopes if grant is None else grant))
    return {"code": code, "location": ask.granted(code)}


def revoke(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """Every token of the account issued so far answers 190 from now on."""
    account = sandbox.world.account(order.get("account"))
    tokens = [row for row in sandbox.world.tokens.values() if row.ig_id == account.ig_id]
    for token in tokens:
        token.revoked, token.subcode = True, order.get("subcode")
    sandbox.world.changed()
    return {"revoked": len(tokens)}


def permissions(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """The account's tokens keep these permissions alone; no call of the platform tells of it."""
    account = sandbox.world.account(order.get("account"))
    kept = orders.listed(order.get("keep", []), "keep")
    tokens = [row for row in sandbox.world.tokens.values() if row.ig_id == account.ig_id]
    for token in tokens:
        token.permissions = [name for name in token.permissions if name in kept]
    sandbox.world.changed()
    return {"tokens": len(tokens), "permissions": kept}


def subscription(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """Fields are lost, or with no `lose` the whole subscription, without the site's doing."""
    account = sandbox.world.account(order.get("account"))
    lost = orders.listed(order.get("lose", list(SUBSCRIBABLE)), "lose")
    kept = [name for name in account.subscribed_fields if name not in lost]
    account.subscribed_fields = kept
    sandbox.world.changed()
    return {"subscribed_fields": kept}


def _content(
    sandbox: Sandbox, account: Account, customer: Customer, order: dict[str, Any]
) -> dict[str, Any]:
    content = contents.content_from(sandbox, order)
    if order.get("reply_to"):
        chat = sandbox.world.conversation(account, customer)
        return contents.answering(chat, content, order["reply_to"])
    return content


def _said(conversation: Conversation, message: Message) -> dict[str, Any]:
    heard = message.delivery not in ("none", "lost")
    return {"mid": message.mid, "igsid": conversation.igsid, "heard": heard}
