"""Who is calling, and the calls about the account itself: /me, subscribed_apps, profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import disabling, oauth
from .errors import GraphError, no_such_object, token_trouble, unsupported
from .state import Account, Customer, Token
from .wire import Request, Response, as_json

if TYPE_CHECKING:
    from .server import Sandbox

SUBSCRIBABLE = (
    "messages",
    "message_edit",
    "message_reactions",
    "messaging_postbacks",
    "messaging_seen",
    "messaging_referral",
    "messaging_optins",
    "messaging_handover",
    "message_echoes",
    "standby",
    "comments",
    "live_comments",
    "mentions",
    "story_insights",
)
_COMMENT_FIELDS = ("comments", "live_comments", "mentions")
_REVOKED = {
    None: "Error validating access token: The token is no longer valid.",
    458: "Error validating access token: The user has not authorized application.",
    459: "Error validating access token: The user is checkpointed. Log in at instagram.com.",
    460: "Error validating access token: The session has been invalidated because the user "
    "changed their password or Facebook has changed the session for security reasons.",
}


def caller(sandbox: Sandbox, request: Request) -> tuple[Token, Account]:
    """The token of a call and its account: token first, then the role on the app."""
    value, _ = request.token
    world = sandbox.world
    if not value:
        raise GraphError(
            "An active access token must be used to query information about the current user.",
            2500,
            type="OAuthException",
        )
    token = world.tokens.get(value)
    if token is None:
        raise token_trouble("Invalid OAuth access token - Cannot parse access token")
    account = world.accounts[token.ig_id]
    if token.revoked:
        raise token_trouble(_REVOKED.get(token.subcode) or _REVOKED[None], token.subcode)
    if token.expires_at <= world.now():
        raise token_trouble(oauth.expired_text(token.expires_at, world.now()), 463)
    if world.settings.app_mode == "development" and not account.tester:
        raise unsupported(request.method)
    return token, account


def caller_of_node(sandbox: Sandbox, request: Request, node: str) -> tuple[Token, Account]:
    """The same for a call on `me` or the account's own IG_ID; no other id will do."""
    token, account = caller(sandbox, request)
    if node not in ("me", account.ig_id):
        raise no_such_object(request.method, node)
    return token, account


def need(token: Token, permission: str) -> None:
    if permission not in token.permissions:
        message = "(#10) Application does not have permission for this action"
        raise GraphError(message, 10, type="OAuthException")


def need_professional(account: Account) -> None:
    if account.account_type == "PERSONAL":
        message = "(#3) Application does not have the capability to make this API call."
        raise GraphError(message, 3, type="OAuthException")


def me(sandbox: Sandbox, request: Request, node: str) -> Response:
    token, account = caller_of_node(sandbox, request, node)
    if request.method != "GET":
        raise unsupported(request.method)
    need(token, oauth.BASIC)
    known = {
        "id": account.app_scoped_id,
        "user_id": account.ig_id,
        "username": account.username,
        "name": account.name,
        "account_type": account.account_type,
        "profile_picture_url": _picture(sandbox, account.username),
        "followers_count": 1204,
        "follows_count": 80,
        "media_count": 311,
    }
    answer = _chosen(request, known, default="id,username")
    if sandbox.world.settings.me_shape == "wrapped":
        return as_json({"data": [answer]})
    return as_json(answer)


def subscribed_apps(sandbox: Sandbox, request: Request, node: str) -> Response:
    token, account = caller_of_node(sandbox, request, node)
    need_professional(account)
    if request.method == "POST":
        account.subscribed_fields = _asked_fields(request, token)
        disabling.enable(sandbox.world)
    elif request.method == "DELETE":
        account.subscribed_fields = []
    else:
        row = {"id": sandbox.app_id, "subscribed_fields": account.subscribed_fields}
        return as_json({"data": [row] if account.subscribed_fields else []})
    sandbox.world.changed()
    return as_json({"success": True})


def _asked_fields(request: Request, token: Token) -> list[str]:
    """The wanted fields, all or none: one that is unknown rejects the whole call."""
    asked = request.params.get("subscribed_fields") or []
    names = [str(name).strip() for name in (asked.split(",") if isinstance(asked, str) else asked)]
    if not names:
        raise GraphError("(#100) The parameter subscribed_fields is required.", 100)
    for index, name in enumerate(names):
        if name not in SUBSCRIBABLE:
            raise GraphError(
                f"(#100) Param subscribed_fields[{index}] must be one of "
                f'{{{", ".join(SUBSCRIBABLE).upper()}}} - got "{name}"',
                100,
                type="OAuthException",
            )
        comments = name in _COMMENT_FIELDS
        permission = "instagram_business_manage_comments" if comments else oauth.MESSAGES
        if permission not in token.permissions:
            raise GraphError(
                f"(#200) To subscribe to the {name} field, one of these permissions is needed: "
                f"{permission}",
                200,
                type="OAuthException",
            )
    return names


def profile(sandbox: Sandbox, request: Request, igsid: str) -> Response:
    """GET /{IGSID}: a customer, once they have written to this very account."""
    token, account = caller(sandbox, request)
    if request.method != "GET":
        raise unsupported(request.method)
    need(token, oauth.BASIC)
    found = sandbox.world.customer_of(igsid)
    if found is None or found[0] is not account:
        raise no_such_object(request.method, igsid)
    customer = found[1]
    if customer.profile == "no_match":
        raise GraphError("(#9010) No matching Instagram user", 9010)
    conversation = sandbox.world.known_conversation(account.ig_id, igsid)
    wrote = conversation is not None and conversation.last_customer_at is not None
    if customer.profile == "no_consent" or customer.blocked or not wrote:
        raise GraphError("User consent is required to access user profile", 230, http=500)
    known = _known_of(sandbox, customer) | {"id": igsid}
    answer = _chosen(request, known, default="id,name,username,profile_pic")
    for name in customer.missing_fields:
        answer.pop(name, None)
    return as_json(answer | {name: None for name in customer.null_fields if name in answer})


def _known_of(sandbox: Sandbox, customer: Customer) -> dict[str, Any]:
    return {
        "name": customer.name or None,
        "username": customer.username,
        "profile_pic": _picture(sandbox, customer.username),
        "follower_count": 120,
        "is_user_follow_business": False,
        "is_business_follow_user": False,
        "is_verified_user": False,
    }


def _chosen(request: Request, known: dict[str, Any], default: str) -> dict[str, Any]:
    """The asked fields; `id` comes unasked, and one unknown field fails the call."""
    asked = str(request.params.get("fields") or default).replace(" ", "").split(",")
    for name in asked:
        if name not in known:
            raise GraphError(f"(#100) Tried accessing nonexisting field ({name})", 100)
    # What is unset is absent, not null.
    return {
        name: known[name]
        for name in dict.fromkeys([*asked, "id"])
        if known[name] is not None and known[name] != ""
    }


def _picture(sandbox: Sandbox, username: str) -> str:
    return f"{sandbox.url}/profile_pic/{username}.png"
