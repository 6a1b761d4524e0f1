"""What came with a message, and the files that are kept of it."""

import secrets
from typing import Self

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, User

from .. import media_policy, media_types
from ..queues import Queued, QueuedQuerySet
from .messages import Message


class AttachmentQuerySet(QueuedQuerySet):
    def for_user(self, user: User) -> Self:
        return self.filter(message__account__in=Account.objects.for_user(user))


def new_attachment_id() -> str:
    return secrets.token_hex(16)


class Attachment(Queued):
    """What came with a message. Its file, once downloaded, lies under an opaque name."""

    class State(models.TextChoices):
        PENDING = "pending", "Being fetched"
        STORED = "stored", "Stored"
        UNAVAILABLE = "unavailable", "Unavailable"
        NOT_KEPT = "not_kept", "Not kept"
        EXPIRED = "expired", "No longer kept"

    public_id = models.CharField(
        max_length=32, unique=True, default=new_attachment_id, editable=False
    )
    message = models.ForeignKey(Message, models.CASCADE, db_index=False, related_name="attachments")
    position = models.PositiveSmallIntegerField(default=0)
    kind = models.CharField(max_length=64, help_text="Instagram's word: image, video, share, …")
    url = models.TextField(blank=True)
    title = models.TextField(blank=True, help_text="A shared post's caption, a template's title.")
    state = models.CharField(max_length=16, choices=State, default=State.NOT_KEPT)
    file = models.FileField(upload_to="attachments/", blank=True)
    content_type = models.CharField(max_length=64, blank=True)
    error = models.TextField(blank=True)

    NOT_FETCHED = "It could not be fetched."
    """The error of one that may yet be had."""

    objects = AttachmentQuerySet.as_manager()

    class Meta:
        db_table = "attachments"
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["message", "position"], name="attachment_once")
        ]
        indexes = [
            models.Index(
                fields=["due_at"], name="attachment_due", condition=Q(due_at__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.public_id[:8]}"

    def get_absolute_url(self) -> str:
        return reverse("media", args=[self.public_id])

    @property
    def is_image(self) -> bool:
        return self.state == self.State.STORED and self.content_type in media_types.RASTER

    @property
    def is_video(self) -> bool:
        return self.state == self.State.STORED and self.content_type.startswith("video/")

    @property
    def is_audio(self) -> bool:
        return self.state == self.State.STORED and self.content_type.startswith("audio/")

    @property
    def link(self) -> str:
        """Where a person's own browser may look at what is not kept here; often empty."""
        if self.state not in (self.State.NOT_KEPT, self.State.UNAVAILABLE):
            return ""
        return media_policy.link(self.kind, self.url, self.message.timestamp)

    @property
    def can_be_tried(self) -> bool:
        """Whether asking for the file once more may help: it was not refused, and is not old."""
        return (
            self.state == self.State.UNAVAILABLE
            and self.error == self.NOT_FETCHED
            and timezone.now() < self.message.timestamp + media_policy.LINKS_LIVE
        )


class FileToDelete(Queued):
    """A stored file whose row is gone: the row went with a commit, the file goes after it."""

    name = models.CharField(max_length=255)

    class Meta:
        db_table = "files_to_delete"

    def __str__(self) -> str:
        return self.name
