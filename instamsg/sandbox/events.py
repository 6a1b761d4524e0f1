"""What happens in a chat, and the webhook that tells the site about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import media, webhooks
from .state import Account, Conversation, Customer, Message, as_object
from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox


def say(
    sandbox: Sandbox, account: Account, customer: Customer, content: dict[str, Any]
) -> tuple[Conversation, Message]:
    """The customer writes to the account. A content with `is_deleted` takes a message back."""
    conversation = sandbox.world.conversation(account, customer)
    mid = content.pop("mid", None)
    if content.get("is_deleted"):
        message = _take_back(sandbox, conversation, mid)
    else:
        message = sandbox.world.add_message(conversation, "customer", content, mid)
    deliver(sandbox, account, conversation, message)
    return conversation, message


def phone_reply(
    sandbox: Sandbox, account: Account, customer: Customer, text: str
) -> tuple[Conversation, Message]:
    """The shop answers from its own phone: the site hears of it by the echo alone."""
    conversation = sandbox.world.conversation(account, customer)
    message = sandbox.world.add_message(conversation, "phone", {"text": text})
    deliver(sandbox, account, conversation, message)
    return conversation, message


def deliver(
    sandbox: Sandbox, account: Account, conversation: Conversation, message: Message
) -> webhooks.Delivery | None:
    """Queue the webhook of a message, if this account's site is to hear of it at all."""
    if not is_heard(sandbox, account, conversation):
        return None
    message.delivery = "waiting"
    sandbox.world.changed()

    def settled(accepted: bool) -> None:
        with sandbox.world.lock:
            message.delivery = "delivered" if accepted else "failed"
            sandbox.world.changed()

    body = webhooks.envelope(account, [event(conversation, message)], sandbox.world.now())
    return sandbox.webhooks.send(f"{account.ig_id}:{conversation.igsid}", body, settled)


def is_heard(sandbox: Sandbox, account: Account, conversation: Conversation) -> bool:
    """Silence without any error, as on the platform, until everything is in place."""
    customer = sandbox.world.customers[conversation.customer]
    published = sandbox.world.settings.app_mode == "live"
    return bool(
        sandbox.webhook_url
        and account.subscribed_fields
        and account.messages_allowed
        and (published or (account.tester and customer.tester))
    )


def event(conversation: Conversation, message: Message) -> dict[str, Any]:
    sender, recipient = conversation.igsid, conversation.ig_id
    content = {"mid": message.mid, **message.content}
    if message.by != "customer":
        sender, recipient = recipient, sender
        content["is_echo"] = True
    return {
        "sender": {"id": sender},
        "recipient": {"id": recipient},
        "timestamp": message.at,
        "message": content,
    }


def note(sandbox: Sandbox, account: Account, raw: dict[str, Any]) -> None:
    """A hand-made event of a known customer opens the window, as the real one would."""
    sender = as_object(raw.get("sender")).get("id")
    message = as_object(raw.get("message"))
    written = "postback" in raw or (message and not message.get("is_deleted"))
    found = sandbox.world.customer_of(str(sender)) if written else None
    if found and found[0] is account:
        conversation = sandbox.world.conversation(*found)
        conversation.last_customer_at = sandbox.world.now()
        sandbox.world.changed()


def resume(sandbox: Sandbox) -> None:
    """Queue again what still waited when the state was written."""
    for conversation in sandbox.world.conversations.values():
        for message in conversation.messages:
            if message.delivery == "waiting":
                account = sandbox.world.accounts[conversation.ig_id]
                deliver(sandbox, account, conversation, message)


def content_from(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """The message object for `say`: from `message`, or from `text`, `image`, `attachments`."""
    if isinstance(order.get("message"), dict):
        return dict(order["message"])
    content: dict[str, Any] = {}
    if order.get("text"):
        content["text"] = str(order["text"])
    attachments = list(order.get("attachments") or [])
    if order.get("image"):
        attachments.append({"type": "image"})
    if attachments:
        content["attachments"] = [_with_address(sandbox, item) for item in attachments]
    if not content:
        raise BadRequest("Say something: text, image, attachments or message.")
    return content


def _with_address(sandbox: Sandbox, attachment: Any) -> dict[str, Any]:
    if not isinstance(attachment, dict):
        raise BadRequest("An attachment is an object.")
    if attachment.get("type") == "image" and "payload" not in attachment:
        return {**attachment, "payload": {"url": media.new_picture(sandbox)}}
    return attachment


def _take_back(sandbox: Sandbox, conversation: Conversation, mid: str | None) -> Message:
    for message in conversation.messages:
        if message.mid == mid:
            message.content = {"is_deleted": True}
            sandbox.world.changed()
            return message
    raise BadRequest("There is no such message to take back.")
