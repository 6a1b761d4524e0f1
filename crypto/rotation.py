"""Moves every stored value to the ring's primary secret: all of them, or none.

New ciphertext is put aside page by page and opened again before it counts, while everybody goes
on writing. Then one short transaction puts it in wherever the row still holds what was read,
moves what was written meanwhile, and changes the registry.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from . import heartbeat, verdict
from .census import Report, keep, name_unreadable
from .columns import Column, Value, encrypted_columns
from .keyring import DecryptionError, Key, KeyRing
from .models import Census, Secret, SecurityEvent
from .staging import Change, Stage, lock, put

FEW = 1000
"""So many values written meanwhile are moved while others wait; with more we begin again."""
LOCK_WAIT = 300
"""Milliseconds to wait for other writers before letting them pass and trying once more."""
COMMIT_WAIT = 20_000
"""Milliseconds for a commit whose answer was lost."""
TRIES = 60
"""Times to ask for a moment without other writers."""
ROUNDS = 3
"""Times to begin again."""


class RotationRefused(Exception):
    """Nothing was changed; the text says why, and what to do."""


class Unreadable(RotationRefused):
    """Some values cannot be opened, and were named."""


class OutcomeUnknown(Exception):
    """The connection was lost at the last step: the values moved, or nothing did."""


@dataclass
class Rotation:
    """What was done, or would be.

    Per column, `moved` values were re-encrypted and `already` ones were under the new secret.
    `raced` values were written while it ran. Other writers waited for `held` seconds at most.
    """

    moved: Counter[str] = field(default_factory=Counter)
    already: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    census: Census = field(default_factory=lambda: Census(columns={}, unreadable=0, named=[]))
    seconds: float = 0
    held: float = 0
    raced: int = 0

    @property
    def columns(self) -> list[str]:
        return list(self.census.columns)

    @property
    def total(self) -> int:
        return self.moved.total() + self.already.total() + self.unreadable.total()


@dataclass(frozen=True)
class Watcher:
    """Whom to tell how far it is, and of each value that cannot be read."""

    page_done: Callable[[int], None] = lambda values: None
    swapping: Callable[[], None] = lambda: None
    unreadable: Report = lambda name, reason: None


class _Crowded(Exception):
    """So much was written meanwhile that moving it would keep others waiting."""


def require_fit(ring: KeyRing, *, force: bool = False) -> None:
    """Raise RotationRefused when it would be refused for what can be seen at once."""
    if not force:
        _require_not_retired(ring.primary)
        _require_everybody_holds(ring.primary)
    _require_something_opens(ring)


def rotate(
    ring: KeyRing,
    *,
    watcher: Watcher | None = None,
    dry_run: bool = False,
    skip_unreadable: bool = False,
    force: bool = False,
) -> Rotation:
    """Re-encrypt under the primary key of `ring` whatever its other keys open.

    Raises RotationRefused, and Unreadable unless `skip_unreadable`; nothing was changed then.
    `force` goes on although living processes lack the new secret; `dry_run` does all but the
    last step.
    """
    watcher = watcher or Watcher()
    for _ in range(ROUNDS):
        with suppress(_Crowded):
            return _Rotating(ring, watcher, skip_unreadable, force).run(dry_run)
    raise RotationRefused(
        "Others kept writing more values than can be moved at once. Nothing was changed; try "
        "again at a quieter time."
    )


class _Rotating:
    """One attempt."""

    def __init__(self, ring: KeyRing, watcher: Watcher, skip_unreadable: bool, force: bool):
        self.ring, self.watcher = ring, watcher
        self.skip_unreadable, self.force = skip_unreadable, force
        self.columns = encrypted_columns()
        self.before = _current()
        self.result = Rotation()
        self.opened_by: set[Key] = set()
        self.started = time.monotonic()

    def run(self, dry_run: bool) -> Rotation:
        require_fit(self.ring, force=self.force)
        stages = [Stage(column, number) for number, column in enumerate(self.columns)]
        try:
            for stage in stages:
                self._fill(stage)
            self._require_not_overtaken()  # It would look as if no secret opened its values.
            self._require_readable()
            self._require_work()
            if not dry_run:
                try:
                    self._swap(stages)
                except KeyboardInterrupt:
                    if not self._was_committed():
                        raise
                self._look_again(stages)
        finally:
            with suppress(DatabaseError):  # They go with the connection; the outcome stands.
                for stage in stages:
                    stage.drop()
        self.result.seconds = time.monotonic() - self.started
        return self.result

    def _fill(self, stage: Stage) -> None:
        name = str(stage.column)
        self.result.census.columns[name] = {}
        for page in stage.column.pages():
            changes, unreadable = self._changes(stage.column, page)
            stage.add(changes)
            moved = sum(was != becomes for _, was, becomes in changes)
            self.result.moved[name] += moved
            self.result.already[name] += len(page) - moved - unreadable
            self.watcher.page_done(len(page))
        stage.prepare()

    def _changes(self, column: Column, page: list[Value]) -> tuple[list[Change], int]:
        """The new ciphertext of each value, and how many cannot be read.

        Those stay as they are, and so does what is under the new secret already.
        """
        primary = self.ring.primary
        changes, reasons = [], {}
        for place, was in page:
            becomes = was
            try:
                key, plain = self.ring.open(was, primary_last=True)
            except DecryptionError as exc:
                reasons[place] = str(exc)
            else:
                if key is not primary:
                    self.opened_by.add(key)
                    becomes = primary.fernet.encrypt(plain).decode()
                    if primary.fernet.decrypt(becomes) != plain:
                        raise RotationRefused(
                            "A new value did not open again. Nothing was changed."
                        )
            changes.append((place, was, becomes))
        self.result.unreadable[str(column)] += name_unreadable(
            column, reasons, self.result.census, self.watcher.unreadable
        )
        return changes, len(reasons)

    def _swap(self, stages: list[Stage]) -> None:
        """All at once. Gives way to other writers, and tries again, until its turn has come."""
        self.watcher.swapping()
        for _ in range(TRIES):
            is_complete = False
            asked = time.monotonic()
            try:
                with transaction.atomic():
                    lock(self.columns, LOCK_WAIT)
                    self._put_in(stages)
                    is_complete = True
            except DatabaseError as exc:
                if is_complete and self._was_committed():
                    return
                if is_complete or not _is_busy(exc):
                    raise
            else:
                self.result.held = time.monotonic() - asked
                return
            time.sleep(random.uniform(0.05, 0.5))  # noqa: S311  (a pause, no secret)
        raise RotationRefused(
            "The tables were never free for a moment: a long transaction holds them, or a VACUUM. "
            "Nothing was changed; try again later."
        )

    def _was_committed(self) -> bool:
        """What became of a commit that failed or was interrupted. Raises OutcomeUnknown."""
        try:
            # Anew: this one may be lost, or left in a transaction that nobody knows of.
            connection.close()
            with transaction.atomic():
                lock(self.columns, COMMIT_WAIT)  # The server may still be at it.
                return Census.objects.filter(taken_at=self.result.census.taken_at).exists()
        except DatabaseError as exc:
            raise OutcomeUnknown(
                f"The connection was lost at the last step: {exc} It is not known whether the "
                "values moved. Keep both secrets. manage.py check_secret shows what is true."
            ) from None

    def _put_in(self, stages: list[Stage]) -> None:
        self.result.raced = 0
        self._require_not_overtaken()
        if not self.force:  # One may have started meanwhile.
            _require_everybody_holds(self.ring.primary)
        for stage in stages:
            if stage.swap() == stage.size == stage.column.count():
                continue  # All is as it was read, and there is nothing else.
            strangers = stage.strangers(FEW + 1)
            if len(strangers) > FEW:
                raise _Crowded
            self.result.raced += self._move(stage.column, strangers)
        self._require_readable()
        for key in self.opened_by:
            Secret.objects.enter(key)
        Secret.objects.make_current(self.ring.primary)
        self._write_down()

    def _move(self, column: Column, values: list[Value]) -> int:
        """Those of `values` that are not under the new secret; returns how many there were."""
        changes = [one for one in self._changes(column, values)[0] if one[1] != one[2]]
        put(column, changes)
        return len(changes)

    def _look_again(self, stages: list[Stage]) -> None:
        """A value may have been encrypted before the swap and written after it."""
        # What was done is done; a census will show what this does not see.
        with suppress(DatabaseError, KeyboardInterrupt), transaction.atomic():
            lock(self.columns, LOCK_WAIT)  # Behind those who waited for the swap; then let go.
        with suppress(DatabaseError, KeyboardInterrupt):
            for stage in stages:
                self.result.raced += self._move(stage.column, stage.strangers(FEW))

    def _write_down(self) -> None:
        """The event, and what a census would find now."""
        result, primary = self.result, self.ring.primary
        result.census.columns = {
            str(column): {primary.fingerprint: column.count() - result.unreadable[str(column)]}
            for column in self.columns
        }
        result.census.seconds = time.monotonic() - self.started
        result.census.taken_at = timezone.now()
        keep(result.census)
        SecurityEvent.objects.record(
            SecurityEvent.Kind.ROTATED,
            f"secret {primary.fingerprint}",
            before=self.before,
            moved=result.moved.total(),
            unreadable=result.census.unreadable,
        )

    # Reasons to stop, with nothing changed

    def _require_not_overtaken(self) -> None:
        if _current() != self.before:
            raise RotationRefused(
                "Another rotation came to its end while this one was preparing. Nothing was "
                "changed here; manage.py check_secret shows what is true now."
            )

    def _require_readable(self) -> None:
        if (count := self.result.unreadable.total()) and not self.skip_unreadable:
            raise Unreadable(
                f"No secret given opens {count} of the stored values, named above. Nothing was "
                "changed. Add the secret that opens them to SESSION_SECRET_FALLBACKS, clear them "
                "with manage.py reset_tokens, or leave them as they are with --skip-unreadable."
            )

    def _require_work(self) -> None:
        is_current = self.before in (None, self.ring.primary.fingerprint)
        if is_current and not self.result.moved.total() and self.result.total:
            raise RotationRefused(
                f"There was nothing to do: {self.result.already.total()} stored values are under "
                f"secret {self.ring.primary.fingerprint} already. Nothing was changed."
            )


def _require_not_retired(key: Key) -> None:
    retired = Secret.objects.filter(pk=key.fingerprint, retired_at__isnull=False).first()
    if retired:
        raise RotationRefused(
            f"The new secret ({key.fingerprint}) was rotated away on "
            f"{retired.retired_at:%Y-%m-%d}; this would go back to it. The values are under "
            f"{_current()}: make that one SESSION_SECRET. To go back on purpose: --force. Nothing "
            "was changed."
        )


def _require_everybody_holds(key: Key) -> None:
    if lacking := heartbeat.living_without(key):
        raise RotationRefused(
            f"These processes do not hold the new secret ({key.fingerprint}) and could read "
            f"nothing afterwards: {', '.join(map(str, lacking))}. Add it to their "
            "SESSION_SECRET_FALLBACKS and restart them, or stop them; one on another machine is "
            "believed gone after 45 s of silence, or with --force. Nothing was changed."
        )


def _require_something_opens(ring: KeyRing) -> None:
    """A wrong secret is one mistake, not a hundred thousand unreadable values."""
    opened, current = verdict.sample(ring), Secret.objects.current()
    is_held = current is not None and current.is_held_by(ring)
    if opened and opened[None] == opened.total() and not is_held:
        under = f" They are under secret {current}." if current else ""
        raise RotationRefused(
            f"None of the secrets given opens what is stored.{under} Put the right one back and "
            "try again. Nothing was changed."
        )


def _current() -> str | None:
    current = Secret.objects.current()
    return current and current.fingerprint


def _is_busy(error: DatabaseError) -> bool:
    """Whether others were at it, and the same may go through in a moment."""
    return getattr(error.__cause__, "sqlstate", "") == "55P03" or "locked" in str(error)
