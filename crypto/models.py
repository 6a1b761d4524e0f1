"""What is known of every secret that encrypted here, who runs with which, and what was done."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NoReturn

from django.db import connections, models
from django.utils import timezone

from . import actor
from .keyring import DecryptionError, Key, KeyRing

SENTINEL = "What opens this is the secret that its fingerprint names."
ROTATE_EVERY = timedelta(days=365)


class SupersededSecret(Exception):
    """This process runs a retired secret: nobody could open what it writes, so it wrote nothing."""

    def __init__(self):
        super().__init__(
            "The database was rotated to another SESSION_SECRET, and this process still runs the "
            "old one. Nothing was stored. The operator gives it the current one and restarts it."
        )


class SecretQuerySet(models.QuerySet):
    def current(self) -> "Secret | None":
        """The one under which the stored values are."""
        return self.filter(is_current=True).first()

    def make_current(self, key: Key) -> None:
        """Enter `key` as the current secret, and retire every other one.

        Belongs into the transaction that moves the values, so that registry and values never
        disagree.
        """
        others = self.exclude(fingerprint=key.fingerprint)
        others.filter(retired_at=None).update(
            is_current=False, retired_at=timezone.now(), retired_by=actor.current().name
        )
        self.enter(key)
        self.filter(fingerprint=key.fingerprint).update(
            is_current=True, retired_at=None, retired_by=""
        )

    def note_use(self, ring: KeyRing, anything_stored: Callable[[], bool]) -> Key:
        """The key of `ring` to write a value with: the primary one, unless it is retired.

        Enters it when it is new; it becomes the current one when there is none yet, or when
        nothing is stored that would need the other. Raises SupersededSecret when it is retired
        and the current one is not on the ring. In a transaction the registry stays as it is
        until that ends, so that no rotation comes between.
        """
        key = ring.primary
        locked = connections[self.db].in_atomic_block
        rows = self.select_for_update(no_key=True) if locked else self
        current = rows.filter(is_current=True).first()
        if current and current.fingerprint == key.fingerprint:
            return key
        if self.is_retired(key):
            if current is None or (held := ring.find(current.fingerprint)) is None:
                raise SupersededSecret
            return held
        if current is None or not anything_stored():
            self.make_current(key)
        else:
            self.enter(key)
        return key

    def is_retired(self, key: Key) -> bool:
        return self.filter(pk=key.fingerprint, retired_at__isnull=False).exists()

    def enter(self, key: Key) -> bool:
        """Know `key` from now on. False when it was known."""
        sentinel = key.fernet.encrypt(SENTINEL.encode()).decode()
        _, is_new = self.get_or_create(fingerprint=key.fingerprint, defaults={"sentinel": sentinel})
        if is_new:
            SecurityEvent.objects.record(
                SecurityEvent.Kind.SECRET_FIRST_USED, f"secret {key.fingerprint}"
            )
        return is_new


class Secret(models.Model):
    """One that encrypted something here. Its row helps to guess it no more than a value does."""

    fingerprint = models.CharField(primary_key=True, max_length=12)
    sentinel = models.TextField(help_text="A known text, encrypted under this secret.")
    is_current = models.BooleanField(default=False)
    first_used_at = models.DateTimeField(default=timezone.now)
    retired_at = models.DateTimeField(null=True)
    retired_by = models.CharField(max_length=150, blank=True)

    objects = SecretQuerySet.as_manager()

    class Meta:
        db_table = "secrets"
        ordering = ["-first_used_at"]
        verbose_name = "secret"
        constraints = [
            models.UniqueConstraint(
                fields=["is_current"],
                condition=models.Q(is_current=True),
                name="one_current_secret",
            )
        ]

    def __str__(self) -> str:
        return self.fingerprint

    @property
    def rotation_due_at(self) -> datetime:
        return self.first_used_at + ROTATE_EVERY

    @property
    def is_due(self) -> bool:
        """Whether it has been in use for more than a year."""
        return self.rotation_due_at <= timezone.now()

    def is_held_by(self, ring: KeyRing) -> bool:
        """Whether a key on `ring` opens the sentinel: a proof, where a fingerprint is a name."""
        try:
            return ring.open(self.sentinel)[1] == SENTINEL.encode()
        except DecryptionError:
            return False


class ProcessQuerySet(models.QuerySet):
    def alive(self) -> "ProcessQuerySet":
        return self.filter(seen_at__gt=timezone.now() - Process.SILENCE)


class Process(models.Model):
    """A web or worker process, and the secrets on its ring, as it said last."""

    BEAT = timedelta(seconds=15)
    SILENCE = 3 * BEAT
    """Who says nothing for so long is taken for dead."""

    kind = models.CharField(max_length=16)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    pid_namespace = models.CharField(
        max_length=64, blank=True, help_text="Within which the number means this process."
    )
    fingerprints = models.JSONField(help_text="Of its ring; the one that encrypts comes first.")
    verdict = models.CharField(max_length=32, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)

    objects = ProcessQuerySet.as_manager()

    class Meta:
        db_table = "processes"
        ordering = ["host", "kind", "pid"]
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return f"{self.kind} process {self.pid} on {self.host}"


class Census(models.Model):
    """How many stored values each secret opens, every one of them tried."""

    NAMED = 100
    """So many unreadable values are kept by name; all are counted."""

    taken_at = models.DateTimeField(default=timezone.now)
    seconds = models.FloatField()
    columns = models.JSONField(help_text="Column → fingerprint → number of values.")
    unreadable = models.PositiveIntegerField()
    named = models.JSONField(help_text="Unreadable ones: column, pk, and name for people.")

    class Meta:
        db_table = "census"
        verbose_name_plural = "census"

    def __str__(self) -> str:
        return f"census of {self.taken_at:%Y-%m-%d %H:%M}"

    @property
    def by_secret(self) -> dict[str, int]:
        """Fingerprint → number of values in all columns."""
        total: dict[str, int] = {}
        for counts in self.columns.values():
            for fingerprint, count in counts.items():
                total[fingerprint] = total.get(fingerprint, 0) + count
        return total


class SecurityEventQuerySet(models.QuerySet):
    def record(self, kind: "SecurityEvent.Kind", subject: str = "", **details: Any) -> None:
        """Write down that whoever acts now did `kind` to `subject`.

        `details` are fingerprints, counts and other plain values; never a secret or a text.
        """
        who = actor.current()
        self.create(
            kind=kind,
            subject=subject[:255],
            actor=details.pop("actor", who.name)[:150],
            address=who.address,
            details=details,
        )

    def bulk_create(self, objs, batch_size=None, *, ignore_conflicts=False):
        """As Django's, without `update_conflicts`, which would change rows."""
        return super().bulk_create(objs, batch_size, ignore_conflicts)

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("Security events are only ever added.")

    update = delete = bulk_update = _refuse


