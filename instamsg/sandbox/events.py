"""What happens in a chat, and the webhook that tells the site about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .sender import Delivery
from .state import Account, Conversation, Customer, Message, as_object
from .webhooks import Notice
from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox

Event = dict[str, Any]


def say(
    sandbox: Sandbox, account: Account, customer: Customer, content: dict[str, Any]
) -> tuple[Conversation, Message]:
    """The customer writes to the account. A content with `is_deleted` takes a message back."""
    conversation = sandbox.world.conversation(account, customer)
    mid = content.pop("mid", None)
    if content.get("is_deleted"):
        message = take_back(sandbox, find(conversation, mid))
    else:
        message = sandbox.world.add_message(conversation, "customer", content, mid)
    deliver(sandbox, account, conversation, message)
    return conversation, message


def phone_reply(
    sandbox: Sandbox, account: Account, customer: Customer, content: dict[str, Any], by: str
) -> tuple[Conversation, Message]:
    """The shop answers from its phone or with another app: the site hears the echo alone."""
    conversation = sandbox.world.conversation(account, customer)
    mid = content.pop("mid", None)
    message = sandbox.world.add_message(conversation, by, content, mid)
    deliver(sandbox, account, conversation, message)
    return conversation, message


def deliver(
    sandbox: Sandbox, account: Account, conversation: Conversation, message: Message
) -> Delivery | None:
    """Queue the webhook of a message, if this account's site is to hear of it at all."""
    customer = sandbox.world.customers[conversation.customer]
    field = "messages" if message.postback is None else "messaging_postbacks"
    if not is_heard(sandbox, account, customer, field):
        return None

    def settled(accepted: bool) -> None:
        with sandbox.world.lock:
            message.delivery = "delivered" if accepted else "failed"
            sandbox.world.changed()

    # Before it is queued: whoever settles it may be quicker than we are.
    message.delivery = "waiting"
    stray = _stray_edit(sandbox, conversation, message)
    manner = sandbox.world.settings.stray_edits if stray else "none"
    if manner in ("before", "instead"):
        tell(sandbox, account, conversation, field, stray)
    own = None
    if manner != "instead":
        own = tell(sandbox, account, conversation, field, event(conversation, message), settled)
    if manner in ("after", "bare"):
        tell(sandbox, account, conversation, field, stray)
    if own is None:
        message.delivery = "lost"
    sandbox.world.changed()
    return own


def tell(
    sandbox: Sandbox,
    account: Account,
    conversation: Conversation,
    field: str,
    item: Event,
    settled: Callable[[bool], None] = lambda accepted: None,
    where: str = "messaging",
) -> Delivery | None:
    """Queue one event of a chat; None when nobody is to hear of it, or when it is lost."""
    customer = sandbox.world.customers[conversation.customer]
    if not is_heard(sandbox, account, customer, field):
        return None
    notice = Notice(account.ig_id, where, item, sandbox.world.now())
    return sandbox.webhooks.send(f"{account.ig_id}:{conversation.igsid}", notice, settled)


def is_heard(sandbox: Sandbox, account: Account, customer: Customer | None, field: str) -> bool:
    """Silence without any error, as on the platform, until everything is in place."""
    settings = sandbox.world.settings
    testers = account.tester and (customer is None or customer.tester)
    chosen = settings.fields_honoured == "app" or field in account.subscribed_fields
    return bool(
        sandbox.webhook_url
        and account.subscribed_fields
        and chosen
        and account.messages_allowed
        and (settings.app_mode == "live" or testers)
    )


def sides(sandbox: Sandbox, conversation: Conversation) -> Event:
    """The head of an event that the customer causes now."""
    return {
        "sender": {"id": conversation.igsid},
        "recipient": {"id": conversation.ig_id},
        "timestamp": int(sandbox.world.now() * 1000),
    }


def event(conversation: Conversation, message: Message) -> Event:
    sender, recipient = conversation.igsid, conversation.ig_id
    content = {"mid": message.mid, **message.content}
    if message.by != "customer":
        sender, recipient = recipient, sender
        content["is_echo"] = True
    head = {"sender": {"id": sender}, "recipient": {"id": recipient}, "timestamp": message.at}
    if message.postback is None or message.gone:
        return {**head, "message": content}
    postback = {"mid": message.mid, **message.postback}
    return {**head, "postback": {name: value for name, value in postback.items() if value}}


def _stray_edit(sandbox: Sandbox, conversation: Conversation, message: Message) -> Event | None:
    """The edit without a text that the platform sends about messages nobody has edited."""
    manner = sandbox.world.settings.stray_edits
    concerns = message.attachments() or manner == "instead"
    plain = message.by != "customer" or message.gone or message.postback is not None
    if manner == "none" or plain or not concerns:
        return None
    head = sides(sandbox, conversation)
    if manner != "after":
        head = {"timestamp": head["timestamp"]}
    return {**head, "message_edit": {"mid": message.mid, "num_edit": 0}}


def note(sandbox: Sandbox, account: Account, raw: Event) -> None:
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


def find(conversation: Conversation, mid: Any) -> Message:
    """The message of that mid, as long as it has not been taken back."""
    for message in conversation.messages:
        if message.mid == mid and not message.gone:
            return message
    raise BadRequest("There is no such message in this chat.")


def take_back(sandbox: Sandbox, message: Message) -> Message:
    """Nothing of it stays but its mid."""
    message.content, message.reactions, message.choices = {"is_deleted": True}, {}, []
    message.postback, message.num_edit = None, 0
    sandbox.world.changed()
    return message
