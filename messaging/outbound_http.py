"""The guard for addresses that others choose: resolve, refuse private networks, pin."""

import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

TIMEOUT = 15
REDIRECTS = 3
BEGINNING = 1000
"""Bytes of an answer that are read; whatever follows is not waited for."""

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


class Answer(NamedTuple):
    """What came back, and how it begins."""

    status: int
    headers: Mapping[str, str]
    beginning: bytes


class Line:
    """A connection to the address behind one URL, checked when it is made and kept from then on.

    For one post at a time. An address in a private network, and plain http, is refused unless
    `allow_private`. Raises Forbidden, or requests.RequestException.
    """

    def __init__(self, url: str, *, allow_private: bool):
        parts = _split(url)
        check_target(parts, allow_private=allow_private)
        adapter = PinnedAdapter(_resolve_all(parts, allow_private=allow_private))
        _watch(adapter, self._note_socket)
        self.url, self.host = url, parts.netloc
        self.socket: socket.socket | None = None
        self.is_cut = False
        self.used_at = time.monotonic()
        self.session = requests.Session()
        self.session.trust_env = False
        # requests would read a redirect's body, however long, even when it follows none.
        self.session.get_redirect_target = lambda response: None
        self.session.mount(f"{parts.scheme}://", adapter)

    def post(self, body: bytes, headers: dict[str, str]) -> Answer:
        """The answer to POST `body`, within TIMEOUT seconds however slowly it drips in."""
        # A time-out of the socket begins anew with every byte.
        watch = threading.Timer(TIMEOUT, self.cut)
        watch.daemon = True
        watch.start()
        try:
            with self.session.post(
                self.url,
                data=body,
                headers={"Host": self.host, "Accept-Encoding": "identity", **headers},
                timeout=TIMEOUT,
                stream=True,
                allow_redirects=False,
            ) as answer:
                beginning = answer.raw.read(BEGINNING, decode_content=False)
            if self.is_cut:
                raise requests.Timeout
            return Answer(answer.status_code, answer.headers, beginning)
        except Exception:
            if self.is_cut:
                raise requests.Timeout(f"no answer within {TIMEOUT} seconds") from None
            raise
        finally:
            watch.cancel()
            self.used_at = time.monotonic()

    def cut(self) -> None:
        """End whatever is under way; from any thread."""
        self.is_cut = True
        if self.socket:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.session.close()
        if self.socket:
            self.socket.close()

    def _note_socket(self, made: socket.socket) -> None:
        # A copy: TLS takes the socket itself over, and may be stuck in its handshake.
        if self.socket:
            self.socket.close()
        self.socket = made.dup()
        if self.is_cut:
            self.cut()


def check_target(parts: SplitResult | str, *, allow_private: bool) -> None:
    """Raise Forbidden for what can be no target, whatever it resolves to."""
    parts = _split(parts) if isinstance(parts, str) else parts
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise Forbidden("it must begin with https:// and name a host")
    if parts.scheme == "http" and not allow_private:
        raise Forbidden("it must begin with https://")


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


def _resolve_all(parts: SplitResult, *, allow_private: bool) -> str:
    """One address of the host, all of which must be allowed: who mixes them means no good."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise requests.ConnectionError(f"{parts.hostname} has no address") from None
    addresses = [str(one[4][0]) for one in found]
    for address in addresses:
        if not (_is_global(address) or (allow_private and _is_private(address))):
            raise Forbidden(f"{parts.hostname} lies in a private network")
    return addresses[0]


def _is_private(address: str) -> bool:
    """Whether it may be this machine or a company's network; but not where clouds keep secrets."""
    ip = ipaddress.ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback:
        return True
    leads_elsewhere = ip.version == 6 and any(ip in network for network in IPV4_INSIDE)
    return not (leads_elsewhere or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


def _watch(adapter: HTTPAdapter, note: Callable[[socket.socket], None]) -> None:
    """Have every socket that the adapter opens noted."""
    manager = adapter.poolmanager
    manager.pool_classes_by_scheme = {
        scheme: type("WatchedPool", (pool,), {"ConnectionCls": _watched(pool.ConnectionCls, note)})
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _watched(connection: type, note: Callable[[socket.socket], None]) -> type:
    class Watched(connection):
        def _new_conn(self) -> socket.socket:
            made = super()._new_conn()
            note(made)
            return made

    return Watched


def _is_global(address: str) -> bool:
    """Whether it is somebody's public address, however it is written."""
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        if any(ip in network for network in IPV4_INSIDE):
            return False
        ip = ip.ipv4_mapped or ip
    return ip.is_global and not ip.is_multicast
