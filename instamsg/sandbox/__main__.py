"""`python -m instamsg.sandbox`: start the offline Instagram and serve until told to end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Mapping

DEFAULT_PORT = 8100
REQUIRED = (
    "SANDBOX_CONTROL_TOKEN",
    "INSTAGRAM_APP_ID",
    "INSTAGRAM_APP_SECRET",
    "INSTAGRAM_VERIFY_TOKEN",
)


def main(environ: Mapping[str, str] = os.environ) -> None:
    options = _options(environ)
    if any(name.startswith("SESSION_SECRET") for name in environ):
        raise SystemExit("sandbox: SESSION_SECRET is none of its business; start it without.")
    missing = [name for name in REQUIRED if not environ.get(name, "").strip(" ,")]
    if missing:
        raise SystemExit(f"sandbox: set {', '.join(missing)} in the environment.")

    from .server import Sandbox

    try:
        sandbox = Sandbox(
            app_id=environ["INSTAGRAM_APP_ID"],
            app_secret=environ["INSTAGRAM_APP_SECRET"],
            verify_token=environ["INSTAGRAM_VERIFY_TOKEN"],
            control_token=environ["SANDBOX_CONTROL_TOKEN"],
            redirect_uris=_listed(environ.get("SANDBOX_REDIRECT_URIS", "")),
            webhook_url=environ.get("SANDBOX_WEBHOOK_URL", ""),
            port=options.port,
            state_file=options.state,
        )
    except OSError as error:
        what = error.filename or f"port {options.port}"
        raise SystemExit(f"sandbox: cannot use {what}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise SystemExit(
            f"sandbox: {options.state} is not a state file; move it away or name another."
        ) from None

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with sandbox:
        sys.stdout.write(f"Sandbox listening on {sandbox.url}\n")
        sys.stdout.flush()
        # In steps: on Windows a wait without end does not hear Ctrl+C.
        while not ended.wait(0.5):
            pass


def _options(environ: Mapping[str, str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m instamsg.sandbox",
        description="An offline Instagram. Everything else is set in the environment.",
    )
    port = environ.get("SANDBOX_PORT") or str(DEFAULT_PORT)
    parser.add_argument("--port", type=_port, default=port, help=f"default {port}")
    state = environ.get("SANDBOX_STATE_FILE") or None
    parser.add_argument("--state", metavar="FILE", default=state, help="keep the state in FILE")
    return parser.parse_args()


def _port(text: str) -> int:
    """A port number; argparse turns the error into its own sentence."""
    if not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return int(text)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


if __name__ == "__main__":
    main()
