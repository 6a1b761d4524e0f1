"""What every answer of the API has, whoever made it: a shape when it fails, and its headers."""

import hashlib
import sys

from django.http import HttpRequest, HttpResponse
from django.http.request import HttpHeaders
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from . import problems

PREFIX = "/api/"
OPEN_PREFIX = "/api/v1/auth/"
"""Of the operations whose callers nobody knows yet."""

KB = 1024
LARGEST = 1024 * KB
LARGEST_OPEN = 16 * KB
FILES = "multipart/form-data"

DATA = ("application/json; charset=utf-8", problems.MEDIA_TYPE)
NOTHING_ALLOWED = "default-src 'none'; frame-ancestors 'none'"
"""What no browser shows as a page needs nothing."""


class ApiMiddleware:
    """Outside of all middleware that may refuse, and inside of what only adds headers."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        if _has_nul(request):
            response = problems.Problem(problems.MALFORMED, "It contains a NUL.").response(request)
        elif "chunked" in header(request, "Transfer-Encoding", ""):
            response = problems.Problem(problems.LENGTH_REQUIRED).response(request)
        elif (length := _body_length(request)) > (limit := _largest_body(request)):
            text = f"The body has {length:,} bytes; {limit:,} are taken here."
            response = problems.Problem(problems.TOO_LARGE, text).response(request)
        else:
            response = self.get_response(request)
        if response.status_code >= 400:
            response = _in_shape(request, response)
        else:
            response = _unless_known(request, response)
        for name, value in answer_headers(request).items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "private, no-cache")
        if response.headers.get("Content-Type") in DATA:
            response.headers.setdefault("Content-Security-Policy", NOTHING_ALLOWED)
        return response


def answer_headers(request: HttpRequest) -> dict[str, str]:
    """Headers that the answer to `request` will have, however it is made."""
    if not hasattr(request, "api_answer_headers"):
        request.api_answer_headers = {}
    return request.api_answer_headers


def header(request: HttpRequest, name: str, default: str | None = None) -> str | None:
    """One header. Django's `headers` reads all of them for each request."""
    return request.META.get(HttpHeaders.to_wsgi_name(name), default)


def _has_nul(request: HttpRequest) -> bool:
    """PostgreSQL takes none, and no name of ours has one."""
    return "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", "")


def _body_length(request: HttpRequest) -> int:
    """As it is told: Django reads no more than that, and nothing when it is not told."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _largest_body(request: HttpRequest) -> int:
    """Here, before anything is read: ninja reads a body before its parser is asked."""
    if request.path_info.startswith(OPEN_PREFIX):
        return LARGEST_OPEN
    if request.content_type == FILES:  # These are counted while they come.
        return sys.maxsize
    return LARGEST


def _in_shape(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    if response.headers.get("Content-Type") == problems.MEDIA_TYPE:
        return response
    shaped = problems.of_status(response.status_code).response(request)
    for name in ("Allow", "Retry-After"):
        if name in response.headers:
            shaped.headers[name] = response.headers[name]
    return shaped


def _unless_known(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """304 for a poller that has this very answer already."""
    if request.method != "GET" or response.status_code != 200 or response.streaming:
        return response
    etag = quote_etag(hashlib.sha256(response.content).hexdigest()[:32])
    response.headers["ETag"] = etag
    found = get_conditional_response(request, etag=etag, response=response)
    return found if found.status_code == 304 else response
