"""Counts, one by one, which secret opens each stored value, and names those that none opens."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from django.db import transaction

from .columns import Column, Name, encrypted_columns
from .keyring import DecryptionError, KeyRing, get_keyring
from .models import Census, Secret

logger = logging.getLogger(__name__)

Report = Callable[[Name, str], None]
"""Told of an unreadable value, and why it cannot be read."""


def take(
    ring: KeyRing,
    report: Report | None = None,
    page_done: Callable[[int], None] = lambda values: None,
) -> Census:
    """Try every stored value; the result is not saved. Memory does not grow with the values."""
    started = time.monotonic()
    census = Census(columns={}, unreadable=0, named=[])
    for column in encrypted_columns():
        census.columns[str(column)] = _count(column, ring, census, report, page_done)
    census.seconds = time.monotonic() - started
    return census


def keep(census: Census) -> None:
    """Store the census in place of an older one; a newer one stays."""
    with transaction.atomic():
        Census.objects.filter(taken_at__lte=census.taken_at).delete()
        if not Census.objects.exists():
            census.save(force_insert=True)


def still_unreadable(census: Census | None, ring: KeyRing) -> Iterator[tuple[Column, str, str]]:
    """Of the values that `census` named those that `ring` does not open now: column, pk, name."""
    named: dict[str, dict[str, str]] = defaultdict(dict)
    for one in census.named if census else []:
        named[one["column"]][one["pk"]] = one["name"]
    for column in encrypted_columns():
        names = named[str(column)]
        for pk, ciphertext in column.ciphertexts(list(names)).items():
            if not ring.opens(ciphertext):
                yield column, pk, names[pk]


def renew() -> int:
    """Count anew, keep the result, and remind in the log of a rotation that is due.

    Returns how many values were tried.
    """
    census = take(get_keyring())
    keep(census)
    current = Secret.objects.current()
    if current and current.is_due:
        logger.warning(
            "SESSION_SECRET %s is in use since %s; a new one is due every 12 months: "
            "docs/session-secret.md",
            current, current.first_used_at.date(),
        )  # fmt: skip
    return sum(census.by_secret.values()) + census.unreadable


def name_unreadable(
    column: Column, reasons: dict[Any, str], census: Census, report: Report | None = None
) -> int:
    """Enter the values at the places that `reasons` explains; returns how many are still there."""
    names = column.names(list(reasons))
    for place, name in names.items():
        if len(census.named) < Census.NAMED:
            census.named.append({"column": str(column), "pk": name.pk, "name": str(name)})
        if report:
            report(name, reasons[place])
    census.unreadable += len(names)
    return len(names)


def _count(
    column: Column,
    ring: KeyRing,
    census: Census,
    report: Report | None,
    page_done: Callable[[int], None],
) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for page in column.pages():
        reasons = {}
        for place, ciphertext in page:
            try:
                key, _ = ring.open(ciphertext)
            except DecryptionError as exc:
                reasons[place] = str(exc)
            else:
                counts[key.fingerprint] += 1
        name_unreadable(column, reasons, census, report)
        page_done(len(page))
    return dict(counts)
