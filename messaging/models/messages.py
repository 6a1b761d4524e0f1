"""Messages, of both sides."""

import secrets
import time
from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef, Q

from accounts.models import Account, User

from ..queues import Queued, QueuedQuerySet
from .writing import WritingQuerySet


def new_message_id() -> str:
    """`msg_`, the milliseconds since 1970, and 64 random bits, in hex.

    Time first, as in RFC 9562's UUIDv7: new ids stand beside each other in their index, where
    random ones would each touch another page of it.
    """
    return f"msg_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


class MessageQuerySet(QueuedQuerySet, WritingQuerySet):
    def for_user(self, user: User) -> Self:
        return self.filter(account__in=Account.objects.for_user(user))

    def for_thread(self) -> Self:
        """With all that a thread shows of them, but for their account."""
        rows = self.select_related("written_by", "rule", "reaction_to_send")
        return rows.prefetch_related("attachments")

    def for_api(self) -> Self:
        """With all that the API tells of them, but for their conversation."""
        rows = self.select_related("written_by", "reaction_to_send")
        return rows.prefetch_related("attachments")

    def before(self, message: "Message") -> Self:
        """Those that stand above `message` in its thread."""
        same_moment = Q(timestamp=message.timestamp, pk__lt=message.pk)
        return self.filter(Q(timestamp__lt=message.timestamp) | same_moment)

    def heads(self) -> Self:
        """Without those that have an earlier one of their conversation still on its way."""
        earlier = Message.objects.filter(
            conversation=OuterRef("conversation"),
            pk__lt=OuterRef("pk"),
            status__in=[Message.Status.QUEUED, Message.Status.SENDING],
        )
        return self.filter(~Exists(earlier))

    def due(self) -> Self:
        """Those that can be sent now, as far as their conversation and account go."""
        worth_trying = Account.objects.worth_trying()
        queued = super().due().filter(status=Message.Status.QUEUED, account__in=worth_trying)
        return queued.heads()


class Message(Queued):
    """One message. An outgoing one that was written here is also its own send job."""

    class Direction(models.TextChoices):
        IN = "in", "from the customer"
        OUT = "out", "from the account"

    class Status(models.TextChoices):
        RECEIVED = "received", "Received"
        QUEUED = "queued", "Waiting"
        SENDING = "sending", "Sending"
        SENT = "sent", "Sent"
        FAILED = "failed", "Not sent"
        UNCONFIRMED = "unconfirmed", "Not confirmed"

    class Tag(models.TextChoices):
        HUMAN_AGENT = "HUMAN_AGENT", "by a person, after the 24 hours"

    public_id = models.CharField(max_length=32, unique=True, default=new_message_id, editable=False)
    account = models.ForeignKey(Account, models.CASCADE, related_name="messages")
    conversation = models.ForeignKey(
        "Conversation", models.CASCADE, db_index=False, related_name="messages"
    )
    direction = models.CharField(max_length=8, choices=Direction)
    status = models.CharField(max_length=16, choices=Status)
    mid = models.CharField(max_length=512, blank=True, help_text="Instagram's id of the message.")
    mid_digest = models.BinaryField(
        max_length=16, null=True, help_text="Of account and mid: what indexes hold."
    )
    text = models.TextField(blank=True)
    timestamp = models.DateTimeField(help_text="By Instagram's clock, as soon as that is known.")
    created_at = models.DateTimeField(auto_now_add=True)
    change = models.PositiveBigIntegerField(default=0, editable=False)

    context = models.JSONField(default=dict, help_text="What it answers, and how it came.")
    reactions = models.JSONField(default=dict, help_text="By id of who reacted: emoji, and when.")
    edit_number = models.PositiveSmallIntegerField(default=0)
    edited_at = models.DateTimeField(null=True)
    unsent_at = models.DateTimeField(
        null=True, help_text="Taken back: nothing of what it said is left."
    )

    # Of those written here only.
    is_from_here = models.BooleanField(default=False)
    written_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, db_index=False, related_name="+"
    )
    submission = models.UUIDField(
        null=True, editable=False, help_text="One per form shown: a second click sends nothing."
    )
    # Few messages have these: the indexes below hold only those.
    rule = models.ForeignKey(
        "Rule", models.SET_NULL, null=True, editable=False, db_index=False, related_name="+"
    )
    answers = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        editable=False,
        db_index=False,
        related_name="+",
        help_text="The message that a rule answered with this one.",
    )
    quick_replies = models.JSONField(default=list, help_text="What the customer may tap.")
    tag = models.CharField(max_length=16, blank=True, choices=Tag)
    called_at = models.DateTimeField(null=True, editable=False)
    error = models.TextField(blank=True)
    error_code = models.CharField(
        max_length=32, blank=True, help_text="Instagram's code, and its subcode."
    )

    objects = MessageQuerySet.as_manager()

    NOT_ARRIVED = "Somebody looked: it did not arrive."
    """The error of a message that a person found missing."""

    class Meta:
        db_table = "messages"
        ordering = ["timestamp", "pk"]
        constraints = [
            # Instagram delivers webhooks more than once, and two accounts can share a mid.
            models.UniqueConstraint(fields=["mid_digest"], name="message_mid_once"),
            models.UniqueConstraint(
                fields=["conversation", "submission"],
                condition=Q(submission__isnull=False),
                name="message_submission_once",
            ),
            # Whatever is replayed, a message gets one automatic answer.
            models.UniqueConstraint(
                fields=["answers"],
                condition=Q(answers__isnull=False),
                name="message_answered_once",
            ),
        ]
        indexes = [
            models.Index(fields=["conversation", "timestamp"], name="message_thread"),
            models.Index(fields=["conversation", "change"], name="message_change"),
            models.Index(fields=["due_at"], name="message_due", condition=Q(due_at__isnull=False)),
            models.Index(
                fields=["timestamp"],
                name="message_automatic",
                condition=Q(answers__isnull=False),
            ),
            models.Index(
                fields=["written_by"],
                name="message_written_by",
                condition=Q(written_by__isnull=False),
            ),
            models.Index(fields=["rule"], name="message_rule", condition=Q(rule__isnull=False)),
            models.Index(
                fields=["account", "due_at"],
                name="message_queued",
                condition=Q(status="queued"),
            ),
            models.Index(
                fields=["account", "called_at"],
                name="message_called",
                condition=Q(called_at__isnull=False),
            ),
            models.Index(
                fields=["conversation", "id"],
                name="message_under_way",
                condition=Q(status__in=["queued", "sending"]),
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def is_out(self) -> bool:
        return self.direction == self.Direction.OUT

    @property
    def is_automatic(self) -> bool:
        """Whether a rule wrote it, be that rule still there or not."""
        return self.answers_id is not None

    def emoji(self) -> list[str]:
        """The reactions that stand."""
        return [one["emoji"] for one in self.reactions.values() if one["emoji"]]

    @property
    def own_emoji(self) -> str:
        """The reaction of the account itself, or ""."""
        return self.reactions.get(self.account.instagram_account_id, {}).get("emoji", "")
