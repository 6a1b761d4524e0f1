"""What was moved in, what was here already, and what stays behind and why."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 5
COUNTED = {
    "users": "users",
    "accounts": "accounts",
    "members": "members",
    "endpoints": "CRM endpoints",
    "conversations": "conversations",
    "messages": "messages",
    "sent_by_api": "sent through the API",
    "attachments": "attachments",
    "files": "files",
}
"""What is counted, and what people call it."""


@dataclass
class Left:
    """Rows that do not come along for one reason.

    `is_loss` when somebody may miss them; the rest is as intended.
    """

    what: str
    reason: str
    is_loss: bool
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        which = f": {', '.join(self.examples)}{more}" if self.examples else ""
        return f"{self.what} ({self.count:,}), {self.reason}{which}"


class Report:
    """Grows by reasons, not by rows."""

    def __init__(self, path: str, *, is_dry: bool):
        self.path, self.is_dry = path, is_dry
        self.counts = {thing: Counter(new=0, here=0) for thing in COUNTED}
        self.left: dict[tuple[str, str], Left] = {}
        self.to_do: list[str] = []

    def count(self, thing: str, outcome: str, number: int = 1) -> None:
        """`outcome` is new or here, or another word of the thing's own."""
        self.counts[thing][outcome] += number

    def leave(
        self, what: str, reason: str, example: str = "", *, number: int = 1, is_loss: bool = True
    ) -> None:
        left = self.left.setdefault((what, reason), Left(what, reason, is_loss))
        left.count += number
        if example and len(left.examples) < EXAMPLES:
            left.examples.append(example[:80])

    @property
    def has_losses(self) -> bool:
        return any(one.is_loss for one in self.left.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "database": self.path,
            "dry_run": self.is_dry,
            "moved": {thing: dict(counter) for thing, counter in self.counts.items()},
            "left": [vars(one) for one in self.left.values()],
            "to_do": self.to_do,
        }
