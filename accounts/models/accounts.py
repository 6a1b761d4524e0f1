"""Who signs in, and which Instagram accounts they share."""

import logging
import math
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Exists, OuterRef, Q, Subquery
from django.urls import reverse
from django.utils import timezone

from crypto.fields import EncryptedTextField
from crypto.keyring import DecryptionError

from .. import audit
from ..instagram import InstagramClient
from ..instagram_errors import InstagramError, TokenRejected, Withheld
from .digests import digest

logger = logging.getLogger(__name__)

EXPIRING = timedelta(days=14)
HOLD = timedelta(minutes=15)
REFRESHABLE_AFTER = timedelta(hours=24)


class User(AbstractUser):
    """A person who signs in to this site."""

    only_accounts: frozenset[str] | None = None
    """The accounts that the API key of this request is limited to; None: all of the user's."""

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
        accounts = self.filter(Exists(mine), deletion=None)
        # Here, where every query for a user begins: no endpoint can forget the limit.
        limit = user.only_accounts
        return accounts if limit is None else accounts.filter(pk__in=limit)

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

    def note_error(self, exc: InstagramError) -> None:
        """Remember what an answer says of the account, if it says that every call is in vain."""
        match exc:
            case TokenRejected():
                self.note_problem(self.Problem.REVOKED, str(exc))
            case Withheld():
                self.note_problem(self.Problem.HELD, str(exc))

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
