"""What was answered to a request, for when it is sent again."""

from datetime import timedelta

from django.db import models
from django.utils import timezone


class IdempotentRequest(models.Model):
    """A request that named an Idempotency-Key: under way, or answered, and with what."""

    KEPT = timedelta(hours=24)

    caller = models.CharField(max_length=40, help_text="Whose key it is.")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="Digest of what was asked.")
    lease = models.UUIDField(null=True, help_text="Of who works on it; NULL once answered.")
    leased_until = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.JSONField(null=True)
    headers = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        db_table = "idempotent_requests"
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="idempotent_once")]

    def __str__(self) -> str:
        return f"{self.caller}, {self.created_at:%Y-%m-%d %H:%M}"
