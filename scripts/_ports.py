"""Ports of this machine: which can be asked for, and which are free."""

import argparse
import os
import socket

SANDBOX_DISTANCE = 100
"""From the site's port to the sandbox's, wherever no setting says otherwise."""

HIGHEST = 65535 - SANDBOX_DISTANCE


def port(text: str) -> int:
    """The site's port as somebody typed it; argparse turns the error into its own sentence."""
    if not text.isdecimal() or not 1 <= int(text) <= HIGHEST:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 1 to {HIGHEST}")
    return int(text)


def require_free(number: int, remedy: str) -> None:
    """End with one sentence if the port is taken.

    The server would not notice: it shares its port with whoever else wants to.
    """
    try:
        _listener(number).close()
    except (OSError, OverflowError) as exc:
        reason = getattr(exc, "strerror", "there is no such port")
        raise SystemExit(
            f"Port {number} cannot be used ({reason}); choose another with {remedy}."
        ) from None


def two_free() -> int:
    """A free port for the site; the sandbox's neighbouring one is free as well."""
    while True:
        with _listener(0) as listener:
            number = listener.getsockname()[1]
            try:
                _listener(number + SANDBOX_DISTANCE).close()
            except (OSError, OverflowError):
                continue
            return number


def _listener(number: int) -> socket.socket:
    listener = socket.socket()
    if os.name != "nt":  # Does not mind what has just ended. On Windows it would share the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", number))
        listener.listen(1)
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener
