"""The parts that a site needs: each well, or not, with a word on what is wrong."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from crypto import verdict, workers

from . import backlog, inbound, queues, sending

BEHIND = 300
"""Seconds that something may be due before its queue counts as stuck."""

SPACE = 500 * 1024 * 1024
"""Bytes that have to be free: a webhook may bring 16 MiB, a message 250 MB of files."""

WAITED_FOR = (inbound.process, sending.send)
"""The queues that people notice. The others may take their time."""


@dataclass(frozen=True)
class Part:
    """`is_required` when the site is not ready without it."""

    ok: bool
    detail: str
    is_required: bool = True
    state: str = ""


def look(names: list[str] | None = None) -> dict[str, Part]:
    """The parts of these names, or all of them. A database out of reach is waited for once."""
    found: dict[str, Part] = {}
    for name in names or PARTS:
        is_away = "database" in found and not found["database"].ok
        found[name] = UNKNOWN if is_away and name in IN_DATABASE else _checked(PARTS[name])
    return found


def database() -> Part:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as exc:
        reason = str(exc).partition("\n")[0]
        return Part(False, f"It does not answer: {reason}. See “database” in docs/runbook.md.")
    return Part(True, "It answers.")


_is_migrated = False
"""Once nothing is pending, nothing will be before this process ends: its code stays the same."""


def migrations() -> Part:
    global _is_migrated
    if not _is_migrated:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            first = f"{plan[0][0].app_label}.{plan[0][0].name}"
            return Part(False, f"{len(plan)} pending, first {first}: python manage.py migrate")
        _is_migrated = True
    return Part(True, "None is pending.")


def queue() -> Part:
    """Whether work is handed on, and taken up."""
    try:
        queues.ask_storage()
    except Exception as exc:  # Whatever the storage is made of.
        return Part(
            False, f"The task queue cannot be asked: {type(exc).__name__}. See TASK_QUEUE_URL."
        )
    late = {one: age for one in WAITED_FOR if (age := backlog.age(one)) > BEHIND}
    if late:
        told = ", ".join(f"{backlog.name(one)} {age:.0f} s" for one, age in late.items())
        return Part(False, f"Work is due and not taken up: {told}.")
    return Part(True, "Nothing waits for long.")


def worker() -> Part:
    if living := workers.living():
        return Part(True, f"{len(living)} running.")
    return Part(False, "None is running: answers wait. Start it: python manage.py run_huey")


def secret() -> Part:
    """Shown, and required by nobody: what comes in is received and stored all the same."""
    found = verdict.latest or verdict.look()
    return Part(found.is_well, found.title, is_required=False, state=found.state)


def disk() -> Part:
    folders = {} if settings.MEDIA_STORAGE else {"MEDIA_ROOT": settings.MEDIA_ROOT}
    if settings.IS_SQLITE:
        folders["the database"] = Path(settings.DATABASES["default"]["NAME"]).resolve().parent
    if not folders:
        return Part(True, "Nothing of the site is kept on this machine.")
    free = {name: shutil.disk_usage(_existing(path)).free for name, path in folders.items()}
    name = min(free, key=free.get)
    told = f"{free[name] / 1024**3:.1f} GB are free for {name}."
    if free[name] >= SPACE:
        return Part(True, told)
    return Part(False, f"{told} Make room: see “disk” in docs/runbook.md.")


PARTS: dict[str, Callable[[], Part]] = {
    "database": database,
    "migrations": migrations,
    "queue": queue,
    "worker": worker,
    "secret": secret,
    "disk": disk,
}


IN_DATABASE = ("migrations", "queue", "worker")

UNKNOWN = Part(False, "Cannot be known: the database does not answer.")


def _checked(part: Callable[[], Part]) -> Part:
    try:
        return part()
    except DatabaseError as exc:
        return Part(False, str(exc).partition("\n")[0])
    except OSError as exc:
        return Part(False, f"{type(exc).__name__}: {exc.strerror}")


def _existing(path: Path) -> Path:
    """The folder, or the one in which it will be made."""
    return next(one for one in (path, *path.parents) if one.exists())
