"""Moving in from the predecessor: its SQLite file is read, and what it holds becomes our rows."""

from .report import COUNTED, Report
from .source import CannotMoveIn, Source
from .steps import SecretsDiffer, move_in, prove, total

__all__ = [
    "COUNTED",
    "CannotMoveIn",
    "Report",
    "SecretsDiffer",
    "Source",
    "move_in",
    "prove",
    "total",
]
