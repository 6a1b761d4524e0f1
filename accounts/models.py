"""Who signs in, which Instagram accounts they share, and how they get there."""

import hashlib
import logging
import math
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.urls import reverse
from django.utils import timezone

from crypto.fields import EncryptedTextField
from crypto.keyring import DecryptionError

from . import audit
from .instagram import InstagramClient

logger = logging.getLogger(__name__)

EXPIRING = timedelta(days=14)
HOLD = timedelta(minutes=15)
REFRESHABLE_AFTER = timedelta(hours=24)


def digest(text: str) -> str:
    """SHA-256 in hex: what is stored of a random value that only its bearer should know."""
    return hashlib.sha256(text.encode()).hexdigest()


class User(AbstractUser):
    """A person who signs in to this site."""

    class Meta:
        db_table = "users"

    def get_session_auth_hash(self) -> str:
        # Django would key this with SECRET_KEY; a rotation would then log out whoever has two
        # requests under way. The password hash is secret enough, and changes when it should.
        return digest(f"session-auth:{self.password}")

    def get_session_auth_fallback_hash(self):
        return iter(())


def new_account_id() -> str:
    return f"acc_{secrets.token_hex(6)}"


class AccountQuerySet(models.QuerySet):
    def for_user(self, user: User) -> "AccountQuerySet":
        mine = Membership.objects.filter(account=OuterRef("pk"), user=user)
        return self.filter(Exists(mine), deletion=None)

    def worth_trying(self) -> "AccountQuerySet":
        """Those that may send, as far as is known.

        One that Instagram holds is tried again now and then, and one whose token no key opened
        each time it is asked: the right secret may be back.
        """
        now = timezone.now()
        return self.filter(
            Q(token_expires_at=None) | Q(token_expires_at__gt=now),
            Q(problem__in=["", Account.Problem.UNREADABLE])
            | Q(problem=Account.Problem.HELD, problem_at__lt=now - HOLD),
            access_token__isnull=False,
        )

    def refreshable(self) -> "AccountQuerySet":
        """Those whose token Instagram would extend: a day old, and not expired."""
        now = timezone.now()
        since = now - REFRESHABLE_AFTER
        return self.filter(
            Q(token_issued_at__lte=since) | Q(token_issued_at=None, linked_at__lte=since),
            Q(token_expires_at=None) | Q(token_expires_at__gt=now),
            access_token__isnull=False,
        )

    def in_status(self, status: "Account.Status") -> "AccountQuerySet":
        """As `Account.status` computes it."""
        now = timezone.now()
        has_token, is_expired = Q(access_token__isnull=False), Q(token_expires_at__lte=now)
        match status:
            case Account.Status.DISCONNECTED:
                return self.exclude(has_token).exclude(problem=Account.Problem.REVOKED)
            case Account.Status.EXPIRED:
                return self.filter(has_token, is_expired).exclude(problem=Account.Problem.REVOKED)
            case Account.Status.EXPIRING:
                soon = Q(token_expires_at__gt=now, token_expires_at__lte=now + EXPIRING)
                return self.filter(has_token, soon, problem="")
            case Account.Status.CONNECTED:
                later = Q(token_expires_at=None) | Q(token_expires_at__gt=now + EXPIRING)
                return self.filter(has_token, later, problem="")
            case Account.Status.REVOKED:
                return self.filter(problem=status)
            case _:
                lives = Q(token_expires_at=None) | Q(token_expires_at__gt=now)
                return self.filter(has_token, lives, problem=status)

    def with_role_of(self, user: User) -> "AccountQuerySet":
        mine = Membership.objects.filter(account=OuterRef("pk"), user=user)
        return self.annotate(role=Subquery(mine.values("role")))


class TokenUnreadable(Exception):
    """The stored access token cannot be opened; the text is fit for a page."""


