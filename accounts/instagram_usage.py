"""How much of its limits Instagram says is used (rate limits, 8)."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

PARTS = ("call_count", "total_time", "total_cputime")
LONGEST_WAIT = timedelta(days=1)


class Usage(NamedTuple):
    """`percent` of the tightest limit, and how long everything will be refused."""

    percent: int = 0
    wait: timedelta = timedelta()


def read(headers: Mapping[str, str]) -> Usage | None:
    """What the headers of an answer tell; None when they tell nothing, which is no headroom."""
    entries = [
        *_dicts(_decoded(headers.get("X-App-Usage"))),
        *_dicts(_decoded(headers.get("X-Business-Use-Case-Usage"))),
    ]
    if not entries:
        return None
    percent = max(_number(entry.get(part)) for entry in entries for part in PARTS)
    minutes = max(_number(entry.get("estimated_time_to_regain_access")) for entry in entries)
    return Usage(percent, min(timedelta(minutes=minutes), LONGEST_WAIT))


def _decoded(header: str | None) -> Any:
    try:
        return json.loads(header or "")
    except (ValueError, RecursionError):
        return None


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """The entries, of which the one header has one, and the other a list for each business."""
    if isinstance(value, list):
        for one in value:
            yield from _dicts(one)
    elif isinstance(value, dict):
        if any(part in value for part in PARTS):
            yield value
        else:
            yield from _dicts(list(value.values()))


def _number(value: Any) -> int:
    return int(min(value, 100_000)) if isinstance(value, int | float) and value > 0 else 0
