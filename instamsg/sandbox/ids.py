"""The shapes of Instagram's ids, tokens and codes."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from functools import lru_cache

# A message id and a conversation id spell these out, in Meta's own base64.
_ITEM = "ig_dm_item:1:IGMessageID:{ig_id}:{thread}:{item}"
_THREAD = "ig_dm:1:IGMessageThread:{ig_id}:{thread}"


def meta_base64(raw: bytes) -> str:
    """Base64 in letters and digits only: Z, +, / and = become ZA, ZB, ZC and ZD."""
    text = base64.b64encode(raw).decode()
    return text.translate({ord("Z"): "ZA", ord("+"): "ZB", ord("/"): "ZC", ord("="): "ZD"})


@lru_cache(maxsize=100_000)
def igsid(ig_id: str, customer: str) -> str:
    """The customer's id as this one account sees it: the same on every run, 16 digits."""
    return str(10**15 + _number(f"igsid:{ig_id}:{customer}") % (9 * 10**15))


def ig_id(username: str) -> str:
    return "178414" + f"{_number('ig_id:' + username) % 10**11:011d}"


def app_scoped_id(username: str) -> str:
    return "2" + f"{_number('app:' + username) % 10**16:016d}"


def mid(ig_id: str, igsid: str, at_ms: int, number: int) -> str:
    item = f"32{at_ms:013d}{number:020d}"
    return meta_base64(_ITEM.format(ig_id=ig_id, thread=_thread(ig_id, igsid), item=item).encode())


def conversation_id(ig_id: str, igsid: str) -> str:
    return meta_base64(_THREAD.format(ig_id=ig_id, thread=_thread(ig_id, igsid)).encode())


def access_token() -> str:
    return "IGAA" + meta_base64(os.urandom(121))


def code() -> str:
    return "AQ" + secrets.token_urlsafe(156)


def trace_id() -> str:
    return "A" + secrets.token_urlsafe(16)


def _thread(ig_id: str, igsid: str) -> str:
    return f"340282366841710300949128{_number(f'thread:{ig_id}:{igsid}') % 10**15:015d}"


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
