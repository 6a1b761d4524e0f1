"""One attempt to post a delivery, and what came of it. Knows no database, and never raises."""

import re
import time
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import requests
from django.conf import settings
from django.utils import timezone

from . import outbound_http, signatures
from .models import CrmEndpoint, Delivery, DeliveryAttempt

LINE_KEPT, LINE_IDLE = 60.0, 4.0
"""Seconds for which a connection is used; and may lie idle, since servers end such ones."""

LONGEST_REST = timedelta(hours=1)
"""For which a receiver may ask us to leave it alone."""

OVERLOADED = {429, 502, 503, 504}
FIRST_REST = timedelta(seconds=5)
"""For who answers so and does not say how long; twice as long for each failure before it."""

OUT_OF_ORDER = "X-InstaMsg-Out-Of-Order"
"""The header of a delivery that no longer waited for its turn."""

KEPT_OF_AN_ANSWER = 500
SECRET = re.compile(r"whsec_[\w+/=%-]*|v1,[\w+/=%-]{20,}|sha256=[0-9a-fA-F]{20,}")


class Outcome(NamedTuple):
    """What came of one attempt. `rest` is for how long the receiver is to be left alone."""

    delivery: Delivery
    log: DeliveryAttempt
    rest: timedelta | None = None

    @property
    def is_success(self) -> bool:
        return self.log.is_success

    @property
    def is_gone(self) -> bool:
        return self.log.status == 410


def attempt(
    line: "KeptLine", endpoint: CrmEndpoint, keys: list[str], delivery: Delivery
) -> Outcome:
    """Post it once, and say what came of it. Never raises; knows no database."""
    body = bytes(delivery.body)
    started_at, start = timezone.now(), time.monotonic()
    signed = signatures.headers(keys, delivery.public_id, int(started_at.timestamp()), body)
    plain = {"Content-Type": "application/json", "User-Agent": "InstaMsg"}
    if delivery.is_out_of_order:
        plain[OUT_OF_ORDER] = "true"
    log = DeliveryAttempt(
        delivery=delivery,
        url=endpoint.url,
        headers=plain | {name: signed[name] for name in ("webhook-id", "webhook-timestamp")},
        started_at=started_at,
    )
    rest = None
    try:
        answer = line.to(endpoint.url).post(body, plain | signed)
        log.status, log.error = answer.status, _complaint(answer.status)
        log.answer = _fit_for_the_log(answer.beginning, keys)
        if log.error:
            rest = _rest_wanted(answer.headers.get("Retry-After", ""))
        if answer.status in OVERLOADED:
            rest = rest or _rest_after(endpoint.failures)
    except outbound_http.Forbidden as exc:
        log.error = f"Not posted: {exc}."
    except requests.Timeout:
        log.error = f"No answer within {outbound_http.TIMEOUT} seconds."
    except requests.exceptions.SSLError:
        log.error = "No secure connection: the certificate is not valid for this address."
    except requests.RequestException:
        log.error = "No connection, or it broke off before an answer came."
    except Exception as exc:  # Whatever a receiver thinks of must not stop the others.
        log.error = f"It could not be posted ({type(exc).__name__})."
    if log.error:
        line.close()
    log.duration = timedelta(seconds=time.monotonic() - start)
    return Outcome(delivery, log, rest)


class KeptLine:
    """The connection of one of an endpoint's places, made anew when it is old."""

    def __init__(self):
        self.line: outbound_http.Line | None = None
        self.made_at = 0.0

    def to(self, url: str) -> outbound_http.Line:
        now, line = time.monotonic(), self.line
        if line and (
            line.is_cut
            or line.url != url
            or now - self.made_at > LINE_KEPT
            or now - line.used_at > LINE_IDLE
        ):
            self.close()
        if self.line is None:
            allow = settings.ALLOW_PRIVATE_WEBHOOK_TARGETS
            self.line, self.made_at = outbound_http.Line(url, allow_private=allow), now
        return self.line

    def close(self) -> None:
        if self.line:
            self.line.close()
        self.line = None


def _complaint(status: int) -> str:
    """Why it does not count as delivered, or ""."""
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"HTTP {status}: it redirects, which is not followed. Enter the final address."
    if status == 410:
        return "HTTP 410: the receiver says that it is gone for good."
    return f"HTTP {status}"


def _fit_for_the_log(beginning: bytes, keys: list[str]) -> str:
    """How an answer begins, without what a receiver may repeat of our secrets and signatures."""
    text = beginning.decode("utf-8", "replace").replace("\0", "\ufffd")
    for key in keys:
        for secret in (key, key.removeprefix(signatures.PREFIX)):
            text = text.replace(secret, "[REDACTED]")
    return SECRET.sub("[REDACTED]", text)[:KEPT_OF_AN_ANSWER]


def _rest_wanted(header: str) -> timedelta | None:
    """What Retry-After asks for, in seconds or as a date, within bounds."""
    try:
        if header.strip().isdecimal():
            wanted = timedelta(seconds=min(int(header), 10**9))
        else:
            wanted = parsedate_to_datetime(header) - timezone.now()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(wanted, LONGEST_REST) if wanted > timedelta() else None


def _rest_after(failures: int) -> timedelta:
    """What an overloaded receiver gets that failed so often in a row before, within bounds."""
    return min(FIRST_REST * 2 ** min(failures, 20), LONGEST_REST)