class Account(models.Model):
    """A connected Instagram professional account."""

    class Problem(models.TextChoices):
        REVOKED = "revoked", "Access withdrawn"
        HELD = "held", "Held by Instagram"
        UNREADABLE = "unreadable", "Token unreadable"

    class Status(models.TextChoices):
        CONNECTED = "connected", "Connected"
        EXPIRING = "expiring", "Expires soon"
        EXPIRED = "expired", "Expired"
        REVOKED = "revoked", "Access withdrawn"
        HELD = "held", "Held by Instagram"
        UNREADABLE = "unreadable", "Token unreadable"
        DISCONNECTED = "disconnected", "Disconnected"

    id = models.CharField(primary_key=True, max_length=32, default=new_account_id, editable=False)
    instagram_account_id = models.CharField(
        max_length=64, help_text="/me.user_id: the id that webhooks carry as entry.id."
    )
    app_scoped_id = models.CharField(max_length=64, blank=True, help_text="/me.id")
    username = models.CharField(max_length=255)
    name = models.CharField(max_length=255, blank=True)
    account_type = models.CharField(max_length=32, blank=True)
    profile_picture_url = models.TextField(blank=True)

    access_token = EncryptedTextField(
        null=True, db_column="access_token_encrypted", clears=("token_expires_at",)
    )
    token_issued_at = models.DateTimeField(null=True)
    token_expires_at = models.DateTimeField(null=True)
    # No indexes: they would slow a rotation down on PostgreSQL, and the watch reads all rows.
    token_refresh_at = models.DateTimeField(null=True, help_text="Not refreshed before then.")
    token_alerted_at = models.DateTimeField(null=True, help_text="When its owners were told last.")
    permissions = models.JSONField(default=list, help_text="What the person granted.")
    subscribed_fields = models.JSONField(default=list, help_text="Webhook fields asked for.")

    # What Instagram last refused, if it still stands; the status is computed from it.
    problem = models.CharField(max_length=16, choices=Problem, blank=True, default="")
    problem_reason = models.TextField(blank=True)
    problem_at = models.DateTimeField(null=True)

    deletion = models.ForeignKey(
        "DeletionRequest",
        models.PROTECT,
        null=True,
        editable=False,
        db_index=False,
        related_name="accounts",
        help_text="Set while a worker deletes it: nobody sees it any more.",
    )

    linked_at = models.DateTimeField(default=timezone.now)
    allowed_at = models.DateTimeField(
        null=True, help_text="When a person last allowed it at Instagram; a refresh is none."
    )
    updated_at = models.DateTimeField(auto_now=True)
    users = models.ManyToManyField(User, through="Membership", related_name="accounts")

    objects = AccountQuerySet.as_manager()

    class Meta:
        db_table = "accounts"
        ordering = ["username"]
        constraints = [
            # A constraint, not unique=True: that would bring a second index on PostgreSQL.
            models.UniqueConstraint(fields=["instagram_account_id"], name="account_once")
        ]
        indexes = [
            # Of the few that are to go: a rotation writes no entry for the others.
            models.Index(
                fields=["deletion"], name="account_deletion", condition=Q(deletion__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"@{self.username}"

    def get_absolute_url(self) -> str:
        return reverse("account", args=[self.pk])

    @property
    def status(self) -> "Account.Status":
        """Computed from the token, its expiry and the last error; opens no token."""
        if self.access_token is None:  # Perhaps because its owner removed us at Instagram.
            is_revoked = self.problem == self.Problem.REVOKED
            return self.Status.REVOKED if is_revoked else self.Status.DISCONNECTED
        left = self.token_expires_at and self.token_expires_at - timezone.now()
        is_expired = left is not None and left <= timedelta()
        if self.problem == self.Problem.REVOKED or (self.problem and not is_expired):
            return self.Status(self.problem)
        if is_expired:
            return self.Status.EXPIRED
        if left is not None and left <= EXPIRING:
            return self.Status.EXPIRING
        return self.Status.CONNECTED

    @property
    def days_left(self) -> int | None:
        """Until the token ends, begun days included; 0 once it has. None when nobody knows."""
        if self.access_token is None or self.token_expires_at is None:
            return None
        left = self.token_expires_at - timezone.now()
        return max(math.ceil(left / timedelta(days=1)), 0)

    @property
    def can_send(self) -> bool:
        return self.status in (self.Status.CONNECTED, self.Status.EXPIRING)

    def client(self) -> InstagramClient:
        """Instagram, spoken to as this account.

        Raises TokenUnreadable when there is no token, or when no key opens it; the account then
        shows it until a key does.
        """
        if self.access_token is None:
            raise TokenUnreadable("The account is disconnected.")
        try:
            token = self.access_token.reveal()
        except DecryptionError as exc:
            logger.error("Failed to decrypt access token for account %s: %s", self.pk, exc)
            reason = "The stored token cannot be opened with the current SESSION_SECRET."
            self.note_problem(self.Problem.UNREADABLE, reason)
            audit.token_unreadable(self, str(exc))
            raise TokenUnreadable(reason) from None
        if self.problem == self.Problem.UNREADABLE:
            self.clear_problem()  # The right secret is back.
        return InstagramClient(token)

    def note_problem(self, problem: "Account.Problem", reason: str) -> None:
        """Remember what stands in the way, unless something worse is known.

        What is revoked stays so, since the first time: each new moment would tell the owners
        again. What has expired is not revoked: its own end says more. Only being held counts
        anew, since that decides when to try again.
        """
        now = timezone.now()
        rows = self._with_this_token().exclude(problem=self.Problem.REVOKED)
        if problem == self.Problem.REVOKED:
            rows = rows.exclude(token_expires_at__lte=now)
        elif problem == self.Problem.UNREADABLE:
            rows = rows.filter(problem="")
        self._set_problem(rows, problem, reason, now)

    def clear_problem(self) -> None:
        self._set_problem(self._with_this_token(), "", "", None)

    def note_subscribed(self, fields: list[str]) -> None:
        """Remember what Instagram sends for it, unless it lost its token while that was asked."""
        rows = Account.objects.filter(pk=self.pk, access_token__isnull=False)
        if rows.update(subscribed_fields=fields, updated_at=timezone.now()):
            self.subscribed_fields = fields

    def _with_this_token(self) -> AccountQuerySet:
        # What was learned of an old token says nothing of one that came meanwhile.
        return Account.objects.filter(
            pk=self.pk, token_issued_at=self.token_issued_at, access_token__isnull=False
        )

    def _set_problem(
        self, rows: AccountQuerySet, problem: str, reason: str, moment: datetime | None
    ) -> None:
        if rows.update(problem=problem, problem_reason=reason, problem_at=moment):
            self.problem, self.problem_reason, self.problem_at = problem, reason, moment

    def is_owned_by(self, user: User) -> bool:
        return self.memberships.filter(user=user, role=Role.OWNER).exists()


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


class Role(models.TextChoices):
    OWNER = "owner", "Owner"
    MEMBER = "member", "Member"


class Membership(models.Model):
    """What lets a user see an account: a member answers, an owner also manages."""

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    account = models.ForeignKey(Account, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.MEMBER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "memberships"
        constraints = [models.UniqueConstraint(fields=["user", "account"], name="member_once")]

    def __str__(self) -> str:
        return f"{self.user} · {self.account} ({self.role})"


class OneTimeQuerySet(models.QuerySet):
    def find(self, secret: str) -> models.Model | None:
        """The row that `secret` was made for, used or not."""
        return self.filter(digest=digest(secret)).first()


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

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    browser = models.CharField(max_length=64, help_text="Digest of a cookie of the browser.")
    account = models.ForeignKey(
        Account, models.CASCADE, null=True, blank=True, help_text="The one to reconnect."
    )

    class Meta:
        db_table = "connect_attempts"

    def __str__(self) -> str:
        return f"{self.user}, {self.created_at:%Y-%m-%d %H:%M}"
