"""What goes into the log, and what never does."""

import json
import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from .redaction import redact

STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
ALWAYS_THERE = len(vars(logging.makeLogRecord({})))


class SensitiveDataFilter(logging.Filter):
    """Redacts a record's message, arguments, traceback and extra fields.

    The message is put together first, so a secret is found however it was split over the
    arguments; a traceback is formatted first, since it quotes the lines and the error's text.
    """

    formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # A wrong placeholder or argument must not stop the caller.
            message = f"{_shown(record.msg)} (its arguments cannot be shown)"
        record.msg, record.args = redact(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
            # Another handler would format it anew from here, unredacted.
            record.exc_info = None
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        fields = vars(record)
        if len(fields) > ALWAYS_THERE:
            for name in [name for name in fields if name not in STANDARD_FIELDS]:
                fields[redact(_shown(name))] = _redact_field(name, fields.pop(name))
        return True


def _redact_field(name: str, value: Any) -> Any:
    """`value` with its structure, unless the names in it tell that something is secret."""
    value = _redact_deep(value)
    written = f"{name}={value!r}"
    redacted = redact(written)
    return value if redacted == written else redacted.removeprefix(f"{name}=")


def _redact_deep(value: Any, depth: int = 10) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth and isinstance(value, dict):
        return {redact(_shown(key)): _redact_deep(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_redact_deep(item, depth - 1) for item in value]
    return redact(_shown(value))  # A request, an exception: only its text goes on.


def _shown(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return f"({type(value).__name__} that cannot be shown)"


class OnceAMinute(logging.Filter):
    """Lets a message that names nothing in particular through once in a minute.

    Six threads of a worker ask the task queue twenty times a second each, and a web process gives
    as many hints. With its storage out of reach every answer is an error with a traceback, and a
    night of that would fill the disk.
    """

    def __init__(self):
        super().__init__()
        self.silent_until: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if record.args or now >= self.silent_until.get(record.msg, now):
            self.silent_until[record.msg] = now + 60
            return True
        return False


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {k: v for k, v in vars(record).items() if k not in STANDARD_FIELDS}
        if record.exc_text:
            entry["traceback"] = record.exc_text
        if record.stack_info:
            entry["stack"] = record.stack_info
        return json.dumps(extra | entry, default=str)


def configuration(*, level: str, style: str, secrets: Iterable[str | None]) -> dict[str, Any]:
    """Django's LOGGING: everything to standard error, through the filter."""
    redact.learn(secrets)
    # At INFO these two write several lines for every task and every login.
    quiet = "WARNING" if level == "INFO" else level
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "sensitive": {"()": SensitiveDataFilter},
            "once_a_minute": {"()": OnceAMinute},
        },
        "formatters": {
            "text": {"format": "{asctime} {levelname} {name} {message}", "style": "{"},
            "json": {"()": JsonFormatter},
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": style,
                "filters": ["sensitive"],
            }
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # The stock configuration, and the web server's, add handlers without the filter.
            **{
                name: {"handlers": [], "level": level, "propagate": True}
                for name in ("django", "django.server", "_granian", "granian.access")
            },
            # The worker gives this one a handler of its own, unless it has one.
            "huey": {"handlers": ["console"], "level": quiet, "propagate": False},
            **{
                name: {"filters": ["once_a_minute"]}
                for name in ("huey.consumer.Worker", "huey.consumer.Scheduler", "messaging.queues")
            },
            "axes": {"level": quiet},
            # Each try to connect; the error that comes of it is told anyway.
            "psycopg.pool": {"level": "ERROR"},
            # At DEBUG it writes every value of every row: texts, names, ciphertext.
            "django.db.backends": {"level": "INFO"},
        },
    }
