"""Who calls the API, and whether they may: by API key, by token of POST auth/session, by cookie.

An `Authorization` header, when there is one, decides alone: a wrong one beside a good cookie is
401.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from . import api_keys, problems, rate_limits, sessions
from .api_middleware import answer_headers, header
from .models import ApiKey, Scope, User
from .problems import Kind, Problem


class BearerAuth(AuthBase):
    """`Authorization: Bearer`, with an API key or a token of POST auth/session."""

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_description = "An API key (imsg_…), or the token of POST auth/session."

    def __init__(self, scope: Scope):
        self.scope = scope
        super().__init__()

    def __call__(self, request: HttpRequest) -> User | None:
        given = header(request, "Authorization")
        if given is None:
            return None
        scheme, _, credential = given.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthenticated("scheme", "Send Authorization: Bearer and the key.")
        credential = credential.strip()
        if credential.startswith(api_keys.PREFIX):
            return self._by_key(request, credential)
        user = sessions.user_of(credential)
        if user is None:
            text = "The token is over, or none of ours. Get a new one by POST auth/session."
            raise _unauthenticated("session_over", text)
        return admit(request, user)

    def _by_key(self, request: HttpRequest, secret: str) -> User:
        with refusals():
            key = api_keys.find(secret)
        user = key.user
        if key.is_limited:
            user.only_accounts = frozenset(key.accounts.values_list("pk", flat=True))
        admit(request, user, key)
        if self.scope not in key.scopes:
            text = f"The API key lacks the scope {self.scope}. Make one that has it."
            raise Problem(problems.FORBIDDEN, text, scope=self.scope.value)
        with suppress(DatabaseError):  # A busy database refuses nobody for this.
            key.note_use()
        return user


class SessionCookie(AuthBase):
    """The cookie of the web login; what changes something also needs the CSRF token."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME
    openapi_description = "The web login; unsafe methods also need the header X-CSRFToken."
    csrf = True

    def __call__(self, request: HttpRequest) -> User | None:
        if not request.user.is_authenticated:
            return None
        if check_csrf(request):
            text = "The header X-CSRFToken is missing or wrong; the page's cookie has its value."
            raise Problem(problems.FORBIDDEN, text)
        return admit(request, request.user)


def access(scope: Scope, *kinds: Kind) -> dict[str, Any]:
    """What an operation wants: a caller with `scope`. `kinds` are refusals of its own.

    The arguments for a router's decorator: `@router.get("/accounts", **access(Scope.READ))`.
    """
    return {
        "auth": [BearerAuth(scope), SessionCookie()],
        "openapi_extra": {"x-scope": scope.value, "x-problems": list(kinds)},
    }


def open_to_all(*kinds: Kind) -> dict[str, Any]:
    """As access(), for an operation that needs nobody to be logged in."""
    return {"auth": None, "openapi_extra": {"x-problems": list(kinds)}}


def caller(request: HttpRequest) -> str:
    """Names whose Idempotency-Keys these are: the API key's, or the user's."""
    key: ApiKey | None = request.api_key
    return f"key:{key.pk}" if key else f"user:{request.user.pk}"


def admit(request: HttpRequest, user: User, key: ApiKey | None = None) -> User:
    """Let `user` in, and count the request. Raises Problem above the limit.

    All keys of a user count together: another key is no way around the limit.
    """
    request.user, request.api_key = user, key
    try:
        answer_headers(request).update(rate_limits.count(f"user:{user.pk}"))
    except rate_limits.LimitReached as exc:
        raise Problem(problems.TOO_MANY_REQUESTS, str(exc), headers=exc.headers) from None
    return user


@contextmanager
def refusals() -> Iterator[None]:
    """Answers what `api_keys` raises with problems."""
    try:
        yield
    except api_keys.KeyRefused as exc:
        raise _unauthenticated(exc.reason, str(exc)) from None
    except api_keys.TooManyKeys as exc:
        raise Problem(problems.TOO_MANY_KEYS, str(exc)) from None


def _unauthenticated(reason: str, detail: str) -> Problem:
    headers = {"WWW-Authenticate": 'Bearer realm="InstaMsg", error="invalid_token"'}
    return Problem(problems.UNAUTHENTICATED, detail, headers=headers, reason=reason)
