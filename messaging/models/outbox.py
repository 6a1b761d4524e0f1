"""What goes out beside messages, and how fast anything may."""

from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from accounts.models import Account

from ..queues import Queued, QueuedQuerySet
from .conversations import Conversation
from .messages import Message


class SendingPace(models.Model):
    """What Instagram lets an account send at the moment; whoever takes its messages locks it."""

    account = models.OneToOneField(
        Account, models.CASCADE, primary_key=True, related_name="sending_pace"
    )
    paused_until = models.DateTimeField(null=True)
    next_at = models.DateTimeField(null=True, help_text="Before it no call leaves.")
    used = models.PositiveIntegerField(default=0, help_text="Percent of the tightest limit.")
    told_at = models.DateTimeField(null=True, help_text="When Instagram last said so.")

    class Meta:
        db_table = "sending_paces"

    def __str__(self) -> str:
        return f"{self.account_id}: {self.used} %"


class SenderActionQuerySet(QueuedQuerySet):
    def due(self) -> Self:
        # Exists, not "in": SQLite would go through every conversation by account.
        its_account = OuterRef("conversation__account")
        able = Exists(Account.objects.worth_trying().filter(pk=its_account))
        paused = SendingPace.objects.filter(paused_until__gt=timezone.now(), pk=its_account)
        return super().due().filter(able, ~Exists(paused))


class SenderAction(Queued):
    """A reaction, a sign that somebody types, or that the thread was read (4.1).

    The row goes once it is done. What failed stays, for whoever reacted to see.
    """

    class Kind(models.TextChoices):
        REACTION = "reaction", "reaction"
        TYPING_ON = "typing_on", "typing"
        TYPING_OFF = "typing_off", "typing no more"
        MARK_SEEN = "mark_seen", "seen"

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="sender_actions")
    kind = models.CharField(max_length=16, choices=Kind)
    message = models.OneToOneField(
        Message, models.CASCADE, null=True, related_name="reaction_to_send"
    )
    emoji = models.CharField(max_length=16, blank=True, help_text="Empty takes it back.")
    created_at = models.DateTimeField(default=timezone.now)
    error = models.TextField(blank=True)

    objects = SenderActionQuerySet.as_manager()

    class Meta:
        db_table = "sender_actions"
        constraints = [
            # What is asked last takes the place of what was not done yet.
            models.UniqueConstraint(
                fields=["conversation", "kind"],
                condition=Q(message=None),
                name="sender_action_once",
            ),
        ]
        indexes = [
            models.Index(
                fields=["due_at"], name="sender_action_due", condition=Q(due_at__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} in {self.conversation_id}"
