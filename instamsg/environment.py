"""The two places that settings come from: the process's environment, and a file beneath it."""

import os
from collections import ChainMap
from pathlib import Path

import environ

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


class Env(environ.Env):
    """Remembers what was asked for: these are the settings that there are."""

    asked: set[str] = set()

    def get_value(self, var, *args, **kwargs):
        self.asked.add(var)
        return super().get_value(var, *args, **kwargs)


env = Env()
env.ENVIRON = ChainMap(*LAYERS)
"""For everything but secrets, which `crypto.secrets` reads."""


def given() -> dict[str, str | None]:
    """The settings that are set, with their values; of a secret its name alone."""
    values = {name: env.ENVIRON[name] for name in env.asked if name in env.ENVIRON}
    names = {name for name in secrets.ASKED if env.ENVIRON.keys() & {name, f"{name}_FILE"}}
    return values | dict.fromkeys(names)