class SecurityEvent(models.Model):
    """Who did what to secrets, tokens and logins, from where, and when. Only ever added to."""

    class Kind(models.TextChoices):
        SECRET_FIRST_USED = "secret_first_used", "Secret used for the first time"
        SECRET_CHANGED = "secret_changed", "Start with another secret"
        ROTATED = "rotated", "Secret rotated"
        RESET = "reset", "Values reset"
        CONNECTED = "connected", "Account connected"
        DISCONNECTED = "disconnected", "Account disconnected"
        DECRYPTION_FAILED = "decryption_failed", "Token could not be opened"
        REFRESH_FAILED = "refresh_failed", "Token could not be refreshed"
        LOGGED_IN = "logged_in", "Login"
        LOGIN_FAILED = "login_failed", "Login failed"
        API_KEY_MADE = "api_key_made", "API key made"
        API_KEY_REVOKED = "api_key_revoked", "API key revoked"
        ENDPOINT_MADE = "endpoint_made", "CRM endpoint added"
        ENDPOINT_CHANGED = "endpoint_changed", "CRM endpoint changed"
        ENDPOINT_ROTATED = "endpoint_rotated", "Secret of a CRM endpoint replaced"
        ENDPOINT_ON = "endpoint_on", "CRM endpoint switched on"
        ENDPOINT_OFF = "endpoint_off", "CRM endpoint switched off"
        ENDPOINT_DELETED = "endpoint_deleted", "CRM endpoint deleted"
        EXPORTED = "exported", "Security events exported"

    at = models.DateTimeField(default=timezone.now, db_index=True)
    kind = models.CharField(max_length=32, choices=Kind)
    actor = models.CharField(max_length=150, help_text="Who did it.")
    address = models.GenericIPAddressField(null=True, help_text="From where over the network.")
    subject = models.CharField(max_length=255, blank=True, help_text="To what.")
    details = models.JSONField(default=dict, help_text="Fingerprints and counts.")

    objects = SecurityEventQuerySet.as_manager()

    class Meta:
        db_table = "security_events"
        ordering = ["-at", "-pk"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.subject or self.actor}"

    def save(self, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Security events are only ever added.")
        # Another object with an id that is taken would overwrite that row.
        super().save(**kwargs | {"force_insert": True})

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Security events are only ever added.")
