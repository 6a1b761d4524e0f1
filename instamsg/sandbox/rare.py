"""Events that no chat on the phone brings about: comments, mentions, handover and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import events, ids, orders, webhooks
from .state import Account, Customer, as_object

if TYPE_CHECKING:
    from .server import Sandbox

INBOX_APP, OUR_APP, OTHER_APP = "263902037430900", "1000000000000001", "1000000000000002"
POST, LIVE, AD = "18000000000000003", "18000000000000005", "18000000000000004"
_AD = {"ad_id": "120200000000000001", "ad_title": "Autumn sale", "original_media_id": POST}

# The kinds that come as `changes`: field, and what is particular to the value.
COMMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "comment": ("comments", {"text": "What does it cost?"}),
    "comment_reply": ("comments", {"text": "And in blue?", "parent_id": "17900000000000000"}),
    "ad_comment": (
        "comments",
        {
            "text": "Still available?",
            "media": {"id": AD, "media_product_type": "AD", **_AD},
        },
    ),
    "sticker_comment": ("comments", {"text": None}),
    "own_comment": ("comments", {"text": "Thank you!"}),
    "flat_comment": ("comments", {"text": "In the form of the documentation"}),
    "live_comment": (
        "live_comments",
        {"text": "Hello from the live", "media": {"id": LIVE, "media_product_type": "LIVE"}},
    ),
}
OTHER_CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "mention": ("mentions", {"media_id": "18000000000000006"}),
    "comment_mention": (
        "mentions",
        {"media_id": "18000000000000006", "comment_id": "17900000000000005"},
    ),
    "story_insights": (
        "story_insights",
        {
            "media_id": "18000000000000007",
            "exits": 3,
            "replies": -1,
            "reach": 44,
            "taps_forward": 12,
            "taps_back": -1,
            "impressions": 60,
        },
    ),
}
# The kinds between a customer and the account: field, name in the event, value.
IN_CHATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "optin": (
        "messaging_optins",
        "optin",
        {
            "type": "notification_messages",
            "title": "Weekly news",
            "payload": "NEWS",
            "notification_messages_token": "1234567890123456789",
            "notification_messages_frequency": "WEEKLY",
            "token_expiry_timestamp": 1790000000000,
        },
    ),
    "pass_thread_control": (
        "messaging_handover",
        "pass_thread_control",
        {
            "previous_owner_app_id": OUR_APP,
            "new_owner_app_id": INBOX_APP,
            "metadata": "to inbox",
        },
    ),
    "take_thread_control": (
        "messaging_handover",
        "take_thread_control",
        {"previous_owner_app_id": OUR_APP, "new_owner_app_id": INBOX_APP, "metadata": None},
    ),
    "request_thread_control": (
        "messaging_handover",
        "request_thread_control",
        {"requested_owner_app_id": OTHER_APP, "metadata": "need it"},
    ),
    # In standby a postback comes without its payload.
    "standby_postback": ("standby", "postback", {"title": "Opening hours"}),
    "standby": ("standby", "message", {"text": "Are you there?"}),
}
SELF: dict[str, tuple[str, dict[str, Any]]] = {
    "self_message": ("message", {"text": "Note to self", "is_echo": True, "is_self": True}),
    "self_postback": ("postback", {"title": "Start", "payload": "START"}),
}
KINDS = (*COMMENTS, *OTHER_CHANGES, *IN_CHATS, *SELF)
# Whoever causes these needs no role on the app.
ANONYMOUS = (*OTHER_CHANGES, *SELF, "own_comment")


def event(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """The control API's `event`: the named kind, queued like any other webhook."""
    world = sandbox.world
    kind = orders.one_of(order.get("kind"), "kind", KINDS)
    account = world.account(order.get("account"))
    customer = world.customer(order.get("customer") or next(iter(world.customers)))
    field, where, item = _built(sandbox, kind, account, customer, as_object(order.get("value")))
    heard = False
    if events.is_heard(sandbox, account, None if kind in ANONYMOUS else customer, field):
        lane = ids.igsid(account.ig_id, customer.username) if kind in IN_CHATS else field
        notice = webhooks.Notice(account.ig_id, where, item, world.now())
        queued = sandbox.webhooks.send(f"{account.ig_id}:{lane}", notice, lambda accepted: None)
        heard = queued is not None
    return {"heard": heard, "where": where, "field": field, "event": item}


def _built(
    sandbox: Sandbox, kind: str, account: Account, customer: Customer, values: dict[str, Any]
) -> tuple[str, str, dict[str, Any]]:
    """Field, place in the entry, and the event itself, with the caller's values over ours."""
    if kind in IN_CHATS:
        field, name, value = IN_CHATS[kind]
        where = "standby" if field == "standby" else "messaging"
        return field, where, _in_chat(sandbox, account, customer, name, {**value, **values})
    if kind in SELF:
        name, value = SELF[kind]
        field = "messages" if name == "message" else "messaging_postbacks"
        return field, "messaging", _to_oneself(sandbox, account, name, {**value, **values})
    if kind in COMMENTS:
        field, value = COMMENTS[kind]
        person = _owner(account) if kind == "own_comment" else _commenter(account, customer)
        value = _comment(sandbox, person, value)
    else:
        field, value = OTHER_CHANGES[kind]
    where = "flat" if kind == "flat_comment" else "changes"
    return field, where, {"field": field, "value": {**value, **values}}


def _commenter(account: Account, customer: Customer) -> dict[str, str]:
    return {"id": ids.igsid(account.ig_id, customer.username), "username": customer.username}


def _owner(account: Account) -> dict[str, str]:
    """Only an own comment tells the account's own Instagram-scoped id."""
    own_id = ids.igsid(account.ig_id, account.username)
    return {"id": account.ig_id, "username": account.username, "self_ig_scoped_id": own_id}


def _comment(sandbox: Sandbox, person: dict[str, str], value: dict[str, Any]) -> dict[str, Any]:
    number = 17900000000000000 + sandbox.world.next_number()
    media = {"id": POST, "media_product_type": "FEED"}
    whole = {"id": str(number), "from": person, "media": media, **value}
    # A comment that is a GIF or a sticker has no text at all.
    return {name: part for name, part in whole.items() if part is not None}


def _in_chat(
    sandbox: Sandbox, account: Account, customer: Customer, name: str, value: dict[str, Any]
) -> dict[str, Any]:
    conversation = sandbox.world.conversation(account, customer)
    if name == "message":
        # The customer does write it: the chat keeps it, whoever may answer.
        message = sandbox.world.add_message(conversation, "customer", value)
        return events.event(conversation, message)
    if name == "postback":
        conversation.last_customer_at = sandbox.world.now()
        value = {"mid": _new_mid(sandbox, conversation.ig_id, conversation.igsid), **value}
    return {**events.sides(sandbox, conversation), name: value}


def _to_oneself(
    sandbox: Sandbox, account: Account, name: str, value: dict[str, Any]
) -> dict[str, Any]:
    own_id = ids.igsid(account.ig_id, account.username)
    head: dict[str, Any] = {
        "sender": {"id": account.ig_id},
        "recipient": {"id": own_id},
        "timestamp": int(sandbox.world.now() * 1000),
    }
    if name == "postback":
        head["is_self"] = True
    return {**head, name: {"mid": _new_mid(sandbox, account.ig_id, own_id), **value}}


def _new_mid(sandbox: Sandbox, ig_id: str, igsid: str) -> str:
    world = sandbox.world
    return ids.mid(ig_id, igsid, int(world.now() * 1000), world.next_number())
