"""Whether an account works, and what to do where it does not."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from accounts.connecting import REQUIRED, WEBHOOK_FIELDS
from accounts.instagram_errors import InstagramError, TokenRejected
from accounts.models import Account, TokenUnreadable

from . import explanations
from .models import Conversation, Message

LOOK_BACK = 2000
"""So many of the latest messages are looked through; more would keep the page waiting."""

NEEDED_FOR = {
    "instagram_business_basic": "see the name and the id of the account",
    "instagram_business_manage_messages": "receive messages and answer them",
}
FIELDS_BRING = {
    "messages": "messages, and what is answered from the phone",
    "message_edit": "corrections of messages",
    "message_reactions": "hearts and other reactions",
    "messaging_postbacks": "taps on buttons and suggested questions",
    "messaging_seen": "when a customer has read",
    "messaging_referral": "which ad or link a customer came by",
    "messaging_optins": "permission for later messages",
    "messaging_handover": "handing a conversation to another app and back",
    "standby": "what is said while another app is in charge",
}


@dataclass(frozen=True)
class Permission:
    name: str
    purpose: str
    is_granted: bool


@dataclass(frozen=True)
class Field:
    name: str
    brings: str
    is_subscribed: bool


@dataclass(frozen=True)
class Trouble:
    """The last message that did not go out as it should."""

    what: str
    at: datetime
    means: str
    todo: str
    conversation: Conversation


@dataclass(frozen=True)
class Health:
    """`fields` is empty when Instagram could not be asked; `not_asked` then says why.

    `permissions` is empty when Instagram did not say what was granted.
    """

    permissions: list[Permission]
    fields: list[Field]
    not_asked: str
    token_age_days: int | None
    last_webhook_at: datetime | None
    last_sent_at: datetime | None
    trouble: Trouble | None

    @property
    def missing(self) -> list[Field]:
        return [field for field in self.fields if not field.is_subscribed]

    @property
    def lacks_permission(self) -> bool:
        return not all(permission.is_granted for permission in self.permissions)


def examine(account: Account) -> Health:
    """All that can be known of an account now; asks Instagram once."""
    fields, not_asked = fields_of(account)
    recent = _recent(account)
    return Health(
        permissions=_permissions(account),
        fields=fields,
        not_asked=not_asked,
        token_age_days=_token_age(account),
        last_webhook_at=_last_webhook_at(account),
        last_sent_at=_last_sent_at(recent),
        trouble=_trouble(recent),
    )


def fields_of(account: Account) -> tuple[list[Field], str]:
    """What Instagram says it sends for the account, or why it could not be asked."""
    if account.days_left == 0:
        return [], "Its permission for the account has ended."
    try:
        subscribed = account.client().subscribed()
    except TokenUnreadable as exc:
        return [], str(exc)
    except TokenRejected as exc:
        account.note_problem(Account.Problem.REVOKED, str(exc))
        return [], str(exc)
    except InstagramError as exc:
        return [], str(exc)
    if set(subscribed) != set(account.subscribed_fields):
        # What Instagram says holds; other pages read it from the row.
        account.note_subscribed(subscribed)
    return [Field(name, FIELDS_BRING[name], name in subscribed) for name in WEBHOOK_FIELDS], ""


def _token_age(account: Account) -> int | None:
    if account.access_token is None:
        return None
    return (timezone.now() - (account.token_issued_at or account.linked_at)).days


def _permissions(account: Account) -> list[Permission]:
    granted = account.permissions
    if not granted:
        return []
    needed = [Permission(name, NEEDED_FOR[name], name in granted) for name in REQUIRED]
    return needed + [Permission(name, "", True) for name in granted if name not in REQUIRED]


def _recent(account: Account) -> QuerySet[Message]:
    latest = Message.objects.filter(account=account).order_by("-pk")
    first = latest.values_list("pk", flat=True)[LOOK_BACK : LOOK_BACK + 1].first() or 0
    return latest.filter(pk__gt=first)


def _last_webhook_at(account: Account) -> datetime | None:
    latest = account.events.order_by("-pk")
    return latest.values_list("webhook__received_at", flat=True).first()


def _last_sent_at(recent: QuerySet[Message]) -> datetime | None:
    sent = recent.filter(is_from_here=True, status=Message.Status.SENT)
    return sent.values_list("called_at", flat=True).first()


def _trouble(recent: QuerySet[Message]) -> Trouble | None:
    failed = recent.filter(is_from_here=True).exclude(error="")
    message = failed.select_related("conversation").first()
    if message is None:
        return None
    means, todo = explanations.explain(message.error)
    at = message.called_at or message.created_at
    return Trouble(message.error, at, means, todo, message.conversation)
