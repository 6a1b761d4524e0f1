"""Who asked for what to be forgotten, and how far that is."""

import secrets

from django.db import models
from django.db.models import F
from django.utils import timezone

from .digests import digest


class DeletionRequest(models.Model):
    """Somebody's wish that accounts be deleted, and the job of the worker that does it.

    Who has the code may see how far it is; only its digest is stored. What has gone is counted
    in the transaction that deleted it.
    """

    class AskedBy(models.TextChoices):
        OWNER = "owner", "An owner, here"
        INSTAGRAM = "instagram", "Instagram, for its user"

    class State(models.TextChoices):
        UNDER_WAY = "under_way", "Under way"
        DONE = "done", "Done"
        NOTHING = "nothing", "Nothing was stored"
        OUTDATED = "outdated", "Older than the connection"
        EARLIER = "earlier", "Under way by an earlier request"

    digest = models.CharField(max_length=64, unique=True, editable=False)
    asked_by = models.CharField(max_length=16, choices=AskedBy)
    state = models.CharField(max_length=16, choices=State, default=State.UNDER_WAY)
    requested_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    # What has gone so far.
    accounts_deleted = models.PositiveIntegerField(default=0)
    members = models.PositiveIntegerField(default=0, help_text="Who had access.")
    conversations = models.PositiveIntegerField(default=0)
    messages = models.PositiveIntegerField(default=0)
    files = models.PositiveIntegerField(default=0)
    notifications = models.PositiveIntegerField(
        default=0, help_text="What Instagram had sent, as it was stored."
    )

    class Meta:
        db_table = "deletion_requests"
        ordering = ["-requested_at"]

    def __str__(self) -> str:
        return f"deletion {self.pk}"

    @classmethod
    def issue(cls, asked_by: str, **fields) -> tuple["DeletionRequest", str]:
        """A new row and its code, which is stored nowhere."""
        code = secrets.token_hex(16)  # Instagram wants letters and digits.
        return cls.objects.create(asked_by=asked_by, digest=digest(code), **fields), code

    def add(self, **gone: int) -> None:
        """Count what goes; belongs into the transaction that deletes it."""
        changes = {name: F(name) + count for name, count in gone.items()}
        DeletionRequest.objects.filter(pk=self.pk).update(**changes)

    def finish(self) -> None:
        under_way = DeletionRequest.objects.filter(pk=self.pk, state=self.State.UNDER_WAY)
        under_way.update(state=self.State.DONE, finished_at=timezone.now())
