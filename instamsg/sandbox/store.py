"""Keeps the world in one JSON file, when asked to."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

from .state import World

# A burst of changes is one write.
PAUSE = 0.2
# Writing holds up everybody, so a big world is written less often: a tenth of the time at most.
REST = 9


class Keeper:
    """Reads the file once, then writes it whenever the world has changed."""

    def __init__(self, world: World, path: Path) -> None:
        self._world, self._path = world, path
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="state-file", daemon=True)
        if path.exists():
            world.restore(json.loads(path.read_text(encoding="utf-8")))
        self._written = world.revision

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = PAUSE
        while not self._stopped.wait(pause):
            began = time.monotonic()
            self._write()
            pause = max(PAUSE, REST * (time.monotonic() - began))
        self._write()

    def _write(self) -> None:
        with self._world.lock:
            if self._world.revision == self._written:
                return
            self._written = self._world.revision
            text = json.dumps(self._world.to_dict())
        # Whole or not at all, and for its owner alone: it holds the tokens that were issued.
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(self._path)
