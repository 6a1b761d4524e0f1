"""Webhook bodies as Meta sends them."""

import json
import time
from collections.abc import Iterable
from uuid import uuid4


def body(account: str, customers: Iterable[str]) -> bytes:
    """One notification to `account`: a text from each of `customers`, never seen before."""
    now = int(time.time() * 1000)
    events = [
        {
            "sender": {"id": customer},
            "recipient": {"id": account},
            "timestamp": now,
            "message": {"mid": f"mid.{uuid4().hex}", "text": "Is the blue one still available?"},
        }
        for customer in customers
    ]
    entry = {"id": account, "time": now, "messaging": events}
    return json.dumps({"object": "instagram", "entry": [entry]}, separators=(",", ":")).encode()
