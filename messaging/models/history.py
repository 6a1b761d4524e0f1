"""What is asked of Instagram afterwards: messages that webhooks did not bring."""

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from accounts.models import Account

from ..queues import Queued, QueuedQuerySet


class MissingMessageQuerySet(QueuedQuerySet):
    def due(self) -> Self:
        return super().due().askable()

    def askable(self) -> Self:
        """One of each account at a time, and none of an account that is being walked through, or
        just was: the walk finds it too, and of both together Instagram takes two calls a second.
        """
        same = MissingMessage.objects.filter(account=OuterRef("account"))
        earlier = Q(due_at__lt=OuterRef("due_at"))
        earlier |= Q(due_at=OuterRef("due_at"), pk__lt=OuterRef("pk"))
        under_way = Q(lease__isnull=False, due_at__gt=timezone.now())
        just_now = timezone.now() - timedelta(seconds=1)
        walks = HistorySync.objects.filter(account=OuterRef("account"))
        walks = walks.filter(Q(finished_at=None) | Q(finished_at__gt=just_now))
        return self.filter(
            ~Exists(same.filter(earlier)),
            ~Exists(same.filter(under_way)),
            ~Exists(walks),
            account__in=Account.objects.worth_trying(),
        )


class MissingMessage(Queued):
    """A message that Instagram spoke of, and that has not come: it is asked for."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="+")
    mid = models.CharField(max_length=512)
    mid_digest = models.BinaryField(max_length=16)

    objects = MissingMessageQuerySet.as_manager()

    class Meta:
        db_table = "missing_messages"
        constraints = [models.UniqueConstraint(fields=["mid_digest"], name="missing_once")]

    def __str__(self) -> str:
        return f"missing message {self.pk}"


class HistorySync(Queued):
    """One walk through an account's recent conversations, as Instagram has them.

    As a job it is due for its next call until it has ended; `cursor` says where it is.
    """

    class Reason(models.TextChoices):
        CONNECTED = "connected", "The account was connected"
        RECONNECTED = "reconnected", "The account was reconnected"
        ASKED = "asked", "Somebody asked for it"
        OUTAGE = "outage", "No webhook came for a long time"
        KEY_RECOVERED = "key_recovered", "The access token could not be read for a while"

    class State(models.TextChoices):
        PENDING = "pending", "Begins soon"
        RUNNING = "running", "Under way"
        FINISHED = "finished", "Finished"
        FAILED = "failed", "Stopped"

    account = models.ForeignKey(Account, models.CASCADE, related_name="history_syncs")
    reason = models.CharField(max_length=16, choices=Reason)
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True, help_text="When it ended, well or not.")
    since = models.DateTimeField(help_text="Conversations without news since then are passed over.")
    cursor = models.JSONField(default=dict, editable=False)
    page_size = models.PositiveSmallIntegerField(default=10, editable=False)
    failures = models.PositiveSmallIntegerField(default=0, help_text="In a row.")
    conversations_seen = models.PositiveIntegerField(default=0)
    messages_seen = models.PositiveIntegerField(default=0)
    messages_new = models.PositiveIntegerField(default=0, help_text="Were not here, now they are.")
    messages_left = models.PositiveIntegerField(
        default=0, help_text="Are not here, and Instagram no longer tells what they say."
    )
    error = models.TextField(blank=True)

    class Meta:
        db_table = "history_syncs"
        constraints = [
            models.UniqueConstraint(
                fields=["account"], condition=Q(finished_at=None), name="history_sync_one_at_a_time"
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at"], name="history_sync_due", condition=Q(due_at__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"walk {self.pk}"

    @property
    def is_under_way(self) -> bool:
        return self.finished_at is None

    @property
    def gaps_found(self) -> int:
        return self.messages_new + self.messages_left
