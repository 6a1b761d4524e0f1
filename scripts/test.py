"""Check everything: format, lint, settings, migrations and tests; stop at the first failure.

    python3 scripts/test.py [--install-browser] [arguments for pytest]

It makes `.venv` when needed, as start.py does, and sees nothing of your `.env`. The tests run
on SQLite and, when TEST_DATABASE_URL names a PostgreSQL database, those that know a database
once more on that.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import _environment
import _venv

ROOT = Path(__file__).resolve().parent.parent

Step = tuple[str, list[str], dict[str, str]]
"""What is checked, the command, its environment."""


def main() -> int:
    options, for_pytest = _options()
    started = time.monotonic()
    python = _venv.ready(for_tests=True)
    for title, command, environment in _steps(python, options.install_browser, for_pytest):
        _say(f"\n=== {title}")
        code = subprocess.run(command, cwd=ROOT, env=environment).returncode  # noqa: S603  (ours)
        if code:
            _say(f"\nFailed: {title}. What comes after it did not run.")
            return code
    _say(f"\nAll passed in {time.monotonic() - started:.0f} s.{_left_out()}")
    return 0


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--install-browser", action="store_true", help="install Debian's Chromium if missing"
    )
    return parser.parse_known_args()


def _steps(python: str, install_browser: bool, for_pytest: list[str]) -> Iterator[Step]:
    everything = dict(os.environ) | {"ENV_FILE": ""}
    on_postgres = everything.pop("TEST_DATABASE_URL", "")
    everything.pop("DATABASE_URL", None)
    # Programs are started hundreds of times; without bytecode each would compile all of ours anew.
    everything.pop("PYTHONDONTWRITEBYTECODE", None)
    production = _production()
    manage = [python, "manage.py"]

    if install_browser and not _has_browser():
        yield from _install_browser()
    yield "Format", [python, "-m", "ruff", "format", "--check"], everything
    yield "Lint", [python, "-m", "ruff", "check"], everything
    deploy = [*manage, "check", "--deploy", "--fail-level", "WARNING"]
    yield "Checks for production", deploy, production
    yield "Migrations", [*manage, "makemigrations", "--check", "--dry-run"], production
    yield from _tests("SQLite", python, for_pytest, everything)
    if on_postgres:
        # Its server is killed by no test: an answer need not wait for the disk.
        on_it = {"PGOPTIONS": "-c synchronous_commit=off"} | everything
        on_it["DATABASE_URL"] = on_postgres
        yield from _tests("PostgreSQL", python, for_pytest, on_it)


def _tests(database: str, python: str, for_pytest: list[str], environment) -> Iterator[Step]:
    pytest = [python, "-m", "pytest"]
    if for_pytest:
        yield f"Tests on {database}, as asked", [*pytest, *for_pytest], environment
        return
    is_second = database != "SQLite"
    # Most of the time goes by in waiting, for programs that the tests start.
    workers = str(2 * (os.cpu_count() or 1))
    together = ["-n", workers, "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not browser"]
    only = ["--only-database"] if is_second else []
    yield f"Tests on {database}", [*pytest, *together, *only], environment
    # By itself: pages are watched by the clock. Of them the open inbox alone waits for what other
    # connections write; what else a page shows comes from views that are tested on both.
    pages = ["-m", "waits_for_rows" if is_second else "browser", "tests/browser"]
    yield f"Pages in a browser, on {database}", [*pytest, *pages], environment


def _production() -> dict[str, str]:
    """What a production site sets at the least."""
    return _environment.plain() | {
        "ENV_FILE": "",
        "ENVIRONMENT": "production",
        "SESSION_SECRET": secrets.token_urlsafe(32),
        "PUBLIC_BASE_URL": "https://dm.example.com",
        "INSTAGRAM_APP_ID": "990000000000001",
        "INSTAGRAM_APP_SECRET": secrets.token_hex(16),
        "INSTAGRAM_VERIFY_TOKEN": secrets.token_urlsafe(24),
    }


def _has_browser() -> bool:
    return shutil.which("chromium") is not None


def _install_browser() -> Iterator[Step]:
    if not shutil.which("apt-get") or os.geteuid() != 0:
        _say("\nOnly root can install Chromium here. On Debian: sudo apt install chromium")
        return
    quiet = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"}
    yield "Package lists", ["apt-get", "-qq", "update"], quiet
    install = ["apt-get", "-qq", "install", "--no-install-recommends", "chromium"]
    yield "Chromium", [*install, "--yes"], quiet


def _left_out() -> str:
    """What this run could not look at, and how it would."""
    missing = ""
    if not os.environ.get("TEST_DATABASE_URL"):
        missing += " Not run: PostgreSQL (set TEST_DATABASE_URL)."
    if not _has_browser():
        missing += " Skipped: the browser tests (install Chromium; --install-browser on Debian)."
    return missing


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()  # Before the output of the next program, not after it.


if __name__ == "__main__":
    sys.exit(main())
