"""The filter on lines without a secret, beside what logging itself does with them."""

import logging
import re
import time
from collections.abc import Callable
from functools import partial

from instamsg import logs, redaction

from .measuring import Figures, Table, interleave

CLEAN = (
    "message %s: sent to participant %s of account %s in %d ms",
    ("msg_0123456789ab", "1184527390664218", "acc_89baed550ed9", 120),
)
WITH_A_CODE = (
    "message %s: TokenRejected (code %d/%d, trace %s), state=%s",
    ("msg_0123456789ab", 190, 460, "AbCdEfGhIjKlMnOpQrStUvW", "failed"),
)
IN_ONE = re.compile(
    "|".join(f"(?:{one.pattern})" for _, one in redaction.PATTERNS if r"\2" not in one.pattern)
)
"""Without the one that refers to its own second group."""


def run(rounds: int = 15, lines: int = 5000) -> list[Table]:
    format_ = logging.Formatter("{asctime} {levelname} {name} {message}", style="{").format
    filter_ = logs.SensitiveDataFilter().filter
    cases = {
        "logging's own formatting": partial(_time, format_, CLEAN, lines),
        "the filter": partial(_time, filter_, CLEAN, lines),
        "the filter, a line with a code": partial(_time, filter_, WITH_A_CODE, lines),
        "one pattern of all": partial(_time, _search_for_all, CLEAN, lines),
    }
    return [Table("redaction: a line without a secret", "µs", interleave(cases, rounds))]


def _search_for_all(record: logging.LogRecord) -> None:
    assert not IN_ONE.search(record.getMessage())


def _time(act: Callable[[logging.LogRecord], object], line: tuple, lines: int) -> Figures:
    message, arguments = line
    records = [
        logging.LogRecord("messaging.sending", logging.INFO, __file__, 1, message, arguments, None)
        for _ in range(lines)
    ]
    start = time.perf_counter()
    for record in records:
        act(record)
    took = time.perf_counter() - start
    return {"µs": took / lines * 1e6, "redacted": sum("[RE" in one.getMessage() for one in records)}
