"""What the keys cost at the start, and what the start costs."""

import subprocess
import sys
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from crypto import keyring
from tests.environment import child_environment

from .measuring import Figures, Table, interleave

SECRET = "a-secret-that-only-the-benchmarks-know"


def run(rounds: int = 15, starts: int = 7) -> list[Table]:
    keys = {
        "PBKDF2, 32 bytes": lambda: _time(_thirty_two_bytes),
        "all keys of a secret": lambda: _time(lambda: keyring.derive.__wrapped__(SECRET)),
    }
    commands = {
        'python -c "import django"': lambda: _time(lambda: _python("-c", "import django")),
        "manage.py check": lambda: _time(lambda: _python("manage.py", "check")),
    }
    return [
        Table("derive: the keys of one secret", "ms", interleave(keys, rounds)),
        Table("derive: a whole start", "ms", interleave(commands, starts)),
    ]


def _thirty_two_bytes() -> bytes:
    """The published Fernet key alone."""
    kdf = PBKDF2HMAC(SHA256(), length=32, salt=keyring.SALT, iterations=keyring.ITERATIONS)
    return kdf.derive(SECRET.encode())


def _python(*command: str) -> None:
    subprocess.run(
        [sys.executable, *command], env=child_environment(), check=True, capture_output=True
    )


def _time(act: Callable[[], object]) -> Figures:
    start = time.perf_counter()
    act()
    return {"ms": (time.perf_counter() - start) * 1000}
