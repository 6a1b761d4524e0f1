"""Tells people of accounts whose token this site had to forget, or is going to; or that ends, as do
API keys.
"""

import logging
from collections.abc import Callable
from itertools import groupby
from operator import attrgetter
from smtplib import SMTPRecipientsRefused
from typing import Any, NamedTuple

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from .models import Account, ApiKey, Membership, Role, User

logger = logging.getLogger(__name__)

PATIENCE = 10
"""Seconds to wait for the mail server."""

Unheard = Callable[[set[str]], None]
"""Called, once the mails went out, with the ids of what no mail told: the mail server was out of
reach, and it may be told again. Not called when somebody heard of each."""

REASON = (
    "This site had to forget the permission that Instagram gave. Reconnect to answer again; what "
    "customers write arrives all the same."
)


def tokens_cleared(pks: list[str], **signal: Any) -> None:
    """Say it on the accounts' pages and, once it is committed, by mail.

    Belongs into the transaction that cleared the tokens.
    """
    Account.objects.filter(pk__in=pks, access_token__isnull=True).update(
        token_issued_at=None, problem="", problem_reason=REASON, problem_at=timezone.now()
    )
    _tell(pks, "Please reconnect {}", "accounts/reset_email.txt")


def clearing_announced(pks: list[str], **signal: Any) -> int:
    """Tell it beforehand, by mail alone, and return to how many; nothing is changed."""
    return _tell(pks, "Soon to be reconnected: {}", "accounts/reset_announced_email.txt")


def token_trouble(pks: list[str], unheard: Unheard) -> int:
    """Tell the owners that only they can keep these accounts connected. Changes nothing."""
    template = "accounts/token_email.txt"
    return _tell(pks, "Please reconnect {}", template, unheard=unheard, role=Role.OWNER)


def tell_owners(
    pk: str, subject: str, template: str, unheard: Unheard | None = None, **more: Any
) -> int:
    """Tell the owners of something else about this account; `more` is for the template."""
    return _tell([pk], subject, template, more, unheard, role=Role.OWNER)


def keys_end(keys: list[ApiKey], unheard: Unheard) -> None:
    """Tell the users of these API keys, each in one mail, that they end soon. Changes nothing."""
    if not settings.EMAIL_IS_CONFIGURED:
        return
    theirs = sorted((key for key in keys if key.user.email), key=attrgetter("user_id"))
    url = settings.PUBLIC_BASE_URL + reverse("api_keys")
    mails = []
    for _, group in groupby(theirs, key=attrgetter("user_id")):
        ending = list(group)
        user = ending[0].user
        # A program may have given it a name of several lines, which would pass for ours.
        named = [(key, " ".join(key.name.split())) for key in ending]
        context = {"user": user, "keys": named, "url": url}
        text = render_to_string("accounts/keys_end_email.txt", context)
        message = EmailMessage("API keys of yours end soon", text, to=[user.email])
        mails.append(_Mail(user, {str(key.pk) for key in ending}, message))
    transaction.on_commit(lambda: _send(mails, unheard))


def _tell(
    pks: list[str],
    subject: str,
    template: str,
    more: dict[str, Any] | None = None,
    unheard: Unheard | None = None,
    **members: Any,
) -> int:
    """One mail to each member who has an address, about all their accounts among `pks`.

    They go out once it is committed. `members` narrows down to whom.
    """
    if not settings.EMAIL_IS_CONFIGURED:
        return 0
    concerned = (
        Membership.objects.filter(account__in=pks, user__is_active=True, **members)
        .exclude(user__email="")
        .select_related("user", "account")
        .order_by("user_id", "account__username")
    )
    mails = []
    for user, group in groupby(concerned, key=attrgetter("user")):
        memberships = list(group)
        one = memberships[0].account
        what = one if len(memberships) == 1 else f"{len(memberships)} Instagram accounts"
        context = {
            "user": user,
            "memberships": memberships,
            "url": settings.PUBLIC_BASE_URL + reverse("account_list"),
            **(more or {}),
        }
        text = render_to_string(template, context)
        message = EmailMessage(subject.format(what), text, to=[user.email])
        mails.append(_Mail(user, {one.account_id for one in memberships}, message))
    transaction.on_commit(lambda: _send(mails, unheard))
    return len(mails)


class _Mail(NamedTuple):
    user: User
    about: set[str]
    message: EmailMessage


def _send(mails: list[_Mail], unheard: Unheard | None) -> None:
    """What was done stands, whether people hear of it by mail or not: failures are logged."""
    if not mails:
        return
    done = 0
    try:
        with get_connection(timeout=PATIENCE) as server:
            for mail in mails:
                _send_one(server, mail)
                done += 1
    except Exception as exc:
        logger.error("%d users could not be told by mail: %s", len(mails) - done, exc)
    # One owner who heard of an account is enough: nobody is to get the same mail again and again.
    heard = {pk for mail in mails[:done] for pk in mail.about}
    left = {pk for mail in mails[done:] for pk in mail.about} - heard
    if left and unheard:
        unheard(left)


def _send_one(server: Any, mail: _Mail) -> None:
    try:
        server.send_messages([mail.message])
    except (SMTPRecipientsRefused, ValueError) as exc:  # This address; the next may be good.
        logger.error("user %s could not be told by mail: %s", mail.user.pk, type(exc).__name__)
