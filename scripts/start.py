"""Start the whole of InstaMsg with one command: the site, its worker and the sandbox.

On a fresh machine it needs Python 3.11 and nothing else: it makes `.venv` and installs the
packages (unless it runs in a virtual environment that has them all), writes a `.env` for
development when there is none, brings the database up to date and makes the first user. Run
again, it finds all that and just starts. Ctrl+C stops everything. `--setup-only` stops before the
start; the installers end there.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  (this is where older ones are told)
    sys.exit(f"InstaMsg needs Python 3.11 or newer; this is {sys.version.split()[0]}.")

import argparse
import http.client
import os
import secrets
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import _environment
import _journey
import _ports
import _server
import _venv
from _asking import ask_site
from _processes import Processes

ROOT = Path(__file__).resolve().parent.parent

PATIENCE = 60
"""Seconds until a process that does not answer is given up."""

STOPPING = [signal.SIGINT, signal.SIGTERM]
if os.name != "nt" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # by nohup
    STOPPING.append(signal.SIGHUP)


@dataclass
class Site:
    """What the launcher knows of the settings; the site itself has read them."""

    port: int
    url: str
    sqlite: str | None  # the database file; None for PostgreSQL
    sandbox_port: int | None  # None: the site speaks to the real Instagram
    sandbox: dict[str, str]  # the sandbox's environment


def main() -> int:
    options = _options()
    for number in STOPPING:
        signal.signal(number, signal.default_int_handler)
    try:
        python = _venv.ready()
        if not options.check:
            return start(python, dict(os.environ), options)
        with tempfile.TemporaryDirectory(prefix="instamsg-check-") as folder:
            options.port = options.port or _ports.two_free()
            return start(python, _temporary_environment(Path(folder)), options)
    except KeyboardInterrupt:
        return 130
    except argparse.ArgumentTypeError as exc:
        raise SystemExit(f"PORT: {exc}.") from None


def start(python: str, environment: dict[str, str], options: argparse.Namespace) -> int:
    """Everything from `.env` to the last process's end; the exit code."""
    if options.port:
        environment["PORT"] = str(options.port)
    # Read only in development and only without a SESSION_SECRET; then all processes share it.
    environment.setdefault("EPHEMERAL_SESSION_SECRET", secrets.token_urlsafe(32))
    _write_env_file(environment)
    site = Site(**ask_site(python, "look", environment))
    if not options.sandbox:
        site.sandbox_port = None
    if not options.setup_only:
        _require_free_ports(site)
    password = ask_site(python, "prepare", environment)["password"]
    if password:
        _say(f"\nThe first user is admin, with the password {password}\nIt is shown only now.\n")
    return 0 if options.setup_only else _run(python, environment, site, password, options)


def _run(
    python: str,
    environment: dict[str, str],
    site: Site,
    password: str | None,
    options: argparse.Namespace,
) -> int:
    stop = threading.Event()
    for number in STOPPING:
        signal.signal(number, lambda *_: stop.set())
    with Processes(ROOT, site.sqlite) as processes:
        _start_all(processes, python, environment, site)
        trouble = _wait_for_answers(processes, site, stop)
        if options.check:
            trouble = trouble or _check(site, password, stop)
        elif not trouble and not stop.is_set():
            _tell(site)
            trouble = _supervise(processes, stop)
        _say(f"\n{trouble} Stopping all." if trouble else "\nStopping.")
    _say("Stopped.")
    return 1 if trouble else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=_ports.port, metavar="N", help="the site's port (8000)")
    parser.add_argument(
        "--no-sandbox", dest="sandbox", action="store_false", help="without the offline Instagram"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="start on free ports with temporary data, send one message each way, stop; 0 if well",
    )
    parser.add_argument(
        "--setup-only",
        action="store_true",
        help="install, prepare the settings, the database and the first user; start nothing",
    )
    options = parser.parse_args()
    if options.check and options.setup_only:
        parser.error("--check has to start what --setup-only does not")
    if options.check and not options.sandbox:
        parser.error("--check needs the sandbox: it is the Instagram of the journey")
    return options


# --- Before the start ---------------------------------------------------------------------------


def _temporary_environment(folder: Path) -> dict[str, str]:
    """One that shares nothing with the operator's: own settings, own data, all in `folder`."""
    return _environment.plain() | {
        "ENV_FILE": str(folder / ".env"),
        "DATABASE_URL": f"sqlite:///{folder / 'check.db'}",
        "TASK_QUEUE_URL": f"sqlite:///{folder / 'queue.db'}",
        "MEDIA_ROOT": str(folder / "media"),
        "SANDBOX_STATE_FILE": str(folder / "sandbox.json"),
    }


