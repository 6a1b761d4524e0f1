"""The two places that settings come from: the process's environment, and a file beneath it."""

import os
from collections import ChainMap
from pathlib import Path

import environ

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

env = environ.Env()
env.ENVIRON = ChainMap(*LAYERS)
"""For everything else."""
