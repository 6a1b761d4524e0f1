"""What a test reads back: the whole state, what shops have sent, which calls came."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from . import ids, orders
from .state import Sent

if TYPE_CHECKING:
    from .server import Sandbox


def state(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    world = sandbox.world
    conversations = [
        {
            "account": world.accounts[row.ig_id].username,
            "id": ids.conversation_id(row.ig_id, row.igsid),
            **asdict(row),
        }
        for row in world.conversations.values()
    ]
    customers = [
        asdict(row)
        | {
            "igsids": {
                a.username: ids.igsid(a.ig_id, row.username) for a in world.accounts.values()
            }
        }
        for row in world.customers.values()
    ]
    return {
        "accounts": [asdict(row) for row in world.accounts.values()],
        "customers": customers,
        "conversations": conversations,
        "subscriptions": {
            row.username: row.subscribed_fields
            for row in world.accounts.values()
            if row.subscribed_fields
        },
        "deliveries": {
            "pending": sandbox.webhooks.pending,
            "delivered": sandbox.webhooks.delivered,
            "failed": sandbox.webhooks.failed,
            "lost": sandbox.webhooks.lost,
        },
        "webhook": {"failing_since": world.failing_since, "disabled_at": world.disabled_at},
        "settings": asdict(world.settings),
        "faults": [asdict(row) for row in sandbox.faults.listed],
        "now": world.now(),
        "webhook_url": sandbox.webhook_url,
    }


def sent(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    """Everything shops have sent after number `since`, in the order in which it came.

    Unlike a conversation, which keeps its newest messages, this goes far back and is cheap to read.
    """
    since = orders.number(order.get("since", 0), "since")
    by = order.get("by")
    ig_id = sandbox.world.account(order["account"]).ig_id if order.get("account") else None
    rows = [
        _row(sandbox, row)
        for row in sandbox.world.sent
        if row.number > since
        and ig_id in (None, row.conversation.ig_id)
        and by in (None, row.message.by)
    ]
    return {"sent": rows, "number": sandbox.world.sent_number}


def requests(sandbox: Sandbox, order: dict[str, Any]) -> dict[str, Any]:
    return {"requests": list(sandbox.requests)}


def _row(sandbox: Sandbox, row: Sent) -> dict[str, Any]:
    message = row.message
    return {
        "number": row.number,
        "account": sandbox.world.accounts[row.conversation.ig_id].username,
        "igsid": row.conversation.igsid,
        "mid": message.mid,
        "by": message.by,
        "at": message.at,
        "text": message.content.get("text"),
        "attachments": [kind for kind, _ in message.attachments()],
    }
