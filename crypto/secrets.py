"""Reads secrets from the environment and judges them. Imported by the settings, so no models."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

GENERATE = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
EPHEMERAL = "EPHEMERAL_SESSION_SECRET"
"""Set by a launcher for its own processes when development has no SESSION_SECRET."""

KNOWN_BAD = {
    "password123",
    "my-app-secret",
    "test",
    "change-me-to-the-output-of-the-command-above",
    "siYC7x-RtyWUk73DECXc6SNmXowUMWZag7ZQUPGQKBI",
}
MIN_LENGTH = 32
MIN_DIFFERENT = 16

ASKED: set[str] = set()
"""The names under which secrets were asked for; never a value."""


def read(name: str, layers: Sequence[Mapping[str, str]]) -> str | None:
    """The secret called `name`: its value, or the text of the file that NAME_FILE names.

    `layers` are environments, the stronger first. Blanks around the value and the newline at
    the end of a file do not count; `$` and every other character stand for themselves.
    None when unset or blank. Raises ImproperlyConfigured when one layer sets both, or when the
    file cannot be read.
    """
    ASKED.add(name)
    file_name = f"{name}_FILE"
    # A variable that is set decides, even when blank: what is blank there is meant to be unset.
    layer = next((layer for layer in layers if name in layer or file_name in layer), {})
    value, path = layer.get(name, "").strip(), layer.get(file_name, "").strip()
    if value and path:
        raise ImproperlyConfigured(
            f"{name} is set twice, as {name} and as {file_name}. Remove one of them."
        )
    return _read_file(name, path) if path else value or None


def read_list(name: str, layers: Sequence[Mapping[str, str]]) -> list[str]:
    """As `read`, for secrets separated by commas; blank ones are dropped."""
    value = read(name, layers) or ""
    return [part.strip() for part in value.split(",") if part.strip()]


def _read_file(name: str, path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ImproperlyConfigured(
            f"{name}_FILE names a file that cannot be read: {path} ({reason})."
        ) from None


def weakness(secret: str) -> str | None:
    """Why `secret` is too easy to guess, or None when it is good."""
    if secret in KNOWN_BAD:
        return "it is a published example"
    if len(secret) < MIN_LENGTH:
        return f"it has {len(secret)} characters; at least {MIN_LENGTH} are needed"
    if len(set(secret)) < MIN_DIFFERENT:
        return f"it has fewer than {MIN_DIFFERENT} different characters"
    return None


def others_can_read(path: Path) -> bool:
    """Whether users other than the owner may read the file (always False on Windows)."""
    if os.name == "nt" or not path.is_file():
        return False
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
