"""What the API says when it refuses or fails: `application/problem+json` (RFC 9457), always."""

import logging
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, TooManyFilesSent
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """One way to be refused; programs tell it by its `uri`, which never changes."""

    status: int
    name: str
    title: str

    @property
    def uri(self) -> str:
        return f"urn:instamsg:problem:{self.name}"


MALFORMED = Kind(400, "malformed-request", "The request cannot be read")
UNAUTHENTICATED = Kind(401, "unauthenticated", "It is not known who asks")
FORBIDDEN = Kind(403, "forbidden", "Not allowed")
NOT_FOUND = Kind(404, "not-found", "There is nothing here for you")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "This path does not know the method")
STILL_RUNNING = Kind(409, "still-running", "The same request is still being worked on")
TOO_MANY_KEYS = Kind(409, "too-many-keys", "The user has as many API keys as one may have")
LENGTH_REQUIRED = Kind(411, "length-required", "The length of the body is not told")
TOO_LARGE = Kind(413, "too-large", "The request is too large")
UNSUPPORTED_TYPE = Kind(415, "unsupported-media-type", "This kind of body is not taken")
INVALID = Kind(422, "invalid-input", "Some of the input is not valid")
KEY_REUSED = Kind(422, "idempotency-key-reused", "The Idempotency-Key belongs to another request")
TOO_MANY_REQUESTS = Kind(429, "too-many-requests", "Too many requests")
INTERNAL = Kind(500, "internal-error", "Something failed here")
UNAVAILABLE = Kind(503, "unavailable", "The service is busy")

OTHERS = {
    kind.status: kind
    for kind in (
        MALFORMED, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, LENGTH_REQUIRED,
        TOO_LARGE, UNSUPPORTED_TYPE, INVALID, TOO_MANY_REQUESTS, INTERNAL, UNAVAILABLE,
    )
}  # fmt: skip
"""By status, for what Django or a middleware refused before the API saw it."""

DETAILS = {
    MALFORMED: "Look at the address, the headers and the body: one of them is malformed.",
    UNAUTHENTICATED: "Send Authorization: Bearer and an API key, or a token of POST auth/session.",
    FORBIDDEN: "You are known, but you may not do this.",
    NOT_FOUND: "The path is unknown, or what it names does not exist or is not yours.",
    METHOD_NOT_ALLOWED: "The header Allow lists the methods that this path knows.",
    LENGTH_REQUIRED: "Send Content-Length, in place of Transfer-Encoding: chunked.",
    TOO_LARGE: "Send less at once.",
    UNSUPPORTED_TYPE: "Send JSON, and the header Content-Type: application/json.",
    INVALID: "The list `errors` says what is wrong with which field.",
    TOO_MANY_REQUESTS: "Wait for the seconds that the header Retry-After names.",
    INTERNAL: "It is in the site's log. Trying again later may help.",
    UNAVAILABLE: "The database did not answer in time. Try again in a moment.",
}


class Problem(Exception):
    """Raised to end a request with this answer; `members` are extensions of the shape.

    `detail` is for a person: what happened and what to do. It never quotes what was sent.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str = "",
        *,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ):
        super().__init__(detail)
        self.kind, self.headers = kind, headers or {}
        self.detail = detail or DETAILS.get(kind, "")
        self.members = members if errors is None else {"errors": errors, **members}

    def response(self, request: HttpRequest) -> HttpResponse:
        body = {
            "type": self.kind.uri,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": request.path,
            **self.members,
        }
        response = JsonResponse(body, status=self.kind.status, content_type=MEDIA_TYPE)
        if self.kind.status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="InstaMsg"'
        if self.kind is UNAVAILABLE:
            response.headers["Retry-After"] = "5"
        for name, value in self.headers.items():
            response.headers[name] = value
        return response


def invalid(field: str, message: str, place: str = "body") -> Problem:
    """The 422 that says what is wrong with one `field` of the `place` it came in."""
    errors = [{"in": place, "field": field, "message": message}]
    return Problem(INVALID, f"{field}: {message}", errors=errors)


def handle(api: NinjaAPI) -> None:
    """Let `api` answer what its operations raise with problems."""
    api.add_exception_handler(Exception, _unexpected)
    api.add_exception_handler(Problem, lambda request, exc: exc.response(request))
    for raised, kind in {
        Http404: NOT_FOUND,
        PermissionDenied: FORBIDDEN,
        RequestDataTooBig: TOO_LARGE,
        TooManyFilesSent: TOO_LARGE,
        UnreadablePostError: MALFORMED,
    }.items():
        api.add_exception_handler(raised, _answers(kind))
    api.add_exception_handler(OperationalError, _database_busy)
    api.add_exception_handler(AuthenticationError, _nobody)
    api.add_exception_handler(HttpError, _http_error)
    api.add_exception_handler(ValidationError, _not_valid)


def of_status(status: int) -> Problem:
    """The problem to show for an answer with `status` that has no shape of ours."""
    fallback = INTERNAL if status >= 500 else MALFORMED
    return Problem(OTHERS.get(status, fallback))


def _answers(kind: Kind):
    def answer(request, exc):
        # Django's own texts may quote what was asked for; a refusal of ours says why.
        detail = str(exc) if isinstance(exc, PermissionDenied) else ""
        return Problem(kind, detail).response(request)

    return answer


def _unexpected(request, exc):
    raise exc  # Django logs it, and answers 500; the middleware gives that its shape.


def _database_busy(request, exc):
    logger.error("%s %s: the database did not answer: %s", request.method, request.path, exc)
    return Problem(UNAVAILABLE).response(request)


def _nobody(request, exc):
    return Problem(UNAUTHENTICATED, reason="missing").response(request)


def _http_error(request, exc):
    if isinstance(exc.__cause__, Problem):  # Raised while ninja read the body.
        return exc.__cause__.response(request)
    kind = OTHERS.get(exc.status_code, MALFORMED)
    detail = "The body is no valid JSON." if kind is MALFORMED else str(exc)
    return Problem(kind, detail).response(request)


def _not_valid(request, exc):
    errors = [_named(error) for error in exc.errors]
    fields = ", ".join(dict.fromkeys(error["field"] for error in errors))
    return Problem(INVALID, f"Look at: {fields}.", errors=errors).response(request)


def _named(error: dict[str, Any]) -> dict[str, str]:
    """Where it is wrong, and why; never what was sent, which may be a password."""
    place, *path = error["loc"]
    # The first step of a body's path is the name of our function's parameter.
    field = ".".join(map(str, path[1:] if place == "body" and len(path) > 1 else path))
    return {"in": str(place), "field": field or str(place), "message": error["msg"]}
