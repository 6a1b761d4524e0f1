"""Lists in pages: an opaque cursor says where the last page ended, whatever has come since."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Field as Column
from django.db.models import Model, Q, QuerySet
from django.utils import timezone
from ninja import Field, Schema

from . import problems

USUAL = 50
MOST = 200


class PageQuery(Schema):
    """The parameters of every list: `wanted: Query[PageQuery]`."""

    limit: int = Field(USUAL, ge=1, description=f"How many; never more than {MOST} are given.")
    cursor: str | None = Field(
        None, max_length=500, description="The `next` of the page before; none for the first."
    )


@dataclass(frozen=True)
class Page:
    items: list[Any]
    next: str | None
    """The cursor of the page that follows; None when this is the last."""


def page(rows: QuerySet, wanted: PageQuery, *, by: Sequence[str]) -> Page:
    """The page of `rows` that is `wanted`, in the order of the columns `by`.

    All of `by` go the same way ("-last_message_at", "-pk"), are never NULL, and the last tells
    every two rows apart. Raises Problem for a cursor that no page gave.
    """
    limit = min(wanted.limit, MOST)
    rows = rows.order_by(*by)
    if wanted.cursor is not None:
        rows = rows.filter(_after(rows.model, by, wanted.cursor))
    items = list(rows[: limit + 1])
    has_more = len(items) > limit
    items = items[:limit]
    return Page(items, _cursor(items[-1], by) if has_more else None)


def _cursor(row: Model, by: Sequence[str]) -> str:
    values = [_column(type(row), name).value_to_string(row) for name in by]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _after(model: type[Model], by: Sequence[str], cursor: str) -> Q:
    names = [name.removeprefix("-") for name in by]
    beyond = "lt" if by[0].startswith("-") else "gt"
    values = _values(model, by, cursor)
    after = Q(**{f"{names[-1]}__{beyond}": values[-1]})
    for name, value in reversed(list(zip(names, values, strict=True))[:-1]):
        after = Q(**{f"{name}__{beyond}": value}) | Q(**{name: value}) & after
    # Says what the rest implies, in the one form that an index understands.
    return Q(**{f"{names[0]}__{beyond}e": values[0]}) & after


def _values(model: type[Model], by: Sequence[str], cursor: str) -> list[Any]:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        texts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        columns = [_column(model, name) for name in by]
        return [_value(column, text) for column, text in zip(columns, texts, strict=True)]
    except (ValueError, TypeError, OverflowError, ValidationError, RecursionError):
        text = "This is no cursor of this list. Leave it out to begin with the first page."
        raise problems.invalid("cursor", text, "query") from None


def _value(column: Column, text: Any) -> Any:
    if not isinstance(text, str) or not text.isprintable():
        raise ValueError("no page gave this")
    value = column.to_python(text)
    if not isinstance(value, datetime):
        return value
    if timezone.is_naive(value):
        raise ValueError("no page gave this")
    return value.astimezone(UTC)  # As a database would: here, where it may fail.


def _column(model: type[Model], name: str) -> Column:
    name = name.removeprefix("-")
    return model._meta.pk if name == "pk" else model._meta.get_field(name)
