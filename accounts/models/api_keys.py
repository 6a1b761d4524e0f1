"""What programs prove themselves with, and what it lets them do."""

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from .accounts import Account, User

USED_EVERY = timedelta(minutes=1)
"""Last use is written down this often at most: most requests write nothing."""

ENDS_SOON = timedelta(days=7)
"""So long before a key ends, its user is told. Who made one for no longer knows it."""


class Scope(models.TextChoices):
    READ = "read", "Read accounts, conversations and messages"
    SEND = "send", "Send messages"
    MANAGE = "manage", "Manage accounts, keys and endpoints"


class ApiKeyQuerySet(models.QuerySet):
    def for_user(self, user: User) -> Self:
        """Theirs; for who came with a key that is limited to some accounts, none."""
        return self.none() if user.only_accounts is not None else self.filter(user=user)

    def working(self) -> Self:
        return self.filter(revoked_at=None, expires_at__gt=timezone.now(), user__is_active=True)

    def ending(self) -> Self:
        """Those that work, and end soon."""
        made_for_longer = self.working().filter(expires_at__gt=F("created_at") + ENDS_SOON)
        return made_for_longer.filter(expires_at__lte=timezone.now() + ENDS_SOON)


class ApiKey(models.Model):
    """A program's key to the API, as one user; only its digest is stored."""

    digest = models.CharField(max_length=64, unique=True, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, help_text="What uses it.")
    beginning = models.CharField(
        max_length=12, editable=False, help_text="Its first characters, to tell it from others."
    )
    scopes = models.JSONField(default=list, help_text="read, send, manage")
    is_limited = models.BooleanField(
        default=False, help_text="To the chosen accounts; else it reaches all of the user's."
    )
    accounts = models.ManyToManyField(Account, blank=True, related_name="+")
    made_by = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, editable=False, related_name="made",
        help_text="The key that made it, and with which it ends.",
    )  # fmt: skip
    submission = models.UUIDField(
        null=True,
        editable=False,
        help_text="One per form shown: sent again, it makes no other key.",
    )
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    end_told_at = models.DateTimeField(
        null=True, editable=False, help_text="When its user was told that it ends soon."
    )

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        db_table = "api_keys"
        ordering = ["-created_at", "-pk"]
        verbose_name = "API key"
        constraints = [
            models.UniqueConstraint(fields=["user", "submission"], name="api_key_submission_once")
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.beginning}…)"

    @property
    def is_expired(self) -> bool:
        return self.expires_at <= timezone.now()

    @property
    def is_working(self) -> bool:
        return self.revoked_at is None and not self.is_expired

    def note_use(self) -> None:
        now = timezone.now()
        if self.last_used_at is None or self.last_used_at <= now - USED_EVERY:
            long_ago = Q(last_used_at=None) | Q(last_used_at__lte=now - USED_EVERY)
            ApiKey.objects.filter(long_ago, pk=self.pk).update(last_used_at=now)
