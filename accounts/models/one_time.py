"""Links and trips that work once, for whoever bears their secret."""

import secrets
from datetime import timedelta

from django.db import models
from django.utils import timezone

from .accounts import Account, Membership, Role, User
from .digests import digest


class OneTimeQuerySet(models.QuerySet):
    def find(self, secret: str) -> models.Model | None:
        """The row that `secret` was made for, used or not."""
        return self.filter(digest=digest(secret)).first()

    def forgettable(self) -> models.QuerySet:
        """Rows that are over, and of which nobody has to be told any more."""
        return self.filter(expires_at__lt=timezone.now() - self.model.KEPT)


class OneTime(models.Model):
    """A row that its bearer may use once, before it expires; only the digest is stored."""

    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    objects = OneTimeQuerySet.as_manager()

    class Meta:
        abstract = True

    @classmethod
    def issue(cls, lifetime: timedelta, **fields) -> tuple["OneTime", str]:
        """A new row and its secret, which nobody can see again."""
        secret = secrets.token_urlsafe(32)
        expires_at = timezone.now() + lifetime
        return cls.objects.create(digest=digest(secret), expires_at=expires_at, **fields), secret

    @property
    def is_expired(self) -> bool:
        return self.expires_at <= timezone.now()

    def use(self) -> bool:
        """Take the one use. False for all but the first, however many try at once."""
        now = timezone.now()
        unused = type(self).objects.filter(pk=self.pk, used_at=None, expires_at__gt=now)
        return unused.update(used_at=now) == 1


class Invitation(OneTime):
    """An owner's one-time link that makes a colleague a member."""

    LIFETIME = timedelta(days=7)
    KEPT = timedelta(days=30)
    """So long an old link says that it is over, and the admin who used it."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=16, choices=Role, default=Role.MEMBER)
    invited_by = models.ForeignKey(User, models.CASCADE, related_name="+")
    used_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        db_table = "invitations"

    def __str__(self) -> str:
        return f"invitation to {self.account} ({self.role})"

    @property
    def is_open(self) -> bool:
        """Whether it may still be used: an owner who has left takes their invitations along."""
        is_unused = self.used_at is None and not self.is_expired
        return is_unused and self.account.is_owned_by(self.invited_by)

    def admit(self, user: User) -> None:
        """Make `user` a member, or an owner; nobody is made less than they are."""
        membership, is_new = Membership.objects.get_or_create(
            user=user, account=self.account, defaults={"role": self.role}
        )
        if not is_new and self.role == Role.OWNER:
            membership.role = Role.OWNER
            membership.save(update_fields=["role"])
        self.used_by = user
        self.save(update_fields=["used_by"])


class ConnectAttempt(OneTime):
    """One trip to Instagram's consent page; its secret is the OAuth `state`."""

    LIFETIME = timedelta(minutes=10)
    KEPT = LIFETIME

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    browser = models.CharField(max_length=64, help_text="Digest of a cookie of the browser.")
    account = models.ForeignKey(
        Account, models.CASCADE, null=True, blank=True, help_text="The one to reconnect."
    )

    class Meta:
        db_table = "connect_attempts"

    def __str__(self) -> str:
        return f"{self.user}, {self.created_at:%Y-%m-%d %H:%M}"
