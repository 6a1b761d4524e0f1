"""Reading back: the conversations of an account, one conversation, one message."""

from __future__ import annotations

import base64
import binascii
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from . import graph, ids, oauth
from .errors import GraphError, no_such_object, unsupported
from .state import DAY, Account, Conversation, Message, as_object
from .wire import Request, Response, as_json

if TYPE_CHECKING:
    from .server import Sandbox

# The platform tells only of the newest messages what they say.
DETAILED = 20
# Above these it wants the caller to ask for less.
MAX_PAGE, MAX_PAGE_WITH_MESSAGES = 50, 20
REQUEST_LIFE = 30 * DAY
LIST_FIELDS = ("id", "updated_time", "participants", "messages")
MESSAGE_FIELDS = (
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

Fields = dict[str, str]  # a name, and what stood in braces after it


def listed(sandbox: Sandbox, request: Request, node: str) -> Response:
    """GET /{me|IG_ID}/conversations, newest first."""
    account = _reader(sandbox, request, node)
    wanted = _fields(request, "id,updated_time", LIST_FIELDS)
    limit = _limit(request)
    if limit > (MAX_PAGE_WITH_MESSAGES if "messages" in wanted else MAX_PAGE):
        message = "Please reduce the amount of data you're asking for, then retry your request"
        raise GraphError(message, 1, http=500, type="OAuthException")
    rows = [row for row in _visible(sandbox, account) if _meant(request, row)]
    start = _cursor(request.query.get("after", ""))
    page = [_summary(sandbox, account, row, wanted) for row in rows[start : start + limit]]
    answer: dict[str, Any] = {"data": page}
    if start + limit < len(rows):
        after = base64.b64encode(str(start + limit).encode()).decode()
        query = {name: value for name, value in request.query.items() if name != "access_token"}
        address = f"{sandbox.url}{request.path}?{urlencode({**query, 'after': after})}"
        answer["paging"] = {"cursors": {"after": after}, "next": address}
    return as_json(answer)


def one(sandbox: Sandbox, request: Request, node: str) -> Response:
    """GET /{conversation id} or /{mid}: whichever of the caller's own it names."""
    account = _reader(sandbox, request, "me")
    for row in _of(sandbox, account):
        if ids.conversation_id(row.ig_id, row.igsid) == node:
            return as_json(_summary(sandbox, account, row, _fields(request, "id", LIST_FIELDS)))
        for message in row.messages:
            if message.mid == node:
                wanted = _fields(request, "id,created_time", MESSAGE_FIELDS)
                return as_json(_message(account, row, message, wanted, strict=True))
    raise no_such_object(request.method, node)


def _reader(sandbox: Sandbox, request: Request, node: str) -> Account:
    token, account = graph.caller_of_node(sandbox, request, node)
    if request.method != "GET":
        raise unsupported(request.method)
    graph.need_professional(account)
    graph.need(token, oauth.MESSAGES)
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
    if "messages" in wanted:
        asked = _split(wanted["messages"] or "id,created_time,is_unsupported", MESSAGE_FIELDS)
        newest = list(reversed(row.messages))
        answer["messages"] = {"data": [_message(account, row, each, asked) for each in newest]}
    if "updated_time" in wanted:
        answer["updated_time"] = _when(row.messages[-1].at)
    if "participants" in wanted:
        answer["participants"] = {"data": [_business(account), _customer(row)]}
    return {**answer, "id": ids.conversation_id(row.ig_id, row.igsid)}


def _message(
    account: Account, row: Conversation, message: Message, wanted: Fields, strict: bool = False
) -> dict[str, Any]:
    """The asked parts; of an old or a deleted one only that it was, or an error when strict."""
    gone = message.content.get("is_deleted") or message not in row.messages[-DETAILED:]
    if gone and strict:
        text = "The message has been deleted by the user or the business."
        raise GraphError(text, 9000001, type="OAuthException")
    sides = [_business(account), _customer(row)]
    if message.by == "customer":
        sides.reverse()
    known: dict[str, Any] = {"created_time": _when(message.at)}
    if not gone:
        known |= {"from": sides[0], "to": {"data": sides[1:]}, **_parts(message)}
    return {name: known[name] for name in wanted if name in known} | {"id": message.mid}


def _parts(message: Message) -> dict[str, Any]:
    """What the message holds, in the words of this API, which are not those of the webhook."""
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
            files.append({"id": f"{number}", f"{kind}_data": {"url": url}})
        elif kind in ("audio", "file"):
            files.append({"id": f"{number}", "file_url": url})
        elif kind == "story_mention":
            parts["story"] = {"mention": {"link": url, "id": f"{number}"}}
        elif url:
            shares.append({"link": url})
    if files:
        parts["attachments"] = {"data": files}
    if shares:
        parts["shares"] = {"data": shares}
    story = as_object(as_object(content.get("reply_to")).get("story"))
    if story:
        parts["story"] = {"reply_to": {"link": story.get("url", ""), "id": story.get("id")}}
    return parts


def _business(account: Account) -> dict[str, str]:
    return {"username": account.username, "id": account.ig_id}


def _customer(row: Conversation) -> dict[str, str]:
    return {"username": row.customer, "id": row.igsid}


def _fields(request: Request, default: str, known: tuple[str, ...]) -> Fields:
    return _split(str(request.query.get("fields") or default), known)


def _split(text: str, known: tuple[str, ...]) -> Fields:
    """`id,messages{id,from}` as names with their braces; one unknown name fails the call."""
    parts = re.findall(r"([^,{}]+)(?:\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\})?", text)
    # A modifier, as in messages.limit(5), is read over.
    wanted = {name.strip().split(".")[0]: inner for name, inner in parts if name.strip()}
    for name in wanted:
        if name not in known:
            raise GraphError(f"(#100) Tried accessing nonexisting field ({name})", 100)
    return wanted


def _limit(request: Request) -> int:
    text = request.query.get("limit", "25")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise GraphError("(#100) Param limit must be a positive integer", 100)
    return int(text)


def _cursor(text: str) -> int:
    try:
        return max(0, int(base64.b64decode(text) or b"0"))
    except (binascii.Error, ValueError):
        raise GraphError("(#100) Invalid cursor", 100) from None


def _when(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(at / 1000))
