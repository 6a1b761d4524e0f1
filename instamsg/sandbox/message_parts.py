"""How a stored message reads in the Conversations API, whose words are not the webhook's."""

from __future__ import annotations

import time
from typing import Any

from .errors import GraphError
from .state import Account, Conversation, Message, as_object

# The platform tells only of the newest messages what they say.
DETAILED = 20
FIELDS = (
    "id",
    "created_time",
    "from",
    "to",
    "message",
    "attachments",
    "shares",
    "story",
    "reactions",
    "is_unsupported",
)


def shown(
    account: Account, row: Conversation, message: Message, wanted: dict[str, str], strict: bool
) -> dict[str, Any]:
    """The asked parts; of an old or a deleted one only that it was, or an error when strict."""
    standing = [each for each in row.messages if not each.gone]
    untold = message not in standing[-DETAILED:]
    if untold and strict:
        text = "The message has been deleted by the user or the business."
        raise GraphError(text, 9000001, type="OAuthException")
    sides = [business(account), customer(row)]
    if message.by == "customer":
        sides.reverse()
    known: dict[str, Any] = {"created_time": when(message.at)}
    if not untold:
        known |= {"from": sides[0], "to": {"data": sides[1:]}, **_parts(message)}
        if message.reactions:
            known["reactions"] = {"data": _reactions(account, row, message)}
    return {name: known[name] for name in wanted if name in known} | {"id": message.mid}


def business(account: Account) -> dict[str, str]:
    return {"username": account.username, "id": account.ig_id}


def customer(row: Conversation) -> dict[str, str]:
    return {"username": row.customer, "id": row.igsid}


def when(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(at / 1000))


def _parts(message: Message) -> dict[str, Any]:
    """What it holds. A part that is not there is absent."""
    content = message.content
    parts: dict[str, Any] = {
        "message": content.get("text", ""),
        "is_unsupported": bool(content.get("is_unsupported")),
    }
    files: list[dict[str, Any]] = []
    shares: list[dict[str, Any]] = []
    for number, (kind, payload) in enumerate(message.attachments()):
        url = payload.get("url")
        if kind in ("image", "video"):
            files.append(
                {"id": f"{number}", "name": f"{kind}-{number}", f"{kind}_data": {"url": url}}
            )
        elif kind in ("audio", "file"):
            files.append({"id": f"{number}", "name": f"{kind}-{number}", "file_url": url})
        elif kind == "story_mention":
            parts["story"] = {"mention": {"link": url, "id": f"{number}"}}
        elif url:
            shares.append({"link": url})
    if files:
        parts["attachments"] = {"data": files}
    if shares:
        cursors = {"before": "MAZDZD", "after": "MAZDZD"}
        parts["shares"] = {"data": shares, "paging": {"cursors": cursors}}
    story = as_object(as_object(content.get("reply_to")).get("story"))
    if story:
        parts["story"] = {"reply_to": {"link": story.get("url", ""), "id": story.get("id")}}
    return parts


def _reactions(account: Account, row: Conversation, message: Message) -> list[dict[str, Any]]:
    """One row per reaction, with everybody who chose it."""
    listed: dict[str, list[dict[str, str]]] = {}
    for who, reaction in message.reactions.items():
        person = customer(row) if who == "customer" else business(account)
        listed.setdefault(reaction["reaction"], []).append(person)
    return [{"reaction": name, "users": users} for name, users in listed.items()]
