"""What Instagram told, as it was signed, and what became of each event in it."""

from django.db import models
from django.db.models import Case, Exists, OuterRef, Q, Value, When
from django.utils import timezone

from accounts.models import Account

from ..events import Kind
from ..queues import Queued, QueuedQuerySet


class State(models.TextChoices):
    """What has become of a notification, or of one event in it."""

    PENDING = "pending", "Pending"
    PROCESSED = "processed", "Processed"
    UNHANDLED = "unhandled", "Kept, not shown"
    FAILED = "failed", "Failed"


class WebhookEventQuerySet(QueuedQuerySet):
    def sum_up(self) -> None:
        """Set each one's state to the worst among its events; belongs into a transaction."""
        # Two workers may settle events of one body: the second must see what the first wrote.
        pks = list(self.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
        events = InboundEvent.objects.filter(webhook=OuterRef("pk"))
        worst = (State.PENDING, State.FAILED, State.UNHANDLED)
        cases = [When(Exists(events.filter(state=state)), then=Value(state)) for state in worst]
        self.model.objects.filter(pk__in=pks).update(
            state=Case(*cases, default=Value(State.PROCESSED))
        )


class WebhookEvent(Queued):
    """A notification exactly as Meta signed it, stored before anything reads it.

    As a job it is due until it has been split into its events. `state` sums those up.
    """

    State = State

    body = models.BinaryField(help_text="Bytes: no text column holds every signed body.")
    received_at = models.DateTimeField(default=timezone.now, db_index=True)
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)

    objects = WebhookEventQuerySet.as_manager()

    class Meta:
        db_table = "webhook_events"
        indexes = [
            models.Index(fields=["due_at"], name="event_due", condition=Q(due_at__isnull=False))
        ]

    def __str__(self) -> str:
        return f"webhook {self.pk}"


class InboundEvent(Queued):
    """One event of a notification, and what became of it."""

    State = State

    webhook = models.ForeignKey(WebhookEvent, models.CASCADE, related_name="events", db_index=False)
    position = models.PositiveIntegerField(help_text="Its place in the body, from 0.")
    account = models.ForeignKey(
        Account, models.CASCADE, null=True, related_name="events", db_index=False
    )
    instagram_account_id = models.CharField(
        max_length=64, blank=True, help_text="The account that it names, ours or not."
    )
    igsid = models.CharField(max_length=64, blank=True)
    kind = models.CharField(max_length=16, choices=[(k.value, k.value) for k in Kind])
    mid_digest = models.BinaryField(
        max_length=16, null=True, help_text="Stands for the message that it brings or is about."
    )
    dedupe_key = models.BinaryField(
        max_length=16, help_text="The same for copies alone: an edit is no copy of its message."
    )
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    reason = models.TextField(blank=True)

    NOT_HERE = "About a message that is not here."
    """The reason of what waits for its message, in case that comes late."""

    class Meta:
        db_table = "inbound_events"
        constraints = [models.UniqueConstraint(fields=["webhook", "position"], name="inbound_once")]
        indexes = [
            models.Index(fields=["account", "id"], name="inbound_account"),
            models.Index(fields=["mid_digest"], name="inbound_message"),
            models.Index(fields=["due_at"], name="inbound_due", condition=Q(due_at__isnull=False)),
            models.Index(
                fields=["instagram_account_id"],
                name="inbound_unrouted",
                condition=Q(account__isnull=True) & ~Q(instagram_account_id=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"
