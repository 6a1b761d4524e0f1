"""Deleting many rows while others write."""

from django.db.models import QuerySet

from .queues import rest

BATCH = 200


def delete(rows: QuerySet) -> int:
    """Delete `rows`, and what hangs on them, a batch at a time; returns how many went.

    A batch is one transaction. What no longer belongs to `rows` by then stays.
    """
    gone = 0
    while pks := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        rows.filter(pk__in=pks).only("pk").delete()  # Bodies may be large.
        gone += len(pks)
        rest()
    return gone
