"""Moving in from the predecessor: its SQLite file is read, and what it holds becomes our rows."""

from .report import Report
from .source import CannotMoveIn, Source
from .steps import SecretsDiffer, move_in, prove, total

__all__ = ["CannotMoveIn", "Report", "SecretsDiffer", "Source", "move_in", "prove", "total"]
