"""Logging in: the consent, the code, and the tokens that come of it."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from . import graph, ids
from .errors import GraphError, OAuthError, unsupported
from .state import DAY, Account, Code, Token
from .wire import Request, Response, as_json

if TYPE_CHECKING:
    from .server import Sandbox

HOUR = 3600
BASIC = "instagram_business_basic"
MESSAGES = "instagram_business_manage_messages"
SCOPES = (
    BASIC,
    MESSAGES,
    "instagram_business_manage_comments",
    "instagram_business_content_publish",
    "instagram_business_manage_insights",
)
# The documented answer is 60 days less some seconds; whoever counts on 5184000 learns it here.
LONG_LIFE = 60 * DAY - 56


class Refused(Exception):
    """Shown on the platform's own page: nothing goes back to the redirect URI."""


@dataclass(frozen=True)
class Ask:
    """One request to log in, as it stands in the authorize URL."""

    redirect_uri: str
    scopes: tuple[str, ...]
    state: str | None

    def granted(self, code: str) -> str:
        return self._back({"code": code}) + "#_"

    def denied(self) -> str:
        return self._back(
            {
                "error": "access_denied",
                "error_reason": "user_denied",
                "error_description": "The user denied your request",
            }
        )

    def _back(self, answer: dict[str, str]) -> str:
        if self.state is not None:
            answer["state"] = self.state
        return f"{self.redirect_uri}{'&' if '?' in self.redirect_uri else '?'}{urlencode(answer)}"


def read_ask(sandbox: Sandbox, values: dict[str, str]) -> Ask:
    """Check an authorize request the way the platform does; raises Refused."""
    if values.get("client_id") != sandbox.app_id:
        raise Refused("Invalid platform app")
    if values.get("redirect_uri") not in sandbox.redirect_uris:
        raise Refused("Invalid Request: Request parameters are invalid: Invalid redirect_uri")
    if values.get("response_type") != "code":
        raise Refused("Invalid Request: Request parameters are invalid: Invalid response_type")
    scopes = tuple(values.get("scope", "").replace(",", " ").split())
    if not scopes or any(scope not in SCOPES for scope in scopes):
        raise Refused("Invalid Request: Request parameters are invalid: Invalid scope")
    return Ask(values["redirect_uri"], scopes, values.get("state"))


def approve(sandbox: Sandbox, ask: Ask, account: Account, grant: list[str]) -> str:
    """The account's owner says yes to these permissions; gives the code."""
    world = sandbox.world
    permissions = [scope for scope in ask.scopes if scope in grant]
    expires_at = world.now() + HOUR
    code = Code(ids.code(), account.ig_id, ask.redirect_uri, permissions, expires_at)
    world.codes[code.value] = code
    world.changed()
    return code.value


def exchange_code(sandbox: Sandbox, request: Request) -> Response:
    """POST /oauth/access_token: a form only; a code works once, for an hour."""
    if request.method != "POST":
        raise OAuthError(f"Unsupported request - method type: {request.method.lower()}")
    form = request.form
    for name in ("client_id", "client_secret", "grant_type", "redirect_uri", "code"):
        if not form.get(name):
            raise OAuthError(f"Missing required field {name}")
    if form["client_id"] != sandbox.app_id or not _is_app_secret(sandbox, form["client_secret"]):
        raise OAuthError("Invalid platform app")
    if form["grant_type"] != "authorization_code":
        raise OAuthError("Invalid grant_type")
    if form["redirect_uri"] not in sandbox.redirect_uris:
        raise OAuthError("Invalid redirect_uri")
    code = sandbox.world.codes.get(form["code"])
    if code is None or code.expires_at <= sandbox.world.now():
        raise OAuthError("No matching code found.")
    if code.used:
        raise OAuthError("Matching code was not found or was already used")
    if code.redirect_uri != form["redirect_uri"]:
        raise OAuthError(
            "Error validating verification code. Please make sure your redirect_uri is identical "
            "to the one you used in the OAuth dialog request"
        )
    code.used = True
    account = sandbox.world.accounts[code.ig_id]
    token = sandbox.world.issue_token(account.ig_id, "short", code.permissions, HOUR)
    if sandbox.world.settings.token_shape == "wrapped":  # noqa: S105 a shape, not a secret
        row = {
            "access_token": token.value,
            "user_id": account.app_scoped_id,
            "permissions": ",".join(code.permissions),
        }
        return as_json({"data": [row]})
    return as_json(
        {
            "access_token": token.value,
            # A bare number, larger than a float can hold: seen live.
            "user_id": int(account.app_scoped_id),
            "permissions": code.permissions,
        }
    )


def exchange_token(sandbox: Sandbox, request: Request) -> Response:
    """GET /access_token: an hour becomes sixty days."""
    if request.method != "GET":
        raise unsupported(request.method)
    token, account = graph.caller(sandbox, request)
    if request.query.get("grant_type") != "ig_exchange_token":
        raise GraphError("(#100) Param grant_type must be one of {IG_EXCHANGE_TOKEN}", 100)
    if not _is_app_secret(sandbox, request.query.get("client_secret", "")):
        raise GraphError("Error validating client secret.", 1, type="OAuthException")
    if token.kind != "short":
        raise GraphError("(#100) The access token is not a short-lived token", 100)
    return _long_token(sandbox, account.ig_id, token.permissions)


def refresh_token(sandbox: Sandbox, request: Request) -> Response:
    """GET /refresh_access_token: sixty days from now, for a token at least a day old."""
    if request.method != "GET":
        raise unsupported(request.method)
    token, account = graph.caller(sandbox, request)
    if request.query.get("grant_type") != "ig_refresh_token":
        raise GraphError("(#100) Param grant_type must be one of {IG_REFRESH_TOKEN}", 100)
    graph.need(token, BASIC)
    if token.kind != "long":
        raise GraphError("(#100) Only a long-lived access token can be refreshed", 100)
    if sandbox.world.now() - token.issued_at < DAY:
        raise GraphError("(#100) The access token must be at least 24 hours old", 100)
    if sandbox.world.settings.refreshed_token == "same":  # noqa: S105 a manner, not a secret
        token.issued_at, token.expires_at = sandbox.world.now(), sandbox.world.now() + LONG_LIFE
        sandbox.world.changed()
        return _answer(token)
    return _long_token(sandbox, account.ig_id, token.permissions)


def expired_text(expired_at: float, now: float) -> str:
    def spoken(at: float) -> str:
        return time.strftime("%A, %d-%b-%y %H:%M:%S UTC", time.gmtime(at))

    return (
        f"Error validating access token: Session has expired on {spoken(expired_at)}. "
        f"The current time is {spoken(now)}."
    )


def _long_token(sandbox: Sandbox, ig_id: str, permissions: list[str]) -> Response:
    return _answer(sandbox.world.issue_token(ig_id, "long", permissions, LONG_LIFE))


def _answer(token: Token) -> Response:
    answer = {"access_token": token.value, "token_type": "bearer", "expires_in": LONG_LIFE}
    return as_json(answer)


def _is_app_secret(sandbox: Sandbox, value: str) -> bool:
    return hmac.compare_digest(value.encode(), sandbox.app_secrets[0].encode())
