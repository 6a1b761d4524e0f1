"""Conversations: everything between one account and one participant."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, models, transaction
from django.db.models import F, OuterRef, Prefetch, Q, Subquery
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, User, by_hand

from .messages import Message
from .writing import NewRow, WritingQuerySet

WINDOW = timedelta(hours=24)
"""How long after the participant's last message an account may answer."""

HUMAN_WINDOW = timedelta(days=7)
"""How long a person may, as `HUMAN_AGENT` (4.3)."""

PERSON_WANTED = Q(person_told_at=None, last_inbound_at__isnull=False) | Q(
    last_inbound_at__gt=F("person_told_at")
)
"""They have written, and Instagram has not said since who they are."""


class ConversationQuerySet(WritingQuerySet):
    def for_user(self, user: User) -> Self:
        return self.filter(account__in=Account.objects.for_user(user))

    def begun(self) -> Self:
        """Those with a message: a reading or a reaction alone shows nobody anything."""
        return self.filter(last_message_at__isnull=False)

    def unread(self) -> Self:
        return self.filter(last_inbound_change__gt=F("read_change"))

    def open(self) -> Self:
        """Those that the account may answer now."""
        return self.filter(last_inbound_at__gt=timezone.now() - WINDOW)

    def lock(self, pks: Iterable[int]) -> list["Conversation"]:
        """These rows, for whoever changes something in them, until the commit.

        In one order, so that no two workers wait for each other.
        """
        rows = self.filter(pk__in=pks).select_for_update(no_key=True)
        return list(rows.order_by("pk"))

    def news(self, user: User, account: str = "") -> tuple[int, int, int]:
        """How many conversations have begun, the sum of their changes, and how many are unread,
        of one account (acc_…) or of all that `user` sees.

        By hand: open pages ask this all day long, and the ORM takes longer to write the query
        than a database to answer it.
        """
        sql = """
            SELECT COUNT(*), COALESCE(SUM(change), 0),
                COALESCE(SUM(CASE WHEN last_inbound_change > read_change THEN 1 ELSE 0 END), 0)
            FROM conversations
            WHERE last_message_at IS NOT NULL AND (%s = '' OR account_id = %s)
                AND account_id IN (
                    SELECT accounts.id FROM memberships
                    JOIN accounts ON accounts.id = account_id AND deletion_id IS NULL
                    WHERE user_id = %s
                )
        """
        with by_hand.cursor() as cursor:
            cursor.execute(sql, [account, account, user.pk])
            count, changes, unread = cursor.fetchone()
        return count, int(changes), unread

    def for_inbox(self) -> Self:
        """With all that one line of the list shows, the latest first."""
        latest = Message.objects.filter(conversation=OuterRef("pk")).order_by("-timestamp", "-pk")
        return self.annotate(
            account_username=F("account__username"),
            latest_text=Subquery(latest.values("text")[:1]),
            latest_direction=Subquery(latest.values("direction")[:1]),
            latest_status=Subquery(latest.values("status")[:1]),
            latest_kind=Subquery(latest.values("attachments__kind")[:1]),
            latest_unsent=Subquery(latest.values("unsent_at")[:1]),
        ).order_by("-last_message_at", "-pk")

    def for_api(self) -> Self:
        accounts = Account.objects.defer("access_token")
        return self.prefetch_related(Prefetch("account", accounts))

    def to_send(self, user: User, account: str, igsid: str) -> "Conversation | None":
        """The conversation of an account that `user` sees with a customer, to write into."""
        if user.only_accounts is not None and account not in user.only_accounts:
            return None
        rows = by_hand.first(TO_SEND, [user.pk, account, igsid], WRITTEN_TO, ITS_ACCOUNT)
        if rows is None:
            return None
        conversation, conversation.account = rows
        return conversation


