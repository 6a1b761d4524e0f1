"""The control API under /_sandbox/: play the people, move the clock, break things."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from . import (
    act_commands,
    dashboard,
    error_table,
    events,
    faults,
    media,
    orders,
    past,
    people,
    rare,
    records,
    settings,
    signed_requests,
    webhooks,
)
from .wire import BadRequest, Request, Response, as_json

if TYPE_CHECKING:
    from .server import Sandbox

MAX_WAIT = 60


def answer(sandbox: Sandbox, request: Request) -> Response:
    scheme, _, token = (request.headers.get("Authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(
        token.encode(), sandbox.control_token.encode()
    ):
        return as_json({"error": "The control token is missing or wrong."}, 401)
    name = request.path.removeprefix("/_sandbox/")
    command = COMMANDS.get((request.method, name))
    if command is None:
        return as_json({"error": f"There is no {request.method} /_sandbox/{name}."}, 404)
    try:
        if command in WAITING:
            return as_json(command(sandbox, request.json))
        with sandbox.world.lock:
            return as_json(command(sandbox, request.json))
    except BadRequest as error:
        return as_json({"error": str(error)}, 400)


def reset(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    sandbox.reset()
    return {"ok": True}


def deliver(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """One signed POST, now, without a retry; answers what the site said."""
    with sandbox.world.lock:
        body = _body(sandbox, order)
    return _post_once(sandbox, order, body)


def test_button(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """What the dashboard's Test button sends, to the site whoever is subscribed."""
    return _post_once(sandbox, order, dashboard.body(sandbox, order))


def verify(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """The GET handshake; `verify_token` may be another one than configured."""
    token = str(order.get("verify_token", sandbox.verify_token))
    timeout = sandbox.world.settings.timeout
    answer, challenge = webhooks.verify(sandbox.webhook_url, token, timeout)
    return asdict(answer) | {"ok": answer.status == 200 and answer.body == challenge}


def signed_request(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """The form post of the deauthorize and data-deletion callbacks, to `url`."""
    with sandbox.world.lock:
        value = signed_requests.read_order(sandbox, order)
    timeout = sandbox.world.settings.timeout
    return asdict(signed_requests.post(str(order.get("url", "")), value, timeout))


def clock(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    sandbox.world.clock_offset += orders.number(order.get("advance", 0), "advance")
    sandbox.world.changed()
    return {"now": sandbox.world.now(), "offset": sandbox.world.clock_offset}


def add_fault(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    if order.get("account"):
        order = {**order, "account": sandbox.world.account(order["account"]).ig_id}
    fault = faults.from_order(order)
    sandbox.faults.listed.append(fault)
    return asdict(fault)


def errors(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """The errors a fault may name, each as it would be given."""
    return {"errors": error_table.ERRORS}


def clear_faults(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    sandbox.faults.listed.clear()
    return {"ok": True}


def flush(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """Wait until nothing is waiting to be delivered."""
    timeout = min(orders.number(order.get("timeout", 10), "timeout"), MAX_WAIT)
    idle = sandbox.webhooks.wait_until_idle(timeout)
    return {"ok": idle, "pending": sandbox.webhooks.pending}


def assets(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """Bytes of one's own behind a CDN address."""
    content = orders.decoded(order.get("body_base64"))
    content_type = str(order.get("content_type", "application/octet-stream"))
    if not content_type.isprintable():
        raise BadRequest("content_type is one line.")
    return {"url": media.upload(sandbox, content, content_type)}


Command = Callable[["Sandbox", dict[str, Any]], dict[str, Any]]
COMMANDS: dict[tuple[str, str], Command] = {
    ("GET", "state"): records.state,
    ("POST", "reset"): reset,
    ("POST", "accounts"): people.accounts,
    ("POST", "customers"): people.customers,
    ("POST", "say"): people.say,
    ("POST", "phone-reply"): people.phone_reply,
    ("POST", "react"): act_commands.react,
    ("POST", "unreact"): act_commands.unreact,
    ("POST", "edit"): act_commands.edit,
    ("POST", "unsend"): act_commands.unsend,
    ("POST", "read"): act_commands.read,
    ("POST", "postback"): act_commands.postback,
    ("POST", "referral"): act_commands.referral,
    ("POST", "history"): past.history,
    ("POST", "event"): rare.event,
    ("POST", "test-button"): test_button,
    ("POST", "deliver"): deliver,
    ("POST", "verify"): verify,
    ("POST", "signed-request"): signed_request,
    ("POST", "authorize"): people.authorize,
    ("POST", "revoke"): people.revoke,
    ("POST", "permissions"): people.permissions,
    ("POST", "subscription"): people.subscription,
    ("POST", "clock"): clock,
    ("GET", "clock"): clock,
    ("POST", "settings"): settings.change,
    ("POST", "faults"): add_fault,
    ("DELETE", "faults"): clear_faults,
    ("GET", "errors"): errors,
    ("GET", "requests"): records.requests,
    ("GET", "sent"): records.sent,
    ("POST", "sent"): records.sent,
    ("POST", "flush"): flush,
    ("POST", "assets"): assets,
}
# These wait for somebody else, so they take the lock themselves, and briefly.
WAITING = (deliver, test_button, verify, signed_request, flush)


def _body(sandbox: Sandbox, order: dict[str, Any]) -> bytes:
    if "body" in order:
        return str(order["body"]).encode()
    if "body_base64" in order:
        return orders.decoded(order["body_base64"])
    account = sandbox.world.account(order.get("account"))
    listed = order.get("events")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise BadRequest("events is a list of event objects.")
    for event in listed:
        events.note(sandbox, account, event)
    entry = webhooks.entry(account.ig_id, "messaging", listed, sandbox.world.now())
    return webhooks.encoded({"object": "instagram", "entry": [entry]})


def _post_once(sandbox: Sandbox, order: dict[str, Any], body: bytes) -> dict[str, Any]:
    kind = order.get("signature", "good")
    orders.one_of(kind, "signature", (*signed_requests.KEYS, "none"))
    headers = {}
    if kind != "none":
        headers = webhooks.signature_headers(signed_requests.signing_key(sandbox, kind), body)
    timeout = sandbox.world.settings.timeout
    return asdict(webhooks.post(sandbox.webhook_url, body, headers, timeout))
