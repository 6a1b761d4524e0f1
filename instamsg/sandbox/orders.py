"""Reading the orders of the control API: each value checked, each mistake in words."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from .wire import BadRequest

if TYPE_CHECKING:
    from .server import Sandbox
    from .settings import Settings
    from .state import Account, Customer

Row = TypeVar("Row", "Account", "Customer", "Settings")


def pair(sandbox: Sandbox, order: dict[str, Any]) -> tuple[Account, Customer]:
    account = sandbox.world.account(order.get("account"))
    return account, sandbox.world.customer(order.get("customer"))


def username(order: dict[str, Any]) -> str:
    value = order.get("username")
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._]{1,30}", value):
        raise BadRequest("username is up to 30 letters, digits, dots and underscores.")
    return value


def changed(row: Row, order: dict[str, Any], fixed: tuple[str, ...]) -> Row:
    """The row with the values of the order; what is fixed may be named but not changed."""
    unknown = [name for name in order if name not in row.__dataclass_fields__]
    moved = [name for name in fixed if name in order and order[name] != getattr(row, name)]
    if unknown or moved:
        raise BadRequest(f"These cannot be set: {', '.join(unknown + moved)}.")
    return replace(row, **order)


def decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error:
        raise BadRequest("body_base64 is not base64.") from None


def number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise BadRequest(f"{name} is a number, zero or more.")
    return value


def whole(value: Any, name: str, least: int, most: int) -> int:
    if number(value, name) != int(value) or not least <= value <= most:
        raise BadRequest(f"{name} is a whole number from {least} to {most}.")
    return int(value)


def listed(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRequest(f"{name} is a list of words.")
    return value


def one_of(value: Any, name: str, choices: Iterable[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise BadRequest(f"{name} is one of {', '.join(choices)}.")
    return value
