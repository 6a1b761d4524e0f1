"""The platform's HTTP: which call is meant, which fault is due, what the log keeps of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import conversations, fetching, graph, limits, media, messages, oauth, uploads
from .errors import GraphError, OAuthError
from .faults import Call
from .state import as_object
from .wire import BadRequest, Dropped, Request, Response

if TYPE_CHECKING:
    from .server import Sandbox

Action = Callable[["Sandbox", Request], Response]

# Other hosts of the platform: the settings about Graph calls do not concern them.
NOT_GRAPH = ("code_exchange", "media")

_VERSION = re.compile(r"v\d+\.\d+")


def answer(sandbox: Sandbox, request: Request) -> Response:
    token, token_in = request.token
    entry = {
        "at": sandbox.world.now(),
        "method": request.method,
        # A token put into the path by mistake stays out of the log like any other.
        "path": re.sub(r"(IGAA|AQ)[^/]{20,}", "[token]", request.path),
        "token_in": token_in,
        "status": None,
    }
    with sandbox.world.lock:
        endpoint, action = _find(sandbox, request)
        ig_id = _account_meant(sandbox, request, token)
        account = sandbox.world.accounts.get(ig_id or "")
        entry |= {"endpoint": endpoint, "account": account.username if account else None}
        sandbox.requests.append(entry)
        trouble = sandbox.world.settings.trouble
        fault = sandbox.faults.take(_call(request, endpoint, ig_id), trouble)
        if fault and fault.drop == "before":
            entry["status"] = "dropped before acting"
            raise Dropped
    response = (fault and fault.answer()) or _act(sandbox, request, action)
    for step in response.before:
        step()
    if endpoint not in NOT_GRAPH:
        time.sleep(sandbox.world.settings.latency)
        response.headers = limits.usage(sandbox, account) | response.headers
    if fault:
        time.sleep(fault.latency)
        response.headers |= fault.headers
        if fault.drop == "after":
            entry["status"] = "dropped after acting"
            raise Dropped(response.after)
    entry["status"] = response.status
    return response


def _act(sandbox: Sandbox, request: Request, action: Action) -> Response:
    """Under the lock, but for the files a call names: who serves them may need us meanwhile."""
    try:
        while True:
            try:
                with sandbox.world.lock:
                    return action(sandbox, request)
            except fetching.Wanted as wanted:
                timeout = sandbox.world.settings.fetch_timeout
                request.fetched.update(fetching.fetch_all(wanted.urls, timeout))
    except (GraphError, OAuthError) as error:
        return error.response()
    except BadRequest as error:
        return GraphError(f"(#100) {error}", 100).response()


def _find(sandbox: Sandbox, request: Request) -> tuple[str, Action]:
    """The name of the endpoint and the function behind it."""
    segments = request.path.strip("/").split("/")
    if segments == ["oauth", "access_token"]:
        return "code_exchange", oauth.exchange_code
    if request.path == media.CDN_PATH:
        return "media", media.serve
    if _VERSION.fullmatch(segments[0]):
        segments = segments[1:]
    match segments:
        case ["access_token"]:
            return "access_token", oauth.exchange_token
        case ["refresh_access_token"]:
            return "refresh_access_token", oauth.refresh_token
        case [node, "subscribed_apps"] if node:
            return "subscribed_apps", lambda s, r: graph.subscribed_apps(s, r, node)
        case [node, "messages"] if request.method == "GET" and not _is_account(sandbox, node):
            return "conversations", lambda s, r: conversations.messages(s, r, node)
        case [node, "messages"] if node:
            return "messages", lambda s, r: messages.send(s, r, node)
        case [node, "message_attachments"] if node:
            return "message_attachments", lambda s, r: uploads.upload(s, r, node)
        case [node, "conversations"] if node:
            return "conversations", lambda s, r: conversations.listed(s, r, node)
        case [node] if _is_account(sandbox, node):
            return "me", lambda s, r: graph.me(s, r, node)
        case [node] if node.isdecimal():
            return "profile", lambda s, r: graph.profile(s, r, node)
        case [node] if node and not _VERSION.fullmatch(node):
            return "conversations", lambda s, r: conversations.one(s, r, node)
    return "*", _unknown_path


def _call(request: Request, endpoint: str, ig_id: str | None) -> Call:
    """What faults look at; a body nobody can read tells them nothing."""
    try:
        params = request.params
    except BadRequest:
        return Call(endpoint, ig_id)
    igsid = as_object(params.get("recipient")).get("id") or params.get("user_id")
    text = as_object(params.get("message")).get("text")
    return Call(endpoint, ig_id, str(igsid) if igsid else None, str(text or ""))


def _is_account(sandbox: Sandbox, node: str) -> bool:
    return node == "me" or node in sandbox.world.accounts


def _account_meant(sandbox: Sandbox, request: Request, token: str) -> str | None:
    world = sandbox.world
    known = world.tokens.get(token) or world.codes.get(request.form.get("code", ""))
    return known.ig_id if known else None


def _unknown_path(sandbox: Sandbox, request: Request) -> Response:
    raise GraphError(
        f"Unknown path components: {request.path}", 2500, http=500, type="OAuthException"
    )