def _write_env_file(environment: dict[str, str]) -> None:
    """Settings for development with the sandbox, unless there are some already."""
    name = environment.get("ENV_FILE", ".env")
    path = ROOT / name
    if not name or path.exists() or environment.get("ENVIRONMENT") == "production":
        return
    port = _ports.port(environment.get("PORT") or "8000")
    sandbox_port = port + _ports.SANDBOX_DISTANCE
    _ports.require_free(port, "--port N")
    _ports.require_free(sandbox_port, "--port N")
    sandbox = f"http://127.0.0.1:{sandbox_port}"
    text = f"""\
# Made by scripts/start.py. Every setting is explained in .env.example.
ENVIRONMENT=development
PORT={port}

# Signs logins and encrypts the Instagram tokens. Keep a copy in a safe place.
SESSION_SECRET={secrets.token_urlsafe(32)}

# The sandbox, an offline Instagram.
INSTAGRAM_APP_ID=sandbox-{secrets.token_hex(8)}
INSTAGRAM_APP_SECRET=sandbox-{secrets.token_urlsafe(24)}
INSTAGRAM_VERIFY_TOKEN=sandbox-{secrets.token_urlsafe(24)}
INSTAGRAM_AUTHORIZE_URL={sandbox}/oauth/authorize
INSTAGRAM_TOKEN_URL={sandbox}/oauth/access_token
INSTAGRAM_GRAPH_URL={sandbox}
SANDBOX_CONTROL_TOKEN={secrets.token_urlsafe(24)}
"""
    # Whole or not at all, and from its first byte for the owner's eyes only.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".env.")
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
    _say(f"Wrote {name} with settings for development and new secrets.")


def _require_free_ports(site: Site) -> None:
    _ports.require_free(site.port, "--port N")
    if site.sandbox_port:
        _ports.require_free(site.sandbox_port, "the INSTAGRAM_*_URL lines of .env")


# --- While it runs ------------------------------------------------------------------------------


def _start_all(processes: Processes, python: str, environment: dict[str, str], site: Site) -> None:
    processes.start("web", _server.command(python, site.port), environment)
    # The web process draws the warnings of a start, for all.
    quiet = environment | {"SESSION_SECRET_ANNOUNCED": "1"}
    processes.start("worker", [python, "manage.py", "run_huey"], quiet)
    if site.sandbox_port:
        # It plays the outside world, so it gets what it needs and no secret of the site.
        processes.start(
            "sandbox",
            [python, "-m", "instamsg.sandbox", "--port", str(site.sandbox_port)],
            _environment.plain() | site.sandbox,
        )


def _wait_for_answers(processes: Processes, site: Site, stop: threading.Event) -> str:
    """What went wrong; empty when all is well, or when it is time to stop."""
    waiting = {"web": (site.port, "/livez")}
    if site.sandbox_port:
        waiting["sandbox"] = (site.sandbox_port, "/phone/")
    deadline = time.monotonic() + PATIENCE
    while waiting and not stop.wait(0.1):
        if processes.ended():
            return _ended(processes)
        if time.monotonic() > deadline:
            return f"No answer from {' and '.join(waiting)} within {PATIENCE} seconds."
        waiting = {name: place for name, place in waiting.items() if not _answers(*place)}
    return ""


def _answers(port: int, path: str) -> bool:
    try:
        return _journey.exchange(port, "GET", path)[0].status == 200
    except (OSError, http.client.HTTPException):
        return False


def _supervise(processes: Processes, stop: threading.Event) -> str:
    """Wait for the end: one that was asked for, or that of a process, which is the trouble."""
    while not stop.wait(0.5):
        if processes.ended():
            return _ended(processes)
        processes.keep_guarded()
    return ""


def _ended(processes: Processes) -> str:
    names = " and ".join(processes.ended()).capitalize()
    return f"{names} ended by itself; its last lines stand above."


def _check(site: Site, password: str, stop: threading.Event) -> str:
    if stop.is_set():
        return "The check was interrupted."
    token = site.sandbox["SANDBOX_CONTROL_TOKEN"]
    try:
        _journey.run(site.port, site.sandbox_port, token, password, _say)
    except _journey.Failed as exc:
        return f"The check failed. {exc}"
    _say("The check passed: connected, received, answered.")
    return ""


def _tell(site: Site) -> None:
    _say(f"\nInstaMsg runs.\n\n  Site    {site.url}/")
    if site.sandbox_port:
        phone = f"http://127.0.0.1:{site.sandbox_port}/phone/"
        _say(f"  Phone   {phone}  where you play the customer of the sandbox")
        _say("  Control API of the sandbox: see docs/sandbox.md; its token is in .env")
    _say("\nCtrl+C stops everything.\n")


def _say(text: str) -> None:
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        pass  # The terminal is gone; that must not keep anything from being stopped.


if __name__ == "__main__":
    sys.exit(main())
