"""Warnings that nobody overlooks: a box on a terminal, a plain log record everywhere else."""

import logging

from rich.console import Console
from rich.panel import Panel

logger = logging.getLogger(__name__)


def show(title: str, body: str, level: int = logging.CRITICAL) -> None:
    console = Console(stderr=True)
    if not console.is_terminal:
        logger.log(level, "%s\n%s", title, body)
        return
    color = "red" if level >= logging.ERROR else "yellow"
    panel = Panel(f"{title}\n\n{body}", border_style=f"bold {color}", style=color)
    console.print(panel, markup=False)
