"""Signed deliveries to the site: in order within a conversation, retried until it says 200."""

from __future__ import annotations

import hashlib
import heapq
import hmac
import http.client
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from .state import Account, Settings

# One slow answer holds one worker; the others carry on.
WORKERS = 16


@dataclass
class Answer:
    """What the site said; `status` is None when it said nothing."""

    status: int | None
    body: str


@dataclass
class Delivery:
    lane: str
    body: bytes
    on_settled: Callable[[bool], None]
    started: float = field(default_factory=time.monotonic)
    attempts: int = 0
    tried: threading.Event = field(default_factory=threading.Event)


def envelope(account: Account, events: list[dict[str, Any]], now: float) -> bytes:
    """The body as the platform writes it: compact, ASCII only, slashes escaped."""
    entry = {"time": int(now * 1000), "id": account.ig_id, "messaging": events}
    body = json.dumps({"object": "instagram", "entry": [entry]}, separators=(",", ":"))
    # A slash stands only inside strings. Whoever signs a re-serialised body is found out here.
    return body.replace("/", "\\/").encode("ascii")


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


class Sender:
    """A pool that posts deliveries. A lane is one conversation: its next waits for its first."""

    def __init__(self, url: Callable[[], str], secret: str, settings: Callable[[], Settings]):
        self._url, self._secret, self._settings = url, secret, settings
        # Workers and those who wait for silence share a lock, but must not take each other's calls.
        self._lock = threading.Lock()
        self._wake, self._idle = threading.Condition(self._lock), threading.Condition(self._lock)
        self._stopped = False
        self._lanes: dict[str, deque[Delivery]] = {}
        self._due: list[tuple[float, int, str]] = []
        self._serial = 0
        self._promised = 0
        self.delivered = self.failed = 0

    def start(self) -> None:
        for number in range(WORKERS):
            threading.Thread(target=self._work, name=f"webhook-{number}", daemon=True).start()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._wake.notify_all()

    def clear(self) -> None:
        """Forget what is waiting; an attempt under way ends without a consequence."""
        with self._lock:
            self._lanes, self._due = {}, []
            self.delivered = self.failed = 0
            self._idle.notify_all()

    @property
    def pending(self) -> int:
        with self._lock:
            return sum(len(lane) for lane in self._lanes.values())

    def wait_until_idle(self, timeout: float) -> bool:
        with self._lock:
            return self._idle.wait_for(lambda: not self._lanes and not self._promised, timeout)

    def promise(self) -> Callable[[], None]:
        """Count as not idle until the returned function is called: an echo is still to come."""

        def kept() -> None:
            with self._lock:
                self._promised -= 1
                self._idle.notify_all()

        with self._lock:
            self._promised += 1
        return kept

    def send(self, lane: str, body: bytes, on_settled: Callable[[bool], None]) -> Delivery:
        """Queue a body, and its copies when the settings ask for them; returns the first."""
        settings = self._settings()
        copies = [Delivery(lane, body, on_settled) for _ in range(1 + settings.duplicates)]
        with self._lock:
            for delivery in copies:
                if lane not in self._lanes:
                    self._lanes[lane] = deque()
                    self._schedule(lane, settings.delay)
                self._lanes[lane].append(delivery)
        return copies[0]

    def _schedule(self, lane: str, delay: float) -> None:
        self._serial += 1
        heapq.heappush(self._due, (time.monotonic() + delay, self._serial, lane))
        self._wake.notify()

    def _work(self) -> None:
        while (delivery := self._next()) is not None:
            settings = self._settings()
            headers = signature_headers(self._secret, delivery.body)
            answer = post(self._url(), delivery.body, headers, settings.timeout)
            self._settle(delivery, answer.status == 200, settings)

    def _next(self) -> Delivery | None:
        """Wait for the next lane that is due; None when it is time to stop."""
        with self._lock:
            while not self._stopped:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return self._lanes[heapq.heappop(self._due)[2]][0]
                self._wake.wait(wait)
        return None

    def _settle(self, delivery: Delivery, accepted: bool, settings: Settings) -> None:
        delivery.attempts += 1
        gone = time.monotonic() - delivery.started > settings.give_up_after
        final = accepted or gone
        with self._lock:
            wanted = self._is_first(delivery)
        if final and wanted:
            # Without the lock: it takes the world's, and those who hold that one send.
            delivery.on_settled(accepted)
        with self._lock:
            if self._is_first(delivery):
                lane = self._lanes[delivery.lane]
                if final:
                    lane.popleft()
                    self.delivered += accepted
                    self.failed += not accepted
                if lane:
                    delay = settings.delay if final else _pause(settings, delivery.attempts)
                    self._schedule(delivery.lane, delay)
                else:
                    del self._lanes[delivery.lane]
                    self._idle.notify_all()
        delivery.tried.set()

    def _is_first(self, delivery: Delivery) -> bool:
        """False when it was cleared away while it was being tried. Hold the lock."""
        lane = self._lanes.get(delivery.lane)
        return lane is not None and lane[0] is delivery


def _pause(settings: Settings, attempts: int) -> float:
    """The pauses of the settings in turn, then the last one again and again."""
    pauses = settings.retries or [30]
    return pauses[min(attempts, len(pauses)) - 1]
