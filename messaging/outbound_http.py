"""The guard for addresses that others choose: resolve, refuse private networks, pin."""

import ipaddress
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

TIMEOUT = 15
REDIRECTS = 3

IPV4_INSIDE = [
    ipaddress.ip_network(network)
    for network in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
]
"""IPv6 networks whose addresses lead to an IPv4 address, maybe a private one."""


class Forbidden(Exception):
    """The address must not be asked; the text says why."""


class NotReached(Exception):
    """The site does not answer under its own address; the text says why."""


class PinnedAdapter(HTTPAdapter):
    """Connects to an address that was checked, while TLS and Host speak of the name."""

    def __init__(self, address: str):
        super().__init__()
        self.address = address

    def build_connection_pool_key_attributes(self, request, verify, cert=None):
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            pool |= {"server_hostname": host["host"], "assert_hostname": host["host"]}
        return host | {"host": self.address}, pool


@contextmanager
def get(
    url: str, *, allow: Callable[[SplitResult], bool], until: float
) -> Iterator[requests.Response]:
    """The answer to GET `url`, not yet read; redirects are followed and checked anew.

    `until` is the moment of the monotonic clock after which nothing more is waited for.

    `allow` says whether an address may be asked at all; where it answers True for a plain-http
    address, the private-network rule does not apply (the offline sandbox). Raises Forbidden, or
    requests.RequestException.
    """
    for _ in range(REDIRECTS + 1):
        parts = _split(url)
        if not allow(parts):
            raise Forbidden(f"{parts.scheme}://{parts.hostname} is not a host to fetch from")
        address = _resolve(parts)
        left = until - time.monotonic()
        if left <= 0:
            raise requests.Timeout("it redirects too slowly")
        with requests.Session() as session:
            session.trust_env = False
            # requests would read a redirect's body, however long, even when it follows none.
            session.get_redirect_target = lambda response: None
            session.mount(f"{parts.scheme}://", PinnedAdapter(address))
            answer = session.get(
                url,
                # Unpacked, a small answer could be as large as memory.
                headers={"Host": parts.netloc, "Accept-Encoding": "identity"},
                timeout=min(TIMEOUT, left),
                stream=True,
                allow_redirects=False,
            )
            with answer:
                if not answer.is_redirect:
                    yield answer
                    return
                url = _join(url, answer.headers["Location"])
    raise Forbidden("too many redirects")


def ask_own_site(url: str, seconds: float) -> None:
    """Whether this site answers under the address that the operator gave it.

    Private networks are no hindrance: it may be one's own. Raises NotReached.
    """
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url, timeout=seconds, stream=True, allow_redirects=False)
            with answer:
                _refuse_stranger(answer)
    except requests.exceptions.SSLError:
        raise NotReached(
            "Its certificate does not hold: expired, made for another name, or incomplete."
        ) from None
    except requests.Timeout:
        raise NotReached(f"It did not answer within {seconds:g} seconds.") from None
    except (requests.RequestException, ValueError):
        raise NotReached("No connection: is the name known, and does the proxy run?") from None


def _refuse_stranger(answer: requests.Response) -> None:
    if answer.status_code != 200:
        raise NotReached(f"It answers with status {answer.status_code} instead of 200.")
    try:
        is_ours = json.loads(answer.raw.read(1000, decode_content=True))["status"] == "healthy"
    except (ValueError, LookupError, TypeError, HTTPError):
        is_ours = False
    if not is_ours:
        raise NotReached("Something else answers there, not this site.")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # Reading it checks it.
    except ValueError:
        raise Forbidden("the address is malformed") from None
    if "@" in parts.netloc or "\\" in parts.netloc:
        raise Forbidden("the address holds a user name")
    return parts


def _join(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise Forbidden("it redirects to a malformed address") from None


def _resolve(parts: SplitResult) -> str:
    """One address of the host. Raises Forbidden for a private one, ConnectionError for none."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise requests.ConnectionError(f"{parts.hostname} has no address") from None
    address = str(found[0][4][0])
    if parts.scheme == "https" and not _is_global(address):
        raise Forbidden(f"{parts.hostname} lies in a private network")
    return address


def _is_global(address: str) -> bool:
    """Whether it is somebody's public address, however it is written."""
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        if any(ip in network for network in IPV4_INSIDE):
            return False
        ip = ip.ipv4_mapped or ip
    return ip.is_global and not ip.is_multicast
