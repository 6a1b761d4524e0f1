"""The Send API. The order of its refusals is part of what it promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import events, graph, limits, oauth, outgoing, sender_actions
from .errors import GraphError, unsupported
from .state import DAY, Account, Conversation, Message
from .wire import Request, Response, as_json

if TYPE_CHECKING:
    from .server import Sandbox

MESSAGING_TYPES = ("RESPONSE", "UPDATE", "MESSAGE_TAG")
# How long an echo that overtakes the answer may hold the answer back.
ECHO_PATIENCE = 5


def send(sandbox: Sandbox, request: Request, node: str) -> Response:
    """POST /{me|IG_ID}/messages: token, role, access, recipient, window, body, rate, result.

    Files are fetched between body and rate, without the lock: the call then begins anew.
    """
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
        sender_actions.check(conversation, body)
        limits.spend(sandbox, account)
        sender_actions.perform(sandbox, conversation, body)
        return as_json({"recipient_id": conversation.igsid})
    content = outgoing.content_of(sandbox, request, account, conversation, body)
    choices = outgoing.choices_of(body["message"])
    limits.spend(sandbox, account, content)
    message = sandbox.world.add_message(conversation, "api", content)
    message.choices = choices
    response = as_json({"recipient_id": conversation.igsid, "message_id": message.mid})
    _echo(sandbox, account, conversation, message, response)
    return response


def _recipient(sandbox: Sandbox, account: Account, body: dict[str, Any]) -> Conversation:
    recipient = body.get("recipient")
    igsid = recipient.get("id") if isinstance(recipient, dict) else None
    if not igsid:
        raise GraphError("(#100) The parameter recipient is required", 100)
    known = sandbox.world.known_conversation(account.ig_id, str(igsid))
    # One who never wrote has no open window; that is for the next check to say.
    conversation = known or _stranger(sandbox, account, str(igsid))
    if sandbox.world.customers[conversation.customer].blocked:
        raise GraphError("This person is not receiving messages from you.", 100, 2534029)
    return conversation


def _stranger(sandbox: Sandbox, account: Account, igsid: str) -> Conversation:
    found = sandbox.world.customer_of(igsid)
    if found is None:
        raise GraphError("The requested user cannot be found.", 100, 2534014)
    if found[0] is not account:
        raise GraphError("(#100) No matching user found", 100, 2018001)
    return Conversation(account.ig_id, igsid, found[1].username)


def _check_window(sandbox: Sandbox, conversation: Conversation, body: dict[str, Any]) -> None:
    tag, kind = body.get("tag"), body.get("messaging_type")
    if kind not in (None, *MESSAGING_TYPES):
        names = ", ".join(MESSAGING_TYPES)
        raise GraphError(f"(#100) Param messaging_type must be one of {{{names}}}", 100)
    if kind == "MESSAGE_TAG" and not tag:
        raise GraphError("(#100) The parameter tag is required", 100)
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
