"""Measure everything, or what is named, and print plain tables."""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

NAMES = [
    "accept",
    "backlog",
    "scale",
    "growth",
    "forwarding",
    "api",
    "polls",
    "losses",
    "move_in",
    "sending",
    "sends",
    "ledger_file",
    "lists",
    "scrape",
    "derive",
    "redaction",
    "rotation",
    "rotation_waits",
    "rotation_memory",
    "sealed_list",
    "verdict",
]


def main(names: list[str]) -> None:
    if unknown := set(names) - set(NAMES):
        sys.exit(f"No benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}.")
    from tests.environment import scratch  # Sets the environment; no process of ours needs its own.

    os.environ["DJANGO_SETTINGS_MODULE"] = "instamsg.settings"
    try:
        with fresh_database(scratch):
            for name in names or NAMES:
                for table in import_module(f"tests.benchmarks.{name}").run():
                    sys.stdout.write(f"{table}\n\n")
                    sys.stdout.flush()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def fresh_database(folder: Path) -> Iterator[None]:
    """For what is measured in this process; on SQLite a file, as a site has it."""
    import django

    django.setup()
    logging.disable(logging.INFO)
    from django.conf import settings
    from django.db import connection
    from huey.contrib.djhuey import HUEY

    name = f"instamsg_benchmarks_{os.getpid()}"
    if settings.IS_SQLITE:
        name = str(folder / f"{name}.db")
    before = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = name
    HUEY.storage.initialize_schema()
    connection.creation.create_test_db(verbosity=0, serialize=False)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(before, verbosity=0)


if __name__ == "__main__":
    main(sys.argv[1:])
