"""Where accounts forward what happens, what is on its way there, and how each attempt went."""

import logging
import secrets
from contextlib import suppress
from datetime import timedelta
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

from django.db import models
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, Membership, User
from crypto.fields import EncryptedTextField
from crypto.keyring import DecryptionError
from crypto.models import SecurityEvent

from ..queues import LEASE
from .conversations import Conversation, Message

logger = logging.getLogger(__name__)


class EventType(models.TextChoices):
    """What a CRM can be told of."""

    RECEIVED = "message.received", "a customer wrote"
    SENT = "message.sent", "the account answered, from here or from the phone"
    FAILED = "message.failed", "an answer could not be sent"
    EDITED = "message.edited", "a text was corrected"
    DELETED = "message.deleted", "a message was taken back"
    REACTION = "message.reaction", "a reaction came or went"
    READ = "message.read", "the customer has read"
    STATUS = "account.status", "the account was connected, expires, or needs somebody"


TEST = "test"
"""The type of what the test button sends; nobody subscribes to it."""


def new_endpoint_id() -> str:
    return f"whe_{secrets.token_hex(12)}"


def new_event_id() -> str:
    return f"evt_{secrets.token_hex(12)}"


class CrmEndpointQuerySet(models.QuerySet):
    def for_user(self, user: User) -> Self:
        return self.filter(account__in=Account.objects.for_user(user), deleted_at=None)

    def with_role_of(self, user: User) -> Self:
        mine = Membership.objects.filter(account=OuterRef("account"), user=user)
        return self.annotate(role=Subquery(mine.values("role")))

    def listening(self) -> Self:
        """Those for which deliveries are written."""
        return self.filter(is_enabled=True, deleted_at=None, account__deletion=None)

    def ready(self) -> Self:
        """Those to which something may be posted now."""
        is_rested = Q(paused_until=None) | Q(paused_until__lte=timezone.now())
        return self.listening().filter(is_rested, secret__isnull=False)

    def due(self) -> Self:
        """Those for which something waits, and that no worker has."""
        first = Delivery.objects.due().filter(endpoint=OuterRef("pk")).in_turn()
        free = self.ready().filter(Q(leased_until=None) | Q(leased_until__lte=timezone.now()))
        # Not Exists: PostgreSQL would look at all that waits, rather than for one each.
        return free.alias(first=Subquery(first.values("pk")[:1])).filter(first__isnull=False)

    def claim(self, size: int) -> list["CrmEndpoint"]:
        """Lease up to `size` due endpoints to this worker.

        The endpoint is leased, not its deliveries: so no two workers post to it, and what is one
        behind the other stays so.
        """
        lease = uuid4()
        longest_unserved = F("leased_until").asc(nulls_first=True)
        due = self.due().order_by(longest_unserved, "pk")
        chosen = list(due.values_list("pk", flat=True)[:size])
        if not chosen:  # Most looks find nothing; they take no lock.
            return []
        free = Q(leased_until=None) | Q(leased_until__lte=timezone.now())
        rows = self.model.objects.filter(free, pk__in=chosen)
        rows.update(lease=lease, leased_until=timezone.now() + LEASE)
        return list(self.filter(lease=lease))


class SecretUnreadable(Exception):
    """Nothing can be signed for the endpoint; the text is fit for a page."""


