"""SQLite has one writer. Whoever waits for it here looks again every millisecond.

SQLite's own wait sleeps in steps that grow to a tenth of a second, and misses the rests of somebody
who writes again and again. Beside that, a statement is put into SQLite's spelling once.
"""

import sqlite3
import time
from functools import lru_cache
from typing import Any

from django.db.backends.sqlite3 import base

LOOK_AGAIN = 0.001
PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY}


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.patience: float = self.settings_dict["OPTIONS"]["timeout"]
        """Seconds that a statement waits for others, before it raises OperationalError. Without WAL
        SQLite's own wait comes first."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> sqlite3.Connection:
        connection = super().get_new_connection(conn_params)
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":  # Where a disk cannot have that, a commit has to wait as well.
            connection.execute("PRAGMA busy_timeout = 0")
        return connection

    def create_cursor(self, name: str | None = None) -> "Cursor":
        cursor = self.connection.cursor(factory=Cursor)
        cursor.patience = self.patience
        return cursor


class Cursor(base.SQLiteCursorWrapper):
    """`executemany` does not wait: it would have done some of its work. It wants a transaction,
    which has the writer from its BEGIN on."""

    patience: float

    def convert_query(self, query: str, *, param_names: list[str] | None = None) -> str:
        if param_names is not None:
            return super().convert_query(query, param_names=param_names)
        return _with_question_marks(query)

    def execute(self, *args: Any) -> sqlite3.Cursor:
        until = time.monotonic() + self.patience
        while True:
            try:
                return super().execute(*args)
            except sqlite3.OperationalError as exc:
                code = getattr(exc, "sqlite_errorcode", None)
                if code not in PASSING or time.monotonic() > until:
                    raise
            time.sleep(LOOK_AGAIN)


@lru_cache(maxsize=1000)
def _with_question_marks(query: str) -> str:
    """Django looks for each %s at every execution."""
    return base.SQLiteCursorWrapper.convert_query(None, query)  # Which has no use for itself.
