"""Whether an account works, and what to do where it does not."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from accounts import instagram_errors
from accounts.connecting import REQUIRED, WEBHOOK_FIELDS
from accounts.instagram_errors import InstagramError, TokenRejected
from accounts.models import Account, TokenUnreadable

from .models import Conversation, Message
from .sending import NOT_CONFIRMED

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

NOTHING_TO_DO = "Nothing needs to be done here."
WHAT_TO_DO = (
    # How the text begins, what it means, what to do; the first that fits.
    (
        NOT_CONFIRMED,
        "Instagram was asked, and its answer was lost on the way. It is not sent again by itself: "
        "the customer might get it twice.",
        "Look in the Instagram app whether it is there, then press one of the two buttons below "
        "the message.",
    ),
    (
        Message.NOT_ARRIVED,
        "Somebody of your team looked in the Instagram app and did not find it.",
        "Write it again, if it still matters.",
    ),
    (
        "Given up",
        "The account could not send for so long that the customer no longer expects an answer.",
        "Mend the connection, then write again once the customer has written.",
    ),
    (
        instagram_errors.WINDOW_CLOSED,
        "Instagram lets a shop answer for 24 hours after the customer has written.",
        "Wait until the customer writes again.",
    ),
    (
        "Another app is in charge",
        "Instagram lets one app at a time answer in a conversation.",
        "Answer in that app, or choose this one in Instagram: Settings → Messages and story "
        "replies → Message controls → Connected tools.",
    ),
    (
        "The customer has blocked",
        "It concerns this one customer; the account is well.",
        NOTHING_TO_DO,
    ),
    (
        "This customer",
        "It concerns this one customer; the account is well.",
        "Try again later, should it matter.",
    ),
    (
        "Instagram does not know this customer",
        "The account of the customer was closed, or never wrote to this one.",
        NOTHING_TO_DO,
    ),
    (
        "Instagram refuses the text",
        "One message takes at most 1,000 bytes.",
        "Send it in two parts.",
    ),
    (
        "Trying again",
        "Instagram was out of reach, or asked to slow down.",
        "Nothing: the message goes out by itself. If it stays so for an hour, tell the person who "
        "runs this site.",
    ),
    (
        "Waiting",
        "The message waits until the account can send again.",
        "Mend the connection, as said above; then it goes out by itself.",
    ),
    (
        "",
        "Instagram refused this one message.",
        "Read in the conversation what it was. If others fail as well, show this text to the "
        "person who runs this site.",
    ),
)


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
    fields, not_asked = _fields(account)
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


def _fields(account: Account) -> tuple[list[Field], str]:
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
    means, todo = next(
        (means, todo) for start, means, todo in WHAT_TO_DO if message.error.startswith(start)
    )
    at = message.called_at or message.created_at
    return Trouble(message.error, at, means, todo, message.conversation)