class Conversation(models.Model):
    """Everything between one account and one participant.

    `igsid` names the participant for this account only: the same person has another one with
    every account that they write to.
    """

    class Automation(models.TextChoices):
        ON = "on", "as the rules say"
        PAUSED = "paused", "paused by the team"
        STOPPED = "stopped", "stopped: it looked like one machine answering another"

    account = models.ForeignKey(
        Account, models.CASCADE, db_index=False, related_name="conversations"
    )
    igsid = models.CharField(max_length=64)
    username = models.CharField(max_length=255, blank=True)
    name = models.CharField(max_length=255, blank=True)
    picture = models.FileField(upload_to="people/", blank=True, editable=False)
    picture_type = models.CharField(max_length=64, blank=True, editable=False)

    # The job of asking who they are.
    person_told_at = models.DateTimeField(
        null=True, help_text="When Instagram last said who it is, or that it will not say."
    )
    person_due_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="Not asked before then."
    )
    person_attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    person_paused_until = models.DateTimeField(
        null=True, editable=False, help_text="Until then nobody of the account is asked for."
    )

    last_message_at = models.DateTimeField(null=True)
    last_inbound_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True, help_text="When the customer last read the thread.")
    referral = models.JSONField(default=dict, help_text="The ad, product or link they came by.")
    referral_at = models.DateTimeField(null=True)
    automation = models.CharField(max_length=16, choices=Automation, default=Automation.ON)
    # Two times, of which the later one counts: events may come in any order.
    stopped_at = models.DateTimeField(null=True, help_text="When the customer last wrote STOP.")
    started_at = models.DateTimeField(null=True, help_text="When the customer last wrote START.")
    # By change number, not by time: a message may arrive long after it was written.
    last_inbound_change = models.PositiveBigIntegerField(default=0, editable=False)
    read_change = models.PositiveBigIntegerField(default=0, editable=False)
    change = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="Counts every change, so that pages can ask for news."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        db_table = "conversations"
        constraints = [
            models.UniqueConstraint(fields=["account", "igsid"], name="conversation_once")
        ]
        indexes = [
            models.Index(fields=["account", "-last_message_at"], name="conversation_latest"),
            models.Index(
                fields=["person_due_at"], name="conversation_person", condition=PERSON_WANTED
            ),
            models.Index(
                fields=["person_paused_until"],
                name="conversation_paused",
                condition=Q(person_paused_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("conversation", args=[self.pk])

    @property
    def title(self) -> str:
        return self.name or self.username or f"Customer {self.igsid}"

    @property
    def picture_url(self) -> str:
        """Where members see the picture, another address for each; empty when there is none."""
        if not self.picture:
            return ""
        version = self.picture.name.rpartition("/")[2][:8]
        return f"{reverse('picture', args=[self.pk])}?v={version}"

    @property
    def window_closes_at(self) -> datetime | None:
        return self.last_inbound_at and self.last_inbound_at + WINDOW

    @property
    def is_open(self) -> bool:
        """Whether the account may answer now."""
        return self.window_closes_at is not None and timezone.now() < self.window_closes_at

    @property
    def human_window_closes_at(self) -> datetime | None:
        return self.last_inbound_at and self.last_inbound_at + HUMAN_WINDOW

    @property
    def is_open_for_people(self) -> bool:
        """Whether a person may answer now, whatever a machine may."""
        closes_at = self.human_window_closes_at
        return closes_at is not None and timezone.now() < closes_at

    @property
    def has_opted_out(self) -> bool:
        """Whether the customer wants no automatic replies."""
        return self.stopped_at is not None and (
            self.started_at is None or self.started_at < self.stopped_at
        )

    @property
    def seen_latest(self) -> bool:
        """Whether the customer has read the last that the account wrote."""
        if self.seen_at is None:  # With no answer in it, all of it would be looked through.
            return False
        latest = self.messages.filter(direction=Message.Direction.OUT).order_by("-timestamp")
        sent_at = latest.values_list("timestamp", flat=True).first()
        return sent_at is not None and sent_at <= self.seen_at

    @property
    def is_unread(self) -> bool:
        return self.last_inbound_change > self.read_change

    def mark_read(self, up_to: int | None = None) -> None:
        """Whoever opens the thread has read it as it is here, for the whole team.

        `up_to` is the change number of what was read, for those who know less than this row.
        """
        read = self.change if up_to is None else min(up_to, self.change)
        if self.is_unread and read > self.read_change:
            self.read_change = read
            # Somebody else may have read more since this row was.
            Conversation.objects.filter(pk=self.pk, read_change__lt=read).update(read_change=read)

    def next_change(self) -> int:
        """A number above every earlier one of this conversation; call it inside a transaction.

        The row stays locked until the commit, so whoever sees a number has seen all below it. By
        hand: every outcome asks this.
        """
        with by_hand.cursor() as cursor:
            cursor.execute(NEXT_CHANGE, [self.pk])
            self.change = self._known(cursor.fetchone())
        return self.change

    def append(self, **fields: Any) -> Message:
        """The answer with `fields`, saved with the next change number; wholly or not at all.

        By hand, on PostgreSQL in one round trip: a program waits for it. No signal is sent.
        """
        message, values = ANSWER.make(
            account_id=self.account_id, conversation=self, timestamp=timezone.now(), **fields
        )
        del values["change"]
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        moment = values["timestamp"]
        with by_hand.cursor() as cursor:
            if settings.IS_SQLITE:  # Its WITH takes no UPDATE.
                with transaction.atomic():
                    cursor.execute(LATEST, [moment, moment, self.pk])
                    values["change"] = self._known(cursor.fetchone())
                    sql = f"INSERT INTO messages ({names}, change) VALUES ({marks}, %s)"  # noqa: S608
                    cursor.execute(f"{sql} RETURNING change, id", list(values.values()))
                    row = cursor.fetchone()  # Now: no commit comes before a statement's end.
            else:
                sql = f"""
                    WITH latest AS ({LATEST})
                    INSERT INTO messages ({names}, change) SELECT {marks}, change FROM latest
                    RETURNING change, id
                """  # noqa: S608  (our columns)
                cursor.execute(sql, [moment, moment, self.pk, *values.values()])
                row = cursor.fetchone()
        message.change = self.change = self._known(row)
        message.pk = row[1]
        message._state.adding, message._state.db = False, DEFAULT_DB_ALIAS
        return message

    def _known(self, row: tuple[int, ...] | None) -> int:
        """The change number that an UPDATE of this conversation gave."""
        if row is None:
            raise Conversation.DoesNotExist
        return row[0]


NEXT_CHANGE = "UPDATE conversations SET change = change + 1 WHERE id = %s RETURNING change"
LATEST = """
    UPDATE conversations SET change = change + 1,
        last_message_at = CASE WHEN last_message_at > %s THEN last_message_at ELSE %s END
    WHERE id = %s RETURNING change
"""
"""The later of the two: our clock may be slower than Instagram's."""

ANSWER = NewRow(
    Message,
    direction=Message.Direction.OUT,
    status=Message.Status.QUEUED,
    is_from_here=True,
)
WRITTEN_TO = by_hand.Columns(Conversation, "id", "account", "igsid", "last_inbound_at")
ITS_ACCOUNT = by_hand.Columns(
    Account, "id", "username", "access_token", "token_expires_at", "problem"
)
TO_SEND = f"""
    SELECT {WRITTEN_TO}, {ITS_ACCOUNT} FROM conversations
    JOIN accounts ON accounts.id = conversations.account_id AND accounts.deletion_id IS NULL
    JOIN memberships ON memberships.account_id = accounts.id AND memberships.user_id = %s
    WHERE conversations.account_id = %s AND conversations.igsid = %s
"""  # noqa: S608  (our columns)
