"""What exists: accounts, customers, tokens, conversations, settings and a clock one can move.

The whole of it is plain values, so it can be kept in one JSON file and put back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from . import ids, seed
from .settings import Settings
from .shelf import Shelf
from .wire import BadRequest

DAY = 24 * 3600


def as_object(value: Any) -> dict[str, Any]:
    """The value when it is a JSON object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


# Enough for any chat on a phone; a sandbox left running for months must not grow without end.
KEPT_MESSAGES = 500
# The record of what was sent, which tests compare with what the site believes.
KEPT_SENT = 50_000


@dataclass
class Account:
    username: str
    name: str
    ig_id: str
    app_scoped_id: str
    account_type: str = "BUSINESS"
    tester: bool = True
    messages_allowed: bool = True
    subscribed_fields: list[str] = field(default_factory=list)
    # What a person without a chat yet may tap: title and payload of each.
    ice_breakers: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Customer:
    username: str
    name: str
    tester: bool = True
    profile: str = "visible"  # visible | no_consent | no_match
    blocked: bool = False
    # Parts of the profile that the platform leaves out, or gives as null.
    missing_fields: list[str] = field(default_factory=list)
    null_fields: list[str] = field(default_factory=list)


@dataclass
class Token:
    value: str
    ig_id: str
    kind: str  # short | long
    permissions: list[str]
    issued_at: float
    expires_at: float
    revoked: bool = False
    subcode: int | None = None


@dataclass
class Code:
    value: str
    ig_id: str
    redirect_uri: str
    permissions: list[str]
    expires_at: float
    used: bool = False


@dataclass
class Message:
    mid: str
    by: str  # customer | api | phone | other_app
    at: int  # milliseconds, by the sandbox's clock
    content: dict[str, Any]  # the message object of the wire, without its mid
    delivery: str = "none"  # none | waiting | delivered | failed | lost
    num_edit: int = 0
    # Who reacted (customer or account), with the reaction's name and its emoji.
    reactions: dict[str, dict[str, str]] = field(default_factory=dict)
    # Set for a tap on an ice breaker or a button; the content then holds its title as text.
    postback: dict[str, Any] | None = None
    # What the customer may tap below it: kind (quick_reply or postback), title and payload.
    choices: list[dict[str, str]] = field(default_factory=list)

    @property
    def gone(self) -> bool:
        return bool(self.content.get("is_deleted"))

    def attachments(self) -> list[tuple[str, dict[str, Any]]]:
        """Type and payload of each; a raw message may hold anything, so what is odd is empty."""
        listed = self.content.get("attachments")
        rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
        return [(str(row.get("type", "attachment")), as_object(row.get("payload"))) for row in rows]


@dataclass
class Conversation:
    ig_id: str
    igsid: str
    customer: str
    last_customer_at: float | None = None
    seen_at: float | None = None
    typing_until: float = 0
    # The newest message of the shop that the customer has seen.
    read_mid: str | None = None
    messages: list[Message] = field(default_factory=list)


@dataclass(frozen=True)
class Sent:
    """One line of the record of what shops have sent."""

    number: int
    conversation: Conversation
    message: Message


class World:
    """Everything that exists. Hold `lock` while reading or changing it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        # Counts changes: pages and the state file ask only whether it moved.
        self.revision = 0
        self.reset()

    def reset(self) -> None:
        self.accounts = {row["ig_id"]: Account(**row) for row in seed.ACCOUNTS}
        self.customers = {row["username"]: Customer(**row) for row in seed.CUSTOMERS}
        self.tokens: dict[str, Token] = {}
        self.codes: dict[str, Code] = {}
        self.conversations: dict[str, Conversation] = {}
        self.assets: dict[str, dict[str, str]] = {}
        # What shops sent: fetched files, those that have an id, and the record. Not in the file.
        self.files = Shelf()
        self.sent: deque[Sent] = deque(maxlen=KEPT_SENT)
        self.sent_number = 0
        self.uploads: dict[str, dict[str, str]] = {}
        self.settings = Settings()
        self.clock_offset = 0.0
        self.number = 0
        self.failing_since: float | None = None
        self.disabled_at: float | None = None
        self.changed()

    def changed(self) -> None:
        self.revision += 1

    def now(self) -> float:
        return time.time() + self.clock_offset

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def account(self, name: Any) -> Account:
        """By username or IG_ID."""
        for account in self.accounts.values():
            if name in (account.username, account.ig_id):
                return account
        raise BadRequest(f"There is no account {name!r}.")

    def customer(self, name: Any) -> Customer:
        try:
            return self.customers[name]
        except (KeyError, TypeError):
            raise BadRequest(f"There is no customer {name!r}.") from None

    def conversation(self, account: Account, customer: Customer) -> Conversation:
        igsid = ids.igsid(account.ig_id, customer.username)
        key = f"{account.ig_id}:{igsid}"
        if key not in self.conversations:
            self.conversations[key] = Conversation(account.ig_id, igsid, customer.username)
        return self.conversations[key]

    def known_conversation(self, ig_id: str, igsid: str) -> Conversation | None:
        return self.conversations.get(f"{ig_id}:{igsid}")

    def customer_of(self, igsid: str) -> tuple[Account, Customer] | None:
        """Who hides behind an Instagram-scoped id, and for which account."""
        for account in self.accounts.values():
            for customer in self.customers.values():
                if ids.igsid(account.ig_id, customer.username) == igsid:
                    return account, customer
        return None

    def issue_token(self, ig_id: str, kind: str, permissions: list[str], life: float) -> Token:
        now = self.now()
        token = Token(ids.access_token(), ig_id, kind, permissions, now, now + life)
        self.tokens[token.value] = token
        self.changed()
        return token

    def add_message(
        self, conversation: Conversation, by: str, content: dict[str, Any], mid: str | None = None
    ) -> Message:
        at = int(self.now() * 1000)
        mid = mid or ids.mid(conversation.ig_id, conversation.igsid, at, self.next_number())
        message = Message(mid, by, at, content)
        conversation.messages.append(message)
        del conversation.messages[:-KEPT_MESSAGES]
        if by == "customer":
            conversation.last_customer_at = self.now()
        else:
            self.sent_number += 1
            self.sent.append(Sent(self.sent_number, conversation, message))
        self.changed()
        return message

    def to_dict(self) -> dict[str, Any]:
        tables = ("accounts", "customers", "tokens", "codes", "conversations")
        data = {name: [asdict(row) for row in getattr(self, name).values()] for name in tables}
        return data | {
            "assets": self.assets,
            "settings": asdict(self.settings),
            "clock_offset": self.clock_offset,
            "number": self.number,
            # Since when it fails is not kept: a site that starts after us has its hour.
            "disabled_at": self.disabled_at,
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Put back what `to_dict` gave."""
        self.accounts = {row["ig_id"]: Account(**row) for row in data["accounts"]}
        self.customers = {row["username"]: Customer(**row) for row in data["customers"]}
        self.tokens = {row["value"]: Token(**row) for row in data["tokens"]}
        self.codes = {row["value"]: Code(**row) for row in data["codes"]}
        self.conversations = {
            f"{row['ig_id']}:{row['igsid']}": Conversation(
                **{**row, "messages": [Message(**message) for message in row["messages"]]}
            )
            for row in data["conversations"]
        }
        self.assets, self.settings = data["assets"], Settings(**data["settings"])
        self.clock_offset, self.number = data["clock_offset"], data["number"]
        self.failing_since, self.disabled_at = None, data.get("disabled_at")
        self.changed()
