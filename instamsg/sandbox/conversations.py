"""Reading back: the conversations of an account, one conversation, one message."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from . import graph, ids, message_parts, oauth
from .errors import GraphError, no_such_object, unsupported
from .state import DAY, Account, Conversation
from .wire import Request, Response, as_json

if TYPE_CHECKING:
    from .server import Sandbox

# Above this, nested messages are too much to ask for.
MAX_PAGE_WITH_MESSAGES = 20
PAGE = 25
REQUEST_LIFE = 30 * DAY
LIST_FIELDS = ("id", "updated_time", "participants", "messages")

Fields = dict[str, str]  # a name, and what stood in braces after it


def listed(sandbox: Sandbox, request: Request, node: str) -> Response:
    """GET /{me|IG_ID}/conversations, newest first."""
    account = _reader(sandbox, request, node)
    wanted = _fields(request, "id,updated_time", LIST_FIELDS)
    most = sandbox.world.settings.big_page_limit
    if any(_name(field) == "messages" for field in wanted):
        most = min(most, MAX_PAGE_WITH_MESSAGES)
    limit = _limit(request.query.get("limit"), most)
    rows = [row for row in _visible(sandbox, account) if _meant(request, row)]
    page, paging = _page(sandbox, rows, limit, request.query, request.path)
    return as_json({"data": [_summary(sandbox, account, row, wanted) for row in page]} | paging)


def one(sandbox: Sandbox, request: Request, node: str) -> Response:
    """GET /{conversation id} or /{mid}: whichever of the caller's own it names."""
    account = _reader(sandbox, request, "me")
    for row in _of(sandbox, account):
        if ids.conversation_id(row.ig_id, row.igsid) == node:
            return as_json(_summary(sandbox, account, row, _fields(request, "id", LIST_FIELDS)))
        for message in row.messages:
            if message.mid == node:
                wanted = _fields(request, "id,created_time", message_parts.FIELDS)
                return as_json(message_parts.shown(account, row, message, wanted, strict=True))
    raise no_such_object(request.method, node)


def messages(sandbox: Sandbox, request: Request, node: str) -> Response:
    """GET /{conversation id}/messages: where the `next` of a conversation's messages leads."""
    account = _reader(sandbox, request, "me")
    for row in _of(sandbox, account):
        if ids.conversation_id(row.ig_id, row.igsid) == node:
            return as_json(_messages(sandbox, account, row, request.query))
    raise no_such_object(request.method, node)


def _reader(sandbox: Sandbox, request: Request, node: str) -> Account:
    token, account = graph.caller_of_node(sandbox, request, node)
    if request.method != "GET":
        raise unsupported(request.method)
    graph.need_professional(account)
    graph.need(token, oauth.MESSAGES)
    if not sandbox.pace.allows(account.ig_id, sandbox.world.settings.conversation_rate):
        message = "(#613) Calls to this api have exceeded the rate limit."
        raise GraphError(message, 613, type="OAuthException")
    return account


def _of(sandbox: Sandbox, account: Account) -> list[Conversation]:
    rows = sandbox.world.conversations.values()
    return [row for row in rows if row.ig_id == account.ig_id and row.messages]


def _visible(sandbox: Sandbox, account: Account) -> list[Conversation]:
    """Without stale requests and, in development mode, without people who have no role."""
    world = sandbox.world

    def shown(row: Conversation) -> bool:
        answered = any(message.by != "customer" for message in row.messages)
        fresh = world.now() - row.messages[-1].at / 1000 < REQUEST_LIFE
        known = world.settings.app_mode == "live" or world.customers[row.customer].tester
        return known and (answered or fresh)

    rows = [row for row in _of(sandbox, account) if shown(row)]
    return sorted(rows, key=lambda row: row.messages[-1].at, reverse=True)


def _meant(request: Request, row: Conversation) -> bool:
    return request.query.get("user_id", row.igsid) == row.igsid


def _summary(
    sandbox: Sandbox, account: Account, row: Conversation, wanted: Fields
) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for name, inner in wanted.items():
        if _name(name) == "messages":
            limit = re.search(r"\.limit\(([^()]*)\)", name)
            asked = {"fields": inner} | ({"limit": limit[1]} if limit else {})
            answer["messages"] = _messages(sandbox, account, row, asked)
    if "updated_time" in wanted:
        answer["updated_time"] = message_parts.when(row.messages[-1].at)
    if "participants" in wanted:
        sides = [message_parts.business(account), message_parts.customer(row)]
        answer["participants"] = {"data": sides}
    return {**answer, "id": ids.conversation_id(row.ig_id, row.igsid)}


def _messages(sandbox: Sandbox, account: Account, row: Conversation, query: Any) -> dict[str, Any]:
    """A page of a conversation's messages, newest first; what was taken back is not among them."""
    fields = query.get("fields") or "id,created_time,is_unsupported"
    wanted = _split(fields, message_parts.FIELDS)
    limit = _limit(query.get("limit"), sandbox.world.settings.big_page_limit)
    standing = [message for message in reversed(row.messages) if not message.gone]
    path = f"/v25.0/{ids.conversation_id(row.ig_id, row.igsid)}/messages"
    page, paging = _page(sandbox, standing, limit, {**query, "fields": fields}, path)
    data = [message_parts.shown(account, row, each, wanted, strict=False) for each in page]
    return {"data": data} | paging


def _page(
    sandbox: Sandbox, rows: list[Any], limit: int, query: Any, path: str
) -> tuple[list[Any], dict[str, Any]]:
    """The rows after the cursor, and how to get at those that follow, if there are any."""
    start = _cursor(query.get("after", ""))
    page = rows[start : start + limit]
    if start + limit >= len(rows):
        return page, {}
    after = base64.b64encode(str(start + limit).encode()).decode()
    kept = {name: value for name, value in query.items() if name != "access_token"}
    address = f"{sandbox.url}{path}?{urlencode({**kept, 'after': after})}"
    return page, {"paging": {"cursors": {"after": after}, "next": address}}


def _fields(request: Request, default: str, known: tuple[str, ...]) -> Fields:
    return _split(str(request.query.get("fields") or default), known)


def _split(text: str, known: tuple[str, ...]) -> Fields:
    """`id,messages{id,from}` as names with their braces; one unknown name fails the call."""
    parts = re.findall(r"([^,{}]+)(?:\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\})?", text)
    # A modifier stays with its name, as in messages.limit(5).
    wanted = {name.strip(): inner for name, inner in parts if name.strip()}
    for name in map(_name, wanted):
        if name not in known:
            raise GraphError(f"(#100) Tried accessing nonexisting field ({name})", 100)
    return wanted


def _name(field: str) -> str:
    return field.split(".")[0]


def _limit(asked: Any, most: int) -> int:
    text = str(min(PAGE, most) if asked is None else asked)
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise GraphError("(#100) Param limit must be a positive integer", 100)
    if int(text) > most:
        message = "Please reduce the amount of data you're asking for, then retry your request"
        raise GraphError(message, 1, http=500, type="OAuthException")
    return int(text)


def _cursor(text: str) -> int:
    try:
        return max(0, int(base64.b64decode(text) or b"0"))
    except (binascii.Error, ValueError):
        raise GraphError("(#100) Invalid cursor", 100) from None
