"""The HTTP to Instagram: one place that speaks it, and returns meanings.

Facts are from the Instagram Platform documentation: Business Login for Instagram, the Send API
and the Graph API's error handling. Ids are strings; they exceed 2^53.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from ssl import SSLCertVerificationError
from typing import Any
from urllib.parse import quote, urlencode

import requests
from django.conf import settings
from django.utils import timezone
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, SSLError

from . import instagram_conversations as past
from . import instagram_usage
from .instagram_conversations import Page, PastConversation, PastMessage
from .instagram_errors import InstagramError, NoAnswer, NotSent, Refused, meaning_of
from .instagram_messages import Body
from .instagram_usage import Usage

CALLS_AT_ONCE = 40
"""Of one process, with connections that are kept."""

FETCHING = 80
"""Seconds for a call during which Instagram fetches what is sent."""

# One pool of connections per process. Nothing of the environment's proxies or .netrc is used,
# and no redirect is followed: the token would go with it.
_http = requests.Session()
_http.trust_env = False
_http.mount("https://", HTTPAdapter(pool_maxsize=CALLS_AT_ONCE))
_http.mount("http://", HTTPAdapter(pool_maxsize=CALLS_AT_ONCE))
# One account's cookies are not to go with another's calls.
_http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

PERSON_NOT_TOLD = {230, 9010}
"""Without consent, whatever the HTTP status; and of those who test for Meta (7.2)."""


@dataclass(frozen=True)
class Grant:
    """A token as Instagram gives it: when it ends, and what the person allowed.

    `permissions` is None when Instagram did not say.
    """

    token: str
    expires_at: datetime
    permissions: list[str] | None

    def __repr__(self) -> str:
        return f"<Grant until {self.expires_at:%Y-%m-%d}>"


@dataclass(frozen=True)
class Profile:
    """An Instagram professional account as /me describes it.

    `instagram_account_id` is /me's `user_id`, the id that webhooks carry as `entry.id`;
    `app_scoped_id` is its `id`. One never stands in for the other.
    """

    instagram_account_id: str
    app_scoped_id: str
    username: str
    name: str
    account_type: str
    profile_picture_url: str


@dataclass(frozen=True)
class Person:
    """Who writes to an account, as far as Instagram tells."""

    username: str
    name: str
    picture_url: str = ""


def authorize_url(*, state: str, redirect_uri: str) -> str:
    """Where the browser goes to be asked for consent.

    It always asks who logs in: a browser that is logged in to one shop would connect that one
    again, whichever was meant.
    """
    query = {
        "client_id": settings.INSTAGRAM_APP_ID,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": ",".join(settings.INSTAGRAM_SCOPES),
        "state": state,
        "force_reauth": "true",
    }
    return f"{settings.INSTAGRAM_AUTHORIZE_URL}?{urlencode(query)}"


def exchange_code(code: str, *, redirect_uri: str) -> Grant:
    """The long-lived token (60 days) for an authorization code (1 hour, single use).

    Raises InstagramError; Refused when the code is unknown, used or expired. The short-lived
    token in between is never kept: it dies within the hour and cannot be refreshed.
    """
    short = _call(
        "POST",
        settings.INSTAGRAM_TOKEN_URL,
        data={
            "client_id": settings.INSTAGRAM_APP_ID,
            "client_secret": settings.INSTAGRAM_APP_SECRETS[0],
            "grant_type": "authorization_code",
            "redirect_uri": redirect_uri,
            "code": code.removesuffix("#_"),
        },
    )
    permissions = short.get("permissions")
    if isinstance(permissions, str):
        permissions = [name.strip() for name in permissions.split(",")]
    long = _call(
        "GET",
        f"{settings.INSTAGRAM_GRAPH_URL}/access_token",
        # The platform takes these in the URL only (Business Login, long-lived tokens).
        params={
            "grant_type": "ig_exchange_token",
            "client_secret": settings.INSTAGRAM_APP_SECRETS[0],
            "access_token": _text(short, "access_token"),
        },
    )
    return _grant(long, permissions)


def ask_time(seconds: float) -> datetime | None:
    """Instagram's clock, by the Date header of any answer; asked without a token.

    None when it does not say. Raises NotSent or NoAnswer.
    """
    url = settings.INSTAGRAM_GRAPH_URL
    try:
        answer = _http.get(url, timeout=seconds, stream=True, allow_redirects=False)
    except requests.RequestException as exc:
        raise _silence(exc) from None
    with answer:
        try:
            return parsedate_to_datetime(answer.headers.get("Date", ""))
        except ValueError:
            return None


class InstagramClient:
    """Instagram, spoken to with one account's access token. Every method raises InstagramError.

    `usage` is what the last answer told of the limits, None when it told nothing.
    """

    def __init__(self, access_token: str):
        self._access_token = access_token
        self.usage: Usage | None = None

    def __repr__(self) -> str:
        return "<InstagramClient>"

    def me(self) -> Profile:
        """Whose token this is. Refused when Instagram leaves out the id that webhooks carry."""
        fields = "id,user_id,username,name,account_type,profile_picture_url"
        found = self._call("GET", "me", params={"fields": fields})
        return Profile(
            instagram_account_id=_text(found, "user_id"),
            app_scoped_id=_text(found, "id"),
            username=_text(found, "username"),
            name=found.get("name") or "",
            account_type=found.get("account_type") or "",
            profile_picture_url=found.get("profile_picture_url") or "",
        )

    def subscribe(self, fields: list[str]) -> list[str]:
        """Ask for webhooks. Returns the fields that Instagram took, at least the first.

        One unknown field rejects the whole call, so after a refusal each is added by itself.
        """
        try:
            self._subscribe(fields)
            return fields
        except Refused:
            taken = fields[:1]
            self._subscribe(taken)
        for field in fields[1:]:
            try:
                self._subscribe([*taken, field])
                taken = [*taken, field]
            except Refused:
                continue
        return taken

    def refresh(self) -> Grant:
        """The token for the next 60 days, perhaps another one: it takes this one's place.

        Instagram wants this one to be at least 24 hours old, and not expired.
        """
        found = _call(
            "GET",
            f"{settings.INSTAGRAM_GRAPH_URL}/refresh_access_token",
            # In the URL, as above.
            params={"grant_type": "ig_refresh_token", "access_token": self._access_token},
        )
        return _grant(found, permissions=None)

    def subscribed(self) -> list[str]:
        """The fields whose webhooks Instagram sends; empty when it sends none."""
        fields = self._call("GET", "me/subscribed_apps").get("subscribed_fields") or []
        return [field for field in fields if isinstance(field, str)]

    def unsubscribe(self) -> None:
        """Ask for no more webhooks of this account."""
        self._call("DELETE", "me/subscribed_apps")

    def send(self, igsid: str, body: Body, *, has_files: bool = False) -> str:
        """Send one message, made by `instagram_messages`, once; returns Instagram's id of it.

        Instagram fetches files before it answers, a video for up to 75 seconds (7.2).
        """
        timeout = FETCHING if has_files else settings.INSTAGRAM_TIMEOUT
        body = {"recipient": {"id": igsid}} | body
        answer = self._call("POST", "me/messages", json=body, timeout=timeout)
        if not isinstance(answer.get("message_id"), str):
            raise NoAnswer("Instagram answered without a message id.")
        return answer["message_id"]

    def act(self, igsid: str, body: Body) -> None:
        """React to a message, show that somebody types, or that the thread was read."""
        self._call("POST", "me/messages", json={"recipient": {"id": igsid}} | body)

    def person(self, igsid: str) -> Person:
        """Somebody who has written to the account; what Instagram leaves out is empty.

        Refused when it will not tell: without their consent, of a reviewer of Meta's, or of
        somebody who blocked the account. That says nothing about the token.
        """
        try:
            found = self._call("GET", igsid, params={"fields": "name,username,profile_pic"})
        except InstagramError as exc:
            if exc.code in PERSON_NOT_TOLD:
                raise Refused(str(exc), code=exc.code, trace=exc.trace) from None
            raise
        told = [found.get(name) for name in ("username", "name", "profile_pic")]
        return Person(*(value if isinstance(value, str) else "" for value in told))

    def conversations(
        self, *, limit: int, after: str = "", igsid: str = ""
    ) -> Page[PastConversation]:
        """A page of the account's conversations, the latest first, or of those with one person."""
        params = {"platform": "instagram", "fields": "id,updated_time", "limit": limit}
        params |= {"user_id": igsid} if igsid else {}
        answer = self._answer("GET", "me/conversations", params=params | _from(after))
        return past.page(answer, past.conversation)

    def messages(self, conversation: str, *, limit: int, after: str = "") -> Page[PastMessage]:
        """A page of what was said in a conversation, the newest first."""
        params = {"fields": past.MESSAGE_FIELDS, "limit": limit}
        path = f"{quote(conversation, safe='')}/messages"
        return past.page(self._answer("GET", path, params=params | _from(after)), past.message)

    def message(self, mid: str) -> PastMessage:
        """One message, as it stands now. Refused when it is gone, or too old to be told."""
        params = {"fields": past.MESSAGE_FIELDS}
        return past.message(self._answer("GET", quote(mid, safe=""), params=params))

    def _subscribe(self, fields: list[str]) -> None:
        self._call("POST", "me/subscribed_apps", json={"subscribed_fields": fields})

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        return _unwrapped(self._answer(method, path, **request))

    def _answer(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        url = f"{settings.INSTAGRAM_GRAPH_URL}/{settings.INSTAGRAM_API_VERSION}/{path}"
        headers = {"Authorization": f"Bearer {self._access_token}"}
        is_own = path == "me" or path.startswith("me/")
        return _answer(method, url, client=self, is_own=is_own, headers=headers, **request)


def _from(after: str) -> dict[str, str]:
    return {"after": after} if after else {}


def _call(method: str, url: str, **request: Any) -> dict[str, Any]:
    return _unwrapped(_answer(method, url, **request))


def _unwrapped(answer: dict[str, Any]) -> dict[str, Any]:
    """One thing that was asked for; documented wrapped, while live answers come without it."""
    wrapped = answer.get("data")
    return wrapped[0] if isinstance(wrapped, list) and wrapped else answer


def _answer(
    method: str,
    url: str,
    *,
    client: InstagramClient | None = None,
    is_own: bool = False,
    timeout: float | None = None,
    **request: Any,
) -> dict[str, Any]:
    """One call, one meaning: the JSON object of a success, or an InstagramError.

    Errors are raised `from None`: the exceptions of the HTTP library quote the URL, and a token
    with it.
    """
    timeout = timeout or settings.INSTAGRAM_TIMEOUT
    try:
        answer = _http.request(method, url, timeout=timeout, allow_redirects=False, **request)
    except requests.RequestException as exc:
        raise _silence(exc) from None
    if client:
        client.usage = instagram_usage.read(answer.headers)
    try:
        body = answer.json()
    except ValueError:
        body = None
    if isinstance(body, list):
        body = body[0] if body else None
    if answer.status_code == 200 and isinstance(body, dict) and "error" not in body:
        return body
    raise meaning_of(answer.status_code, body, is_read=method == "GET", is_own=is_own)


def _grant(answer: dict[str, Any], permissions: list[str] | None) -> Grant:
    """A long-lived token as both of its endpoints give it."""
    expires_in = _text(answer, "expires_in")
    if not expires_in.isdecimal() or len(expires_in) > 10:
        raise Refused("Instagram's answer does not say how long the token is valid.")
    expires_at = timezone.now() + timedelta(seconds=int(expires_in))
    return Grant(_text(answer, "access_token"), expires_at, permissions)


def _silence(exc: requests.RequestException) -> InstagramError:
    if _never_left(exc):
        return NotSent("Instagram cannot be reached.")
    return NoAnswer("Instagram did not answer.")


def _never_left(exc: requests.RequestException) -> bool:
    """Whether no connection was made: only then is a repeat surely the first."""
    cause = exc.args[0] if exc.args else None
    reason = getattr(cause, "reason", cause)
    if isinstance(reason, SSLError):  # Of the handshake, or in the midst of an answer?
        return any(isinstance(arg, SSLCertVerificationError) for arg in reason.args)
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _text(answer: dict[str, Any], name: str) -> str:
    """A value that must be there, as text: ids arrive as strings or as bare integers."""
    value = answer.get(name)
    if value in (None, "") or isinstance(value, bool | float | dict | list):
        raise Refused(f"Instagram's answer lacks {name!r}.")
    return str(value)
