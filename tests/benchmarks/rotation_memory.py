"""The most memory that a process ever has which moves few tokens, or many."""

from functools import partial

from django.db import connection

from .measuring import Figures, Table, interleave
from .tokens import ONE, OTHER, answer, fill, opened_by, process

WAYS = {"rotate()": "rotate", "Django, bulk_update": "django_loop"}


def run(few: int = 5_000, many: int = 100_000, rounds: int = 3) -> list[Table]:
    results = interleave(
        {
            _case(name, rows): partial(_move, way, rows)
            for rows in (few, many)
            for name, way in WAYS.items()
        },
        rounds,
    )
    for name in WAYS:
        for less, more in zip(*(results[_case(name, rows)] for rows in (few, many)), strict=True):
            more["more than with few, MiB"] = more["peak MiB"] - less["peak MiB"]
    return [Table(f"rotation_memory: on {connection.display_name}", "peak MiB", results)]


def _case(name: str, rows: int) -> str:
    return f"{name}, {rows:,} accounts"


def _move(way: str, rows: int) -> Figures:
    fill(rows, ONE)
    found = answer(process(way, new=OTHER, old=ONE))
    return {
        "peak MiB": found["peak MiB"],
        "before it began MiB": found["before MiB"],
        "left behind": rows - opened_by(OTHER),
    }
