"""The predecessor's SQLite file: opened read-only, checked, and read some rows at a time."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..events import UNSTORABLE

Row = dict[str, Any]

BATCH = 200
"""Rows that are in memory at a time, and written in one transaction, for which others wait."""

ITS_TABLES = {"users", "user_accounts", "accounts", "messages"}
COLUMNS = {
    "users": "id username password_hash is_active created_at",
    "user_accounts": "user_id account_id",
    "accounts": "id instagram_account_id username messaging_channel_id conversations_api_id "
    "access_token_encrypted token_expires_at profile_picture_url account_type crm_webhook_url "
    "webhook_secret created_at",
    "messages": "id account_id sender_id recipient_id message_text direction timestamp "
    "created_at delivery_status error_code error_message",
    "message_attachments": "id message_id attachment_index media_type media_url media_url_local",
    "instagram_profiles": "sender_id username last_updated",
    "crm_outbound_messages": "id account_id recipient_id message_text status "
    "instagram_message_id error_code error_message created_at",
}


class CannotMoveIn(Exception):
    """The file is of no use; the text says why, and what to do."""


class Source:
    """One consistent view of the file, for as long as it is open.

    Raises CannotMoveIn unless it is the predecessor's and whole. What it has not written into the
    file itself yet (`-wal`) is read as well. A column or table that an older one lacks is empty.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.db = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None
            )
        except sqlite3.Error as exc:
            raise CannotMoveIn(_unreadable(path, exc)) from None
        try:
            self._open()
        except sqlite3.Error as exc:
            self.close()
            raise CannotMoveIn(_unreadable(path, exc)) from None
        except CannotMoveIn:
            self.close()
            raise

    def close(self) -> None:
        self.db.close()

    def count(self, table: str) -> int:
        if table not in self.tables:
            return 0
        return self.db.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0]  # noqa: S608  (our names)

    def rows(self, table: str, where: str = "", values: list[str] | None = None) -> Iterator[Row]:
        if table not in self.tables:
            return
        found = self.db.execute(
            f'SELECT {self._columns(table)} FROM "{table}" {where}',  # noqa: S608
            values or [],
        )
        yield from map(dict, found)

    def batches(self, table: str) -> Iterator[list[Row]]:
        """All rows, in the order in which they were written."""
        if table in self.tables:
            yield from self._fetched(
                f'SELECT {self._columns(table)} FROM "{table}" ORDER BY rowid'  # noqa: S608
            )

    def attachments(self) -> Iterator[list[Row]]:
        """Each with columns of its message as `of_…`, None when that is not there."""
        if "message_attachments" not in self.tables:
            return
        of = ", ".join(
            f"m.{name} AS of_{name}"
            for name in ("id", "account_id", "sender_id", "recipient_id", "direction", "timestamp")
            if name in self.tables["messages"]
        )
        yield from self._fetched(
            f"SELECT {self._columns('message_attachments', 'a.')}, {of} "  # noqa: S608
            "FROM message_attachments a LEFT JOIN messages m ON m.id = a.message_id "
            "ORDER BY a.rowid"
        )

    def _open(self) -> None:
        self.db.row_factory = sqlite3.Row
        self.db.text_factory = _decode
        self.db.execute("BEGIN")  # Should it still run: nothing changes under our eyes.
        tables = self.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self.tables = {
            name: {column["name"] for column in self.db.execute(f'PRAGMA table_info("{name}")')}
            for (name,) in tables
        }
        self._require_its_tables()
        (found,) = self.db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)

    def _columns(self, table: str, prefix: str = "") -> str:
        has = self.tables[table]
        return ", ".join(
            f"{prefix}{name}" if name in has else f"NULL AS {name}"
            for name in COLUMNS[table].split()
        )

    def _fetched(self, sql: str) -> Iterator[list[Row]]:
        cursor = self.db.execute(sql)
        while rows := cursor.fetchmany(BATCH):
            yield [dict(row) for row in rows]

    def _require_its_tables(self) -> None:
        if "django_migrations" in self.tables:
            raise CannotMoveIn(
                f"{self.path} is a database of InstaMsg, not of its predecessor. To bring back a "
                "backup of it, put it where DATABASE_URL says."
            )
        if not is_predecessors(self.tables):
            raise CannotMoveIn(
                f"{self.path} is not the predecessor's database: it lacks the tables "
                f"{', '.join(sorted(ITS_TABLES - self.tables.keys())) or 'that mark one'}. Its "
                "file is usually called instagram_automation.db."
            )


def is_predecessors(tables: dict[str, set[str]]) -> bool:
    """Whether these tables, with their columns, are the predecessor's."""
    is_ours = "django_migrations" in tables
    return not is_ours and tables.keys() >= ITS_TABLES and "password_hash" in tables["users"]


def text(value: object) -> str:
    return "" if value is None else str(value)


def moment(value: object) -> datetime | None:
    """A time of the file, which tells UTC without saying so; None when it is none."""
    with suppress(ValueError):
        found = datetime.fromisoformat(text(value).strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return None


def _decode(octets: bytes) -> str:
    """What no text column of ours takes is replaced."""
    return UNSTORABLE.sub("\ufffd", octets.decode(errors="replace"))


def _unreadable(path: Path, exc: Exception) -> str:
    return (
        f"{path} cannot be read as a SQLite database ({exc}). If it is damaged, take a backup of "
        f'it, or what `sqlite3 "{path}" .recover` saves. If the predecessor was killed, start and '
        "stop it once. Beside the file the user who runs this must be able to create files, or "
        "work on a copy that includes those that end in -wal and -journal."
    )
