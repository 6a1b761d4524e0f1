"""Makes a file as the predecessor leaves it: its tables, and a small shop in them."""

import sqlite3
from pathlib import Path

import bcrypt

from crypto.keyring import derive

SECRET = "Tests-0nly-secret-never-used-anywhere-else"
"""Its SESSION_SECRET is the one of this site."""

SCHEMA = """
CREATE TABLE users (id INTEGER PRIMARY KEY, username VARCHAR(50) NOT NULL UNIQUE,
    password_hash VARCHAR(255) NOT NULL, is_active BOOLEAN, created_at DATETIME,
    updated_at DATETIME);
CREATE TABLE accounts (id VARCHAR(50) PRIMARY KEY, instagram_account_id VARCHAR(100) UNIQUE,
    username VARCHAR(100), messaging_channel_id VARCHAR(100) UNIQUE,
    conversations_api_id VARCHAR(100), access_token_encrypted TEXT NOT NULL,
    token_expires_at DATETIME, profile_picture_url TEXT, account_type VARCHAR(20),
    crm_webhook_url TEXT, webhook_secret TEXT, created_at DATETIME);
CREATE TABLE user_accounts (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL,
    account_id VARCHAR(50) NOT NULL, linked_at DATETIME);
CREATE TABLE messages (id VARCHAR(512) PRIMARY KEY, account_id VARCHAR(50),
    sender_id VARCHAR(100), recipient_id VARCHAR(100), message_text TEXT, direction VARCHAR(20),
    timestamp DATETIME, created_at DATETIME, idempotency_key VARCHAR(100),
    delivery_status VARCHAR(20), error_code VARCHAR(50), error_message TEXT);
CREATE TABLE message_attachments (id VARCHAR(600) PRIMARY KEY, message_id VARCHAR(512),
    attachment_index INTEGER, media_type VARCHAR(20), media_url TEXT, media_url_local TEXT,
    media_mime_type VARCHAR(100));
CREATE TABLE instagram_profiles (sender_id VARCHAR(100) PRIMARY KEY, username VARCHAR(100),
    profile_picture_url TEXT, account_type VARCHAR(20), last_updated DATETIME);
CREATE TABLE crm_outbound_messages (id VARCHAR(50) PRIMARY KEY, account_id VARCHAR(50),
    recipient_id VARCHAR(100), message_text TEXT, idempotency_key VARCHAR(100),
    status VARCHAR(20), instagram_message_id VARCHAR(512), error_code VARCHAR(50),
    error_message TEXT, created_at DATETIME);
CREATE TABLE api_keys (id VARCHAR(50) PRIMARY KEY, user_id INTEGER, key_hash VARCHAR(255));
CREATE TABLE oauth_states (state VARCHAR(100) PRIMARY KEY, user_id INTEGER);
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);
"""

OWN, CUSTOMER = "17841400000000801", "9900112233"
ACCOUNT = "acc_0a1b2c3d4e5f"
TOKEN = "IGAAPrivateTokenOfThePredecessor0000001"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def encrypt(text: str, secret: str = SECRET) -> str:
    return derive(secret).fernet.encrypt(text.encode()).decode()


class Predecessor:
    """A file under construction. `folder` holds it as instagram_automation.db, beside media/."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "instagram_automation.db"
        self.media = folder / "media"
        (self.media / "attachments").mkdir(parents=True)
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.db.executescript(SCHEMA)

    def close(self) -> None:
        self.db.close()

    def add(self, table: str, **values: object) -> None:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self.db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))

    def user(self, pk: int, name: str, password: str = "correct horse 41", **values) -> None:
        stored = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        values = {"password_hash": stored, "is_active": 1} | values
        self.add("users", id=pk, username=name, created_at="2025-03-01 08:00:00.000000", **values)

    def account(self, pk: str = ACCOUNT, own: str = OWN, users: tuple[int, ...] = (), **values):
        values = {
            "username": "luna.ceramics",
            "access_token_encrypted": encrypt(TOKEN),
            "created_at": "2025-03-01 09:00:00.123456",
        } | values
        self.add("accounts", id=pk, instagram_account_id=own, **values)
        for user in users:
            self.add("user_accounts", user_id=user, account_id=pk)

    def message(self, mid: str, text: str | None = "Hello", *, out: bool = False, **values):
        sides = (OWN, CUSTOMER) if out else (CUSTOMER, OWN)
        values = {
            "account_id": ACCOUNT,
            "sender_id": sides[0],
            "recipient_id": sides[1],
            "message_text": text,
            "direction": "outbound" if out else "inbound",
            "timestamp": "2025-04-01 10:00:00.000000",
        } | values
        self.add("messages", id=mid, **values)

    def sent(self, pk: str, text: str = "Gladly", *, mid: str | None = None, **values) -> None:
        values = {
            "account_id": ACCOUNT,
            "recipient_id": CUSTOMER,
            "status": "sent" if mid else "pending",
            "created_at": "2025-04-01 10:05:00.500000",
        } | values
        self.add(
            "crm_outbound_messages", id=pk, message_text=text, instagram_message_id=mid, **values
        )

    def attachment(
        self, mid: str, kind: str = "image", data: bytes | None = PNG, n: int = 0, **values
    ):
        """With its file, unless `data` is None."""
        name = f"attachments/{mid}_{n}.jpg"
        if data is not None:
            (self.media / name).write_bytes(data)
        values = {"media_type": kind, "media_url_local": f"media/{name}"} | values
        self.add(
            "message_attachments", id=f"{mid}_{n}", message_id=mid, attachment_index=n, **values
        )
