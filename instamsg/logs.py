"""What goes into the log, and what never does."""

import json
import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.views.debug import ExceptionReporter

REDACTED = "[REDACTED]"

TOKENS = re.compile(
    r"\b(?:IG[A-Za-z]{1,3}|EAA)[A-Za-z0-9_-]{20,}"  # Instagram and Facebook access tokens
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]+"  # JWTs
    r"|\bgAAAAA[\w=-]{40,}"  # Fernet text: harmless, but no use to a reader
    r"|\bimsg_\w{20,}|\bwhsec_[\w+/=]{20,}"  # API keys, webhook secrets
    r"|\bAQ[\w-]{30,}"  # authorization codes
)
PARAMETERS = re.compile(
    r"((?:access_token|client_secret|password|hub\.verify_token)"
    r"[\"']?\s*[=:]\s*[\"']?)[^\s&\"',}]+",
    re.IGNORECASE,
)
# PostgreSQL quotes the statement and the row, and with them what people wrote.
QUOTED_ROWS = re.compile(r"^((?:LINE \d+|DETAIL): ).*$", re.MULTILINE)
LINKS = re.compile(r"(/accounts/invitations/|/password/reset/[^/\s]+/)[\w-]{16,}")
BEARER = re.compile(r"(Bearer\s+)[\w.~+/=-]{12,}", re.IGNORECASE)

STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Redactor:
    """Replaces known secrets, and whatever looks like one, with [REDACTED]."""

    known: re.Pattern[str] | None = None

    def learn(self, secrets: Sequence[str]) -> None:
        # The longest first: one secret may begin with another.
        known = sorted({s for s in secrets if len(s) >= 4}, key=len, reverse=True)
        self.known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self.known:
            text = self.known.sub(REDACTED, text)
        text = PARAMETERS.sub(rf"\1{REDACTED}", text)
        text = QUOTED_ROWS.sub(rf"\1{REDACTED}", text)
        text = LINKS.sub(rf"\1{REDACTED}", BEARER.sub(rf"\1{REDACTED}", text))
        return TOKENS.sub(REDACTED, text)


redact = Redactor()


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
            message = f"{record.msg!s} (its arguments cannot be shown)"
        record.msg, record.args = redact(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
            # Another handler would format it anew from here, unredacted.
            record.exc_info = None
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        for name, value in vars(record).items():
            if name not in STANDARD_FIELDS:
                setattr(record, name, _redact_deep(value))
        return True


def _redact_deep(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact_deep(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_redact_deep(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))  # A request, an exception: only its text goes on.


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
        return json.dumps(extra | entry, default=str)


class RedactingReporter(ExceptionReporter):
    """Error pages and mails: what they quote from frames and settings is redacted as well."""

    def get_traceback_html(self) -> str:
        return redact(super().get_traceback_html())

    def get_traceback_text(self) -> str:
        return redact(super().get_traceback_text())


def configuration(*, level: str, style: str, secrets: Sequence[str]) -> dict[str, Any]:
    """Django's LOGGING: everything to standard error, through the filter."""
    redact.learn(secrets)
    # At INFO these two write several lines for every task and every login.
    quiet = "WARNING" if level == "INFO" else level
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"sensitive": {"()": SensitiveDataFilter}},
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
            # The stock configuration would add handlers without the filter.
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": level, "propagate": True},
            # The worker gives this one a handler of its own, unless it has one.
            "huey": {"handlers": ["console"], "level": quiet, "propagate": False},
            "axes": {"level": quiet},
            # At DEBUG it writes every value of every row: texts, names, ciphertext.
            "django.db.backends": {"level": "INFO"},
        },
    }
