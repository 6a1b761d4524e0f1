"""Interleave, repeat, print: what every benchmark shares."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from unittest.mock import patch

Figures = dict[str, float]


def interleave(cases: dict[str, Callable[[], Figures]], rounds: int) -> dict[str, list[Figures]]:
    """Run every case once a round: a slow minute of the machine then slows them all."""
    found: dict[str, list[Figures]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(case())
    return found


def waits(seconds: list[float]) -> Figures:
    """How long the typical one, all but some in a hundred, and the unluckiest had to wait."""
    ordered = sorted(seconds)
    p95, p99 = (ordered[math.ceil(len(ordered) * part) - 1] for part in (0.95, 0.99))
    return {
        "median ms": median(ordered) * 1000,
        "p95 ms": p95 * 1000,
        "p99 ms": p99 * 1000,
        "longest ms": ordered[-1] * 1000,
    }


@dataclass(frozen=True)
class Table:
    """One line per case; the first is the yardstick. `ratio_of` names the figure to compare."""

    title: str
    ratio_of: str
    results: dict[str, list[Figures]]

    def ratios(self, case: str) -> list[float]:
        """Round by round: what happened in the same minute is compared."""
        yardstick = next(iter(self.results.values()))
        pairs = zip(self.results[case], yardstick, strict=True)
        return [mine[self.ratio_of] / its[self.ratio_of] for mine, its in pairs]

    def __str__(self) -> str:
        columns = list(dict.fromkeys(k for found in self.results.values() for k in found[0]))
        lines = [["", "ratio", *columns]]
        for case, found in self.results.items():
            figures = [[one[name] for one in found if name in one] for name in columns]
            lines.append([case, *map(_cell, [self.ratios(case), *figures])])
        rounds = len(next(iter(self.results.values())))
        legend = f"ratio of “{self.ratio_of}”, median (least to most) of {rounds} rounds"
        return "\n".join([self.title, legend, "", *_aligned(lines)])


def on_databases(table: Callable[[str], Table], *, sqlite_too: bool = True) -> list[Table]:
    """`table` of SQLite, and of PostgreSQL as well, or instead, when DATABASE_URL names one."""
    server = os.environ.get("DATABASE_URL", "")
    is_postgres = server.startswith(("postgres://", "postgresql://"))
    tables = []
    if sqlite_too or not is_postgres:
        with patch.dict(os.environ):
            os.environ.pop("DATABASE_URL", None)
            tables.append(table("SQLite"))
    if is_postgres:
        tables.append(table("PostgreSQL"))
    return tables


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    least, most = _number(min(values)), _number(max(values))
    return least if least == most else f"{_number(median(values))} ({least} to {most})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def _aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
