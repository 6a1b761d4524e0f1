"""Clears stored values, so that they can be made anew: the way back after a lost secret.

It never needs the lost secret, and by default clears only what no secret on the ring opens.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import connection, transaction
from django.dispatch import Signal

from . import census, heartbeat
from .columns import Column, Name, Value, encrypted_columns, parameter
from .keyring import KeyRing
from .models import Secret, SecurityEvent

values_cleared = Signal()
"""Sent by the model, with `field` and the `pks` of rows that lost their value, in the same
transaction: who knows the model sees to the rest, and tells people."""

clearing_announced = Signal()
"""Sent likewise, with `field` and `pks`, when values are going to be cleared; receivers tell the
people concerned, and return how many they were."""


class ResetRefused(Exception):
    """Nothing was cleared; the text says why."""


@dataclass(frozen=True)
class Scope:
    """What to clear: what cannot be opened, or everything; of all rows, or of some."""

    everything: bool = False
    pks: frozenset[str] = frozenset()

    def includes(self, ring: KeyRing, ciphertext: str) -> bool:
        return self.everything or not ring.opens(ciphertext)


Page = tuple[Column, dict[Value, Name]]
"""Some values of one column, by the names of their rows."""


def require_fit(ring: KeyRing, scope: Scope) -> None:
    """Raise ResetRefused when this looks like a wrong secret rather than a lost one."""
    if scope.everything:
        return
    if ring.primary is None:
        raise ResetRefused(
            "SESSION_SECRET is not set here, so every value would look unreadable. Set it as the "
            "site has it, or clear everything with --all. Nothing was cleared."
        )
    current = Secret.objects.current()
    if current and ring.find(current.fingerprint) is None:
        holders = [one for one in heartbeat.living() if current.fingerprint in one.fingerprints]
        if holders:
            raise ResetRefused(
                f"The secret under which the values are ({current.fingerprint}) is not lost: "
                f"{', '.join(map(str, holders))} holds it. Run this command with the environment "
                "of that process. Nothing was cleared."
            )


def chosen(ring: KeyRing, scope: Scope) -> Iterator[Page]:
    """What `scope` would clear now, some at a time."""
    for column in encrypted_columns():
        for page in column.pages():
            found = [value for value in page if scope.includes(ring, value[1])]
            names = column.names([place for place, _ in found])
            yield (
                column,
                {
                    value: names[value[0]]
                    for value in found
                    if value[0] in names and (not scope.pks or names[value[0]].pk in scope.pks)
                },
            )


def clear(ring: KeyRing, scope: Scope, cleared: Callable[[Name], None]) -> int:
    """Clear what `scope` covers, with what each field `clears`, and report each row.

    Some at a time: what was cleared stays so if this is interrupted, and the rest can follow. A
    value that somebody replaces meanwhile stays. Returns how many were cleared.
    """
    count = 0
    for column, values in chosen(ring, scope):
        with transaction.atomic():
            names = [name for value, name in values.items() if _clear(column, value)]
            if names:
                pks = [name.pk for name in names]
                values_cleared.send(column.model, field=column.field, pks=pks)
                _record(scope, pks)
        count += len(names)
        for name in names:
            cleared(name)
    _count_anew(ring)
    return count


def announce(ring: KeyRing, scope: Scope) -> int:
    """Tell the people concerned that `scope` is going to be cleared; returns how many were told."""
    told = 0
    for column, values in chosen(ring, scope):
        if values:
            pks = [name.pk for name in values.values()]
            answers = clearing_announced.send(column.model, field=column.field, pks=pks)
            told += sum(answer or 0 for _, answer in answers)
    return told


def _clear(column: Column, value: Value) -> bool:
    fields = [column.field, *map(column.model._meta.get_field, column.field.clears)]
    nulls = ", ".join(f"{connection.ops.quote_name(field.column)} = NULL" for field in fields)
    place, was = value
    mark, was = parameter(was)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {column.table} SET {nulls} "  # noqa: S608  (our names)
            f"WHERE {column.locator} = %s AND {column.column} = {mark}",
            [place, was],
        )
        return cursor.rowcount == 1


def _record(scope: Scope, pks: list[str]) -> None:
    what = "everything" if scope.everything else "what no secret opens"
    SecurityEvent.objects.record(
        SecurityEvent.Kind.RESET, what, cleared=len(pks), first=sorted(pks)[:20]
    )


def _count_anew(ring: KeyRing) -> None:
    counted = census.take(ring)
    census.keep(counted)
    primary = ring.primary
    if primary and not counted.unreadable and set(counted.by_secret) <= {primary.fingerprint}:
        with transaction.atomic():
            Secret.objects.make_current(primary)  # Nothing needs another any more.
