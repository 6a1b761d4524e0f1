"""Moving in from the predecessor: how long it takes, and the most memory that it ever has.

The yardstick copies the same rows into an empty SQLite table, by plain `executemany`.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from django.core.management import call_command
from django.db import connection

from messaging.models import Attachment, Conversation, Message
from tests.environment import child_environment
from tests.messaging.predecessor import ACCOUNT, OWN, PNG, Predecessor

from .measuring import Figures, Table, interleave
from .tokens import database_url, tidy


def run(
    few: int = 10_000, many: int = 100_000, customers: int = 5_000, rounds: int = 3
) -> list[Table]:
    folder = Path(tempfile.mkdtemp())
    try:
        files = {count: _fill(folder / str(count), count, customers) for count in (few, many)}
        cases = {"executemany": partial(_copy, files[many], many)}
        for count, file in files.items():
            cases[f"{count:,} messages"] = partial(_move_in, file, count)
        results = interleave(cases, rounds)
    finally:
        shutil.rmtree(folder)
    title = f"move_in: from {customers:,} customers, one file in 100, on {connection.display_name}"
    return [Table(title, "ms each", results)]


def _fill(folder: Path, count: int, customers: int) -> Path:
    old = Predecessor(folder)
    old.db.execute("BEGIN")
    old.user(1, "lena")
    old.account(users=(1,))
    for n in range(count):
        customer, is_out = str(10_000 + n * 7919 % customers), n % 3 == 0
        sides = (OWN, customer) if is_out else (customer, OWN)
        old.message(
            _mid(n), f"Is the blue one still there? No. {n}", out=is_out,
            sender_id=sides[0], recipient_id=sides[1],
            timestamp=f"2025-04-{n % 28 + 1:02} {n % 24:02}:{n % 60:02}:00.000000",
        )  # fmt: skip
        if n % 10 == 0 and is_out:
            old.sent(f"msg_{n:012}", mid=_mid(n), recipient_id=customer)
        if n % 100 == 0:
            name = f"attachments/{n}.png"
            (old.media / name).write_bytes(PNG + bytes(50_000))
            old.attachment(_mid(n), data=None, media_url_local=f"media/{name}")
    old.db.execute("COMMIT")
    old.close()
    return old.path


def _mid(number: int) -> str:
    return f"aWdfZAG1faXRlbToxOklHTWVzc2FnZAUlE{number:0100}"


def _copy(path: Path, count: int) -> Figures:
    start = time.perf_counter()
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(path.with_name("copy.db"))) as new,
    ):
        rows = old.execute("SELECT * FROM messages")
        names = [column[0] for column in rows.description]
        new.execute(f"CREATE TABLE messages ({', '.join(names)})")
        marks = ", ".join("?" * len(names))
        new.executemany(f"INSERT INTO messages VALUES ({marks})", rows)
        new.commit()
    took = time.perf_counter() - start
    path.with_name("copy.db").unlink()
    return {"ms each": took / count * 1000, "seconds": took}


def _move_in(path: Path, count: int) -> Figures:
    call_command("flush", interactive=False, verbosity=0)
    tidy()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "import_predecessor", path],
        env=child_environment(DATABASE_URL=database_url()),
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - start
    assert process.returncode == 0
    assert Conversation.objects.filter(account=ACCOUNT).exists()
    return {
        "ms each": took / count * 1000,
        "seconds": took,
        "peak MiB": used.ru_maxrss / 1024,
        "lost": count - Message.objects.count(),
        "files lost": -(-count // 100) - Attachment.objects.filter(state="stored").count(),
    }
