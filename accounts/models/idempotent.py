"""What was answered to a request, for when it is sent again."""

import json
from datetime import timedelta

from django.conf import settings
from django.db import connection, models
from django.utils import timezone

from . import by_hand

# SQLite has waited already, for its one writer, and wants a WHERE before the ON CONFLICT. On
# PostgreSQL the row is made, and the limit with it, before anybody waits to insert it.
LIMIT = "WHERE true" if settings.IS_SQLITE else "FROM set_config('lock_timeout', %s, true)"
# By hand: the ORM has no such INSERT, and a program waits for both.
BEGIN = f"""
    INSERT INTO idempotent_requests (caller, key, fingerprint, headers, created_at)
    SELECT %s, %s, %s, '{{}}', %s {LIMIT}
    ON CONFLICT (caller, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, created_at = excluded.created_at,
        lease = NULL, leased_until = NULL
    WHERE idempotent_requests.created_at < %s OR idempotent_requests.leased_until < %s
    RETURNING id
"""  # noqa: S608  (our own words)
ANSWER = "UPDATE idempotent_requests SET status = %s, body = %s, headers = %s WHERE id = %s"


class IdempotentRequestQuerySet(models.QuerySet):
    def begin(self, caller: str, key: str, fingerprint: str) -> int | None:
        """The id of this key's row, made by the transaction under way; None when there is one.

        A row that is a day old is made anew. While another transaction makes it, this waits for
        that one. On PostgreSQL the transaction waits for no lock longer than DATABASE_WAIT
        seconds from here on: then comes OperationalError.
        """
        adapt, now = connection.ops.adapt_datetimefield_value, timezone.now()
        old = now - IdempotentRequest.KEPT
        limit = [] if settings.IS_SQLITE else [f"{settings.DATABASE_WAIT}s"]
        values = [caller, key, fingerprint, adapt(now), *limit, adapt(old), adapt(now)]
        with by_hand.cursor() as cursor:
            cursor.execute(BEGIN, values)
            row = cursor.fetchone()
        return row and row[0]

    def answer(self, pk: int, status: int, body: str, headers: dict[str, str]) -> None:
        """Note what was answered, its body as JSON, in the transaction that began the row."""
        with by_hand.cursor() as cursor:
            cursor.execute(ANSWER, [status, body, json.dumps(headers), pk])


class IdempotentRequest(models.Model):
    """A request that named an Idempotency-Key, and what it was answered."""

    KEPT = timedelta(hours=24)

    caller = models.CharField(max_length=40, help_text="Whose key it is.")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="Digest of what was asked.")
    # Only release 0.1.0 writes these two: its hosts and ours run side by side for a while.
    lease = models.UUIDField(null=True, help_text="Of who works on it; NULL once answered.")
    leased_until = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.JSONField(null=True)
    headers = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = IdempotentRequestQuerySet.as_manager()

    class Meta:
        db_table = "idempotent_requests"
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="idempotent_once")]

    def __str__(self) -> str:
        return f"{self.caller}, {self.created_at:%Y-%m-%d %H:%M}"
