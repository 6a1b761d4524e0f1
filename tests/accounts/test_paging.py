import base64
import json
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import paging
from accounts.models import ApiKey
from accounts.paging import PageQuery
from accounts.problems import Problem

BY = ("-created_at", "-pk")


@pytest.fixture
def rows(user):
    """Seven, some of the same moment."""
    now = timezone.now()
    moments = [now - timedelta(seconds=s) for s in (0, 1, 1, 1, 2, 3, 3)]
    ApiKey.objects.bulk_create(
        ApiKey(digest=f"{i}", user=user, name=f"{i}", created_at=moment, expires_at=now)
        for i, moment in enumerate(moments)
    )
    return ApiKey.objects.all()


def walk(rows, by, limit):
    seen, cursor = [], None
    while True:
        page = paging.page(rows, PageQuery(limit=limit, cursor=cursor), by=by)
        seen.append([row.name for row in page.items])
        cursor = page.next
        if cursor is None:
            return seen


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("by", [BY, ("created_at", "pk"), ("-pk",), ("pk",)])
def test_pages_hold_each_row_once_and_in_order(rows, by, limit):
    pages = walk(rows, by, limit)
    expected = [row.name for row in rows.order_by(*by)]
    assert [name for page in pages for name in page] == expected
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1] or not expected


def test_what_comes_meanwhile_moves_no_page(rows, user):
    first = paging.page(rows, PageQuery(limit=3), by=BY)
    ApiKey.objects.create(digest="new", user=user, name="new", expires_at=timezone.now())
    second = paging.page(rows, PageQuery(limit=10, cursor=first.next), by=BY)
    names = [row.name for row in [*first.items, *second.items]]
    assert len(names) == len(set(names)) == 7
    assert "new" not in names


def test_nobody_gets_more_than_the_cap(rows, monkeypatch):
    monkeypatch.setattr(paging, "MOST", 2)
    assert len(paging.page(rows, PageQuery(limit=100_000), by=BY).items) == 2


def cursor(value) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "garbage",
    [
        "", "x", "ä", "====", "a" * 400, cursor(5), cursor({"a": 1}), cursor([]), cursor(["1"]),
        cursor(["2026-01-01", "5"]), cursor(["2026-01-01T00:00:00", "5"]),
        cursor(["2026-01-01T00:00:00Z", "x"]), cursor(["2026-01-01T00:00:00Z", 5]),
        cursor(["0001-01-01T00:00:00+23:59", "5"]), cursor(["9999-12-31T23:59:59-23:59", "5"]),
        cursor(["never", "5"]), cursor(["2026-01-01T00:00:00Z", "5\0"]),
        cursor(["2026-01-01T00:00:00Z", "5", "6"]), cursor("ab"), "W" * 499,
    ],
)  # fmt: skip
def test_a_cursor_that_no_page_gave_is_refused(rows, garbage):
    with pytest.raises(Problem) as refused:
        paging.page(rows, PageQuery(cursor=garbage), by=BY)
    assert refused.value.kind.status == 422
    assert refused.value.members["errors"][0]["field"] == "cursor"


def test_a_made_up_cursor_far_away_is_an_empty_page(rows):
    far = cursor(["2026-01-01T00:00:00+00:00", "9" * 40])
    assert paging.page(rows, PageQuery(cursor=far), by=BY).items == []
