"""The two places that settings come from: the process's environment, and a file beneath it."""

import json
import os
import re
from collections import ChainMap
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from crypto import secrets

BASE_DIR = Path(__file__).resolve().parent.parent


class DotEnv(environ.Env):
    """Keeps the variables of the file apart from those of the process."""

    ENVIRON: dict[str, str] = {}


file_name = os.environ.get("ENV_FILE", ".env")
ENV_FILE = BASE_DIR / file_name if file_name else None
if ENV_FILE and ENV_FILE.is_file():
    DotEnv.read_env(ENV_FILE)

LAYERS = (os.environ, DotEnv.ENVIRON)
"""The stronger first. For secrets, which need to know where they stand."""


SECRET = re.compile(r"key|secret|token|pass|credential|connection_string", re.IGNORECASE)


class Env(environ.Env):
    """Remembers what was asked for: these are the settings that there are."""

    asked: set[str] = set()

    def get_value(self, var, *args, **kwargs):
        self.asked.add(var)
        return super().get_value(var, *args, **kwargs)


env = Env()
env.ENVIRON = ChainMap(*LAYERS)
"""For everything but secrets, which `crypto.secrets` reads."""


def options(name: str, text: str | None) -> dict[str, Any]:
    """The JSON object that the setting `name` holds; {} when it is unset.

    Raises ImproperlyConfigured, and does not quote the text: it may hold a secret.
    """
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ImproperlyConfigured(
            f'{name} is no JSON object; it looks like {{"name": "value", "other": 1}}.'
        )
    return found


def passwords(found: Any, is_one: bool = False) -> list[str]:
    """The values in options, however deep, whose names say that they are secret."""
    if isinstance(found, dict):
        pairs = found.items()
        return [one for name, value in pairs for one in passwords(value, bool(SECRET.search(name)))]
    return [found] if is_one and isinstance(found, str) and found else []


def given() -> dict[str, str | None]:
    """The settings that are set, with their values; of a secret its name alone."""
    values = {name: env.ENVIRON[name] for name in env.asked if name in env.ENVIRON}
    names = {name for name in secrets.ASKED if env.ENVIRON.keys() & {name, f"{name}_FILE"}}
    return values | dict.fromkeys(names)
