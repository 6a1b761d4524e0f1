"""What is remembered for those who watch the site: how often something happened, and when last."""

from collections.abc import Mapping
from datetime import datetime

from django.db import connection, models
from django.utils import timezone

BEFORE, VALUES = "INSERT INTO tallies (kind, outcome, count) VALUES ", "(%s, %s, %s)"
AFTER = " ON CONFLICT (kind, outcome) DO UPDATE SET count = tallies.count + excluded.count"
"""By hand: no update of the ORM adds to rows and makes those that are missing."""


class TallyQuerySet(models.QuerySet):
    def add(self, kind: str, counts: Mapping[str, int]) -> None:
        """Count on, by outcome, however many processes do.

        Belongs at the end of the transaction that brought the outcomes: they are counted once, or
        undone together, and the rows that everybody counts in are locked for a moment only.
        """
        rows = [(kind, outcome, count) for outcome, count in sorted(counts.items()) if count]
        if not rows:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                BEFORE + ", ".join([VALUES] * len(rows)) + AFTER,
                [value for row in rows for value in row],
            )


class Tally(models.Model):
    """How often something has ended in one way, since the site was set up; it never shrinks."""

    kind = models.CharField(max_length=16)
    outcome = models.CharField(max_length=32)
    count = models.PositiveBigIntegerField()

    objects = TallyQuerySet.as_manager()

    class Meta:
        db_table = "tallies"
        verbose_name_plural = "tallies"
        constraints = [models.UniqueConstraint(fields=["kind", "outcome"], name="tally_once")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.outcome}"


class SightingQuerySet(models.QuerySet):
    def last(self, kind: "Sighting.Kind", subject: str = "") -> datetime | None:
        return self.filter(kind=kind, subject=subject).values_list("at", flat=True).first()


class Sighting(models.Model):
    """When something about Meta's side was last seen here; a moment more or less."""

    class Kind(models.TextChoices):
        HANDSHAKE = "handshake", "Handshake with our verify token"
        OTHER_TOKEN = "other_token", "Handshake with another token"
        SIGNED = "signed", "Webhook signed with an app secret"
        OTHER_SIGNATURE = "other_signature", "Webhook with a signature by no app secret"

    kind = models.CharField(max_length=16, choices=Kind)
    subject = models.CharField(
        max_length=12, blank=True, help_text="The fingerprint of the app secret that signed."
    )
    at = models.DateTimeField(default=timezone.now)

    objects = SightingQuerySet.as_manager()

    class Meta:
        db_table = "sightings"
        constraints = [models.UniqueConstraint(fields=["kind", "subject"], name="sighting_once")]

    def __str__(self) -> str:
        return self.get_kind_display()
