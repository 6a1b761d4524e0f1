"""Who is acting: the person behind the request, or whoever runs the command or the worker."""

import getpass
import ipaddress
import socket
from contextvars import ContextVar
from dataclasses import dataclass

from django.http import HttpRequest

_request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)


@dataclass(frozen=True)
class Actor:
    """A name fit for the audit, and the address it came from over the network, if it did."""

    name: str
    address: str | None = None


class ActorMiddleware:
    """Remembers the request for as long as it is handled. Stands behind authentication."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        token = _request.set(request)
        try:
            return self.get_response(request)
        finally:
            _request.reset(token)


def current() -> Actor:
    request = _request.get()
    if request is None:
        return Actor(f"{_system_user()} on {socket.gethostname()}")
    user = getattr(request, "user", None)
    name = user.get_username() if user and user.is_authenticated else "somebody not logged in"
    return Actor(name, _address(request))


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container may run under a number that has no name.
        return "unknown user"


def _address(request: HttpRequest) -> str | None:
    try:
        return str(ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")))
    except ValueError:  # A socket file has no address.
        return None
