"""What a look at the site found: good, bad with what mends it, or not to be known from here."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum


class State(StrEnum):
    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"

    @property
    def label(self) -> str:
        return {"good": "Good", "bad": "To mend", "unknown": "Cannot be known from here"}[self]


@dataclass(frozen=True)
class Finding:
    """`fix` is what to do, or how to find out. Neither text ever holds a secret.

    `is_missing` when a setting without which nothing can work has no value.
    """

    state: State
    says: str
    fix: str = ""
    is_missing: bool = False
    title: str = ""

    def named(self, title: str) -> "Finding":
        return replace(self, title=title)


Check = Callable[[], Finding]


@dataclass(frozen=True)
class Group:
    title: str
    findings: list[Finding]


@dataclass(frozen=True)
class Report:
    groups: list[Group]

    @property
    def findings(self) -> list[Finding]:
        return [finding for group in self.groups for finding in group.findings]

    @property
    def bad(self) -> int:
        return sum(finding.state == State.BAD for finding in self.findings)

    @property
    def unknown(self) -> int:
        return sum(finding.state == State.UNKNOWN for finding in self.findings)

    @property
    def is_configured(self) -> bool:
        return not any(finding.is_missing for finding in self.findings)

    def as_json(self) -> dict[str, object]:
        return {
            "well": not self.bad,
            "configured": self.is_configured,
            "groups": [asdict(group) for group in self.groups],
        }


def good(says: str) -> Finding:
    return Finding(State.GOOD, says)


def bad(says: str, fix: str) -> Finding:
    return Finding(State.BAD, says, fix)


def missing(says: str, fix: str) -> Finding:
    return Finding(State.BAD, says, fix, is_missing=True)


def unknown(says: str, fix: str = "") -> Finding:
    return Finding(State.UNKNOWN, says, fix)
