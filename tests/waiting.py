"""A port that is free, and an end to waiting."""

import socket
import time
from collections.abc import Callable

A_WHILE = 120
"""Seconds after which what a test waits for hangs, however slow and busy the machine is."""

LESS_THAN_A_SWEEP = 50
"""Seconds in which workers do what they were asked to, before they look by themselves."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(holds: Callable[[], object], seconds: float = LESS_THAN_A_SWEEP):
    """The first true value of `holds`, asked until then; fails when none comes in time."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return value