class CrmEndpoint(models.Model):
    """An address of the owner's own, to which what happens in an account is posted."""

    public_id = models.CharField(
        max_length=32, unique=True, default=new_endpoint_id, editable=False
    )
    account = models.ForeignKey(Account, models.CASCADE, related_name="endpoints")
    url = models.TextField()
    events = models.JSONField(default=list, help_text="Types that it is told of; none means all.")
    secret = EncryptedTextField(null=True)
    previous_secret = EncryptedTextField(null=True, clears=("previous_until",))
    previous_until = models.DateTimeField(
        null=True, help_text="Until then the secret before signs as well."
    )

    is_enabled = models.BooleanField(default=True)
    problem = models.TextField(
        blank=True, help_text="What stands in the way, for people; why it was switched off."
    )
    failing_since = models.DateTimeField(
        null=True, help_text="Of the first failure after the last success."
    )
    failures = models.PositiveIntegerField(default=0, help_text="Since the last success.")
    delivered_at = models.DateTimeField(null=True, help_text="The last success.")
    switched_off_at = models.DateTimeField(null=True, help_text="By this site, not by a person.")
    owners_told_at = models.DateTimeField(null=True, editable=False)
    status_told = models.CharField(
        max_length=16, blank=True, editable=False, help_text="The account's, as last forwarded."
    )

    lease = models.UUIDField(null=True, editable=False)
    leased_until = models.DateTimeField(null=True, editable=False)
    paused_until = models.DateTimeField(
        null=True, editable=False, help_text="The receiver asked for a rest."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(
        null=True, editable=False, help_text="Set while a worker deletes its deliveries."
    )

    objects = CrmEndpointQuerySet.as_manager()

    class Meta:
        db_table = "crm_endpoints"
        verbose_name = "CRM endpoint"
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.public_id

    def get_absolute_url(self) -> str:
        return reverse("endpoint", args=[self.account_id, self.public_id])

    @property
    def host(self) -> str:
        """What names it where the whole address would say too much."""
        return urlsplit(self.url).hostname or ""

    def record(self, kind: SecurityEvent.Kind, **details: Any) -> None:
        """Among the security events; belongs into the transaction that does what it says.

        The address may hold a key: its host alone is named.
        """
        subject = f"endpoint {self.public_id} of account {self.account_id}"
        SecurityEvent.objects.record(kind, subject, host=self.host, **details)

    def wants(self, event: str) -> bool:
        return not self.events or event in self.events

    @property
    def state(self) -> str:
        """For pages: what it does just now."""
        if not self.is_enabled:
            return "off"
        if self.secret is None or self.problem:
            return "waiting"
        return "failing" if self.failing_since else "on"

    @property
    def is_overlapping(self) -> bool:
        """Whether the secret before signs as well."""
        return (
            self.previous_secret is not None
            and self.previous_until is not None
            and timezone.now() < self.previous_until
        )

    def secrets(self) -> list[str]:
        """What it is signed with: the secret, and while they overlap the one before.

        Raises SecretUnreadable when no key opens the secret, or it was cleared.
        """
        if self.secret is None:
            raise SecretUnreadable(
                "The endpoint has no secret any more. Make a new one and enter it in the CRM."
            )
        try:
            found = [self.secret.reveal()]
        except DecryptionError as exc:
            logger.error("Failed to decrypt the secret of endpoint %s: %s", self.public_id, exc)
            raise SecretUnreadable(
                "The stored secret cannot be opened with the current SESSION_SECRET. Put the old "
                "one back, or make a new secret for the endpoint and enter it in the CRM."
            ) from None
        if self.is_overlapping:
            with suppress(DecryptionError):  # The other one signs.
                found.append(self.previous_secret.reveal())
        return found


class DeliveryQuerySet(models.QuerySet):
    def for_user(self, user: User) -> Self:
        return self.filter(endpoint__in=CrmEndpoint.objects.for_user(user))

    def waiting(self) -> Self:
        return self.filter(state=Delivery.State.WAITING)

    def due(self) -> Self:
        """Waiting ones whose time has come, and that no earlier one of their conversation holds."""
        earlier = self.model.objects.waiting().filter(
            endpoint=OuterRef("endpoint"),
            order_key=OuterRef("order_key"),
            pk__lt=OuterRef("pk"),
            is_out_of_order=False,
            due_at__gt=OuterRef("due_at"),
        )
        return self.waiting().filter(~Exists(earlier), due_at__lte=timezone.now())

    def behind(self, delivery: "Delivery") -> Self:
        """What comes after it in its conversation, and was not tried yet."""
        return self.waiting().filter(
            endpoint=delivery.endpoint_id,
            order_key=delivery.order_key,
            pk__gt=delivery.pk,
            is_out_of_order=False,
            attempts=0,
        )

    def in_turn(self) -> Self:
        """As an index has them. Of a conversation none is passed over: one that comes due after
        what follows it holds that."""
        return self.order_by("due_at", "pk")

    def for_log(self) -> Self:
        return self.select_related("endpoint", "conversation").defer("body").order_by("-pk")


class Delivery(models.Model):
    """One event on its way to one endpoint: the row is the job."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Given up"
        FORGOTTEN = "forgotten", "Taken back"

    public_id = models.CharField(max_length=32, unique=True, default=new_event_id, editable=False)
    endpoint = models.ForeignKey(
        CrmEndpoint, models.CASCADE, db_index=False, related_name="deliveries"
    )
    type = models.CharField(max_length=32)
    conversation = models.ForeignKey(
        Conversation, models.CASCADE, null=True, related_name="deliveries"
    )
    message = models.ForeignKey(Message, models.CASCADE, null=True, related_name="deliveries")
    order_key = models.BigIntegerField(
        default=0, editable=False, help_text="What keeps its order: a conversation, 0 the account."
    )
    body = models.BinaryField(help_text="Exactly what is posted; empty once it was taken back.")
    state = models.CharField(max_length=16, choices=State, default=State.WAITING)
    is_out_of_order = models.BooleanField(
        default=False, help_text="It no longer holds what came after it."
    )
    due_at = models.DateTimeField(null=True, default=timezone.now, editable=False)
    attempts = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True, editable=False)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        db_table = "deliveries"
        verbose_name_plural = "deliveries"
        constraints = [
            # A message has come, or gone out, once: by Instagram's answer, its echo or both.
            models.UniqueConstraint(
                fields=["endpoint", "message", "type"],
                condition=Q(type__in=["message.received", "message.sent"]),
                name="delivery_message_once",
            )
        ]
        indexes = [
            models.Index(
                fields=["endpoint", "due_at", "id"],
                name="delivery_due",
                condition=Q(state="waiting"),
            ),
            models.Index(
                fields=["endpoint", "order_key", "id"],
                name="delivery_order",
                condition=Q(state="waiting", is_out_of_order=False),
            ),
            models.Index(fields=["endpoint", "-id"], name="delivery_log"),
            models.Index(fields=["created_at"], name="delivery_created"),
        ]

    def __str__(self) -> str:
        return self.public_id

    def get_absolute_url(self) -> str:
        endpoint = self.endpoint
        return reverse("delivery", args=[endpoint.account_id, endpoint.public_id, self.public_id])

    @property
    def text(self) -> str:
        """The body for a page."""
        return bytes(self.body).decode()

    @property
    def latest(self) -> "DeliveryAttempt | None":
        return self.log.order_by("-pk").first()


class DeliveryAttempt(models.Model):
    """One request and what came of it. Neither signatures nor secrets are kept."""

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="log")
    url = models.TextField()
    headers = models.JSONField(default=dict)
    started_at = models.DateTimeField()
    duration = models.DurationField()
    status = models.PositiveSmallIntegerField(null=True, help_text="HTTP's; none without answer.")
    answer = models.TextField(blank=True, help_text="How the answer begins.")
    error = models.TextField(blank=True)

    class Meta:
        db_table = "delivery_attempts"
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"attempt {self.pk}"

    @property
    def is_success(self) -> bool:
        return not self.error

    @property
    def milliseconds(self) -> int:
        return round(self.duration / timedelta(milliseconds=1))
