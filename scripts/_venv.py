"""The Python that the site runs with: a virtual environment that holds requirements.txt.

`python3 scripts/_venv.py` makes it, as far as a server needs it, and does nothing else.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements.txt"
VENV = ROOT / ".venv"
FOR_TESTS = "# Development and tests"
"""The heading below which stands what a server does not need."""


def ready(for_tests: bool = False) -> str:
    """The interpreter of an environment in which every requirement is installed.

    The virtual environment that this program already runs in, if it has them all; otherwise
    `.venv`, made when it is missing and brought up to date when requirements.txt has changed.
    """
    wanted = _requirements(for_tests)
    if sys.prefix != sys.base_prefix and _has(wanted):
        return sys.executable
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    stamp = VENV / ("tests.sha256" if for_tests else "requirements.sha256")
    if not python.exists() or not stamp.exists() or stamp.read_text() != digest:
        _make(python)
        _run(python, "-m", "pip", "install", "--quiet", "--no-input", *wanted)
        stamp.write_text(digest)  # Last: an install that was interrupted is done again.
    return str(python)


def _requirements(for_tests: bool) -> list[str]:
    text = REQUIREMENTS.read_text(encoding="utf-8")
    if not for_tests:
        text = text.partition(FOR_TESTS)[0]
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line]


def _has(wanted: list[str]) -> bool:
    for requirement in wanted:
        name, _, version = requirement.partition("==")
        try:
            if metadata.version(name.partition("[")[0]) != version:
                return False
        except metadata.PackageNotFoundError:
            return False
    return True


def _make(python: Path) -> None:
    if not importlib.util.find_spec("venv") or not importlib.util.find_spec("ensurepip"):
        raise SystemExit(
            "This Python cannot make virtual environments. On Debian and Ubuntu install what is "
            "missing with: sudo apt install python3-venv"
        )
    sys.stdout.write("Installing the packages into .venv; the first time takes a minute or two.\n")
    sys.stdout.flush()
    # One that is there keeps what it holds; without a working Python it is of no use.
    clear = [] if python.exists() else ["--clear"]
    _run(sys.executable, "-m", "venv", *clear, VENV)


def _run(*command: object) -> None:
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:  # noqa: S603  (ours alone)
        raise SystemExit("The packages could not be installed; the reason stands above.")


if __name__ == "__main__":
    ready()
