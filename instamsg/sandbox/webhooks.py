"""What goes to the site: the bodies as the platform writes them, signed and posted."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import urlencode, urlsplit


@dataclass
class Answer:
    """What the site said; `status` is None when it said nothing."""

    status: int | None
    body: str


@dataclass(frozen=True)
class Notice:
    """One event on its way: whose it is, in which list of the entry it stands, and when."""

    ig_id: str
    where: str  # messaging | standby | changes | flat
    item: dict[str, Any]
    at: float


def body_of(notices: Iterable[Notice]) -> bytes:
    """One body for all of them; neighbours of the same account and list share an entry."""
    entries = []
    for (ig_id, where), group in groupby(notices, lambda each: (each.ig_id, each.where)):
        listed = list(group)
        if where == "flat":
            entries += [entry(ig_id, where, [each.item], each.at) for each in listed]
        else:
            entries.append(entry(ig_id, where, [each.item for each in listed], listed[0].at))
    return encoded({"object": "instagram", "entry": entries})


def entry(ig_id: str, where: str, items: list[dict[str, Any]], now: float) -> dict[str, Any]:
    """Messages count their time in milliseconds, everything else in seconds."""
    if where in ("messaging", "standby"):
        return {"time": int(now * 1000), "id": ig_id, where: items}
    head = {"id": ig_id, "time": int(now)}
    # The documentation prints field and value bare in the entry.
    return head | items[0] if where == "flat" else head | {where: items}


def encoded(body: Any) -> bytes:
    """As the platform writes it: compact, ASCII only, slashes escaped."""
    # A slash stands only inside strings. Whoever signs a re-serialised body is found out here.
    return json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode("ascii")


def signature_headers(secret: str, body: bytes) -> dict[str, str]:
    key = secret.encode()
    return {
        "X-Hub-Signature": "sha1=" + hmac.new(key, body, hashlib.sha1).hexdigest(),
        "X-Hub-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest(),
    }


def post(url: str, body: bytes, headers: dict[str, str], timeout: float) -> Answer:
    """One attempt with the platform's own headers; redirects are not followed."""
    return _call("POST", url, body, {"Content-Type": "application/json", **headers}, timeout)


def verify(url: str, verify_token: str, timeout: float) -> tuple[Answer, str]:
    """The GET handshake; gives the answer and the challenge it should have echoed."""
    challenge = str(secrets.randbelow(9 * 10**9) + 10**9)
    query = urlencode(
        {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
    )
    return _call("GET", f"{url}{'&' if '?' in url else '?'}{query}", None, {}, timeout), challenge


def _call(
    method: str, url: str, body: bytes | None, headers: dict[str, str], timeout: float
) -> Answer:
    try:
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError(f"{url!r} is not a web address")
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=timeout)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.putrequest(method, target, skip_accept_encoding=True)
            known = {
                "Accept": "*/*",
                "Accept-Encoding": "deflate, gzip",
                "User-Agent": "facebookexternalua",
            }
            if body is not None:
                known |= {"Content-Length": str(len(body)), "Facebook-API-Version": "v25.0"}
            for name, value in {**known, **headers}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(65536).decode("utf-8", "replace"))
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Answer(None, str(error) or type(error).__name__)
