"""What is taken back: the permission, one person's access, or an account and all it holds.

Deleting is slow work, so it is a row first. An account that is to go loses its token, its people
and its Instagram id in one transaction: from then on nobody sees it, no webhook finds it, and the
same Instagram account may be connected anew beside it. Workers delete the rest.
"""

import logging

from django.db import transaction
from django.db.models import Q, QuerySet
from django.dispatch import Signal
from django.utils import timezone

from . import audit, connecting
from .models import (
    Account,
    ConnectAttempt,
    DeletionRequest,
    Membership,
    Role,
    User,
)
from .signed_requests import SignedRequest

logger = logging.getLogger(__name__)

WITHDRAWN = "The app was removed from the account in Instagram's settings."

deletion_begun = Signal()
"""Sent with `request` when there is something to delete: a worker may begin."""


class MustStay(Exception):
    """The person cannot leave yet; the text says why, and what to do."""


def deauthorize(signed: SignedRequest) -> None:
    """The owner removed us at Instagram: forget the token. Conversations stay."""
    for account in _named_by(signed):
        if not _knew_of_this_link(signed, account):
            logger.warning("account %s: a deauthorization from before it was linked", account.pk)
            continue
        # Unless a person allowed it anew this very moment; a refresh is no such act.
        with_token = Account.objects.filter(
            pk=account.pk, allowed_at=account.allowed_at, access_token__isnull=False
        )
        with transaction.atomic():
            if with_token.update(
                access_token=None,
                token_issued_at=None,
                token_expires_at=None,
                subscribed_fields=[],
                problem=Account.Problem.REVOKED,
                problem_reason=WITHDRAWN,
                problem_at=timezone.now(),
            ):
                audit.permission_withdrawn(account)


def delete_for_instagram(signed: SignedRequest) -> str:
    """Begin to delete what the callback names. Returns the code that shows how far it is."""
    asked_by = DeletionRequest.AskedBy.INSTAGRAM
    named = list(_named_by(signed))
    meant = [account for account in named if _knew_of_this_link(signed, account)]
    if meant:
        return _begin(meant, asked_by)
    if named:
        state = DeletionRequest.State.OUTDATED
    elif _is_being_deleted(signed):
        state = DeletionRequest.State.EARLIER  # Perhaps this one was delivered twice.
    else:
        state = DeletionRequest.State.NOTHING
    _, code = DeletionRequest.issue(asked_by, state=state, finished_at=timezone.now())
    return code


def delete(account: Account) -> str:
    """Begin to delete the account for good. Returns the code that shows how far it is."""
    connecting.unsubscribe(account)  # It goes, whatever Instagram says.
    return _begin([account], DeletionRequest.AskedBy.OWNER)


def leave(account: Account, user: User) -> bool:
    """End the membership of `user`; returns whether that disconnected the account.

    The last person who leaves disconnects it: nobody would see what arrives. Raises MustStay
    when others would be left without an owner.
    """
    with transaction.atomic():
        # One at a time: of two people who leave at once, the second sees that it is the last.
        account = Account.objects.select_for_update(no_key=True).get(pk=account.pk)
        others = account.memberships.exclude(user=user)
        roles = list(others.values_list("role", flat=True))
        if roles and Role.OWNER not in roles:
            raise MustStay(
                "You are the only owner, and others answer for this account. Send one of them an "
                "invitation as owner first; or delete the account, for all of you."
            )
        Membership.objects.filter(account=account, user=user).delete()
        if not roles:
            connecting.forget_token(account)
    if not roles:  # With the token that it had: nobody else knows that any more.
        connecting.unsubscribe(account)
    return not roles


def former_id(account: Account) -> str:
    """The Instagram id that an account had before it was to be deleted.

    What it has since is nobody's: webhooks do not find it, and the same Instagram account may be
    connected anew.
    """
    return account.instagram_account_id.removesuffix(f"-{account.pk}")


def _is_being_deleted(signed: SignedRequest) -> bool:
    if not signed.user_id:
        return False
    former = f"{signed.user_id}-acc_"
    was_named = Q(app_scoped_id__startswith=former) | Q(instagram_account_id__startswith=former)
    return Account.objects.filter(was_named, deletion__isnull=False).exists()


def _named_by(signed: SignedRequest) -> QuerySet[Account]:
    """Meta says "app-scoped id"; nobody knows whether it always is one (9.1)."""
    if not signed.user_id:
        return Account.objects.none()
    is_named = Q(app_scoped_id=signed.user_id) | Q(instagram_account_id=signed.user_id)
    return Account.objects.filter(is_named, deletion=None)


def _knew_of_this_link(signed: SignedRequest, account: Account) -> bool:
    """Whether it was issued after somebody linked the account, or linked it again.

    Who removed us and came back is not to lose, by an old request, what came after it. The date
    of the token says less: that one is refreshed while a request is on its way.
    """
    linked_at = account.allowed_at or account.linked_at
    return signed.issued_at >= linked_at.replace(microsecond=0)  # Meta's are whole seconds.


def _begin(accounts: list[Account], asked_by: str) -> str:
    with transaction.atomic():
        request, code = DeletionRequest.issue(asked_by)
        pks = [account.pk for account in accounts]
        rows = Account.objects.select_for_update().filter(pk__in=pks, deletion=None)
        for account in rows.order_by("pk"):
            for_instagram = asked_by == DeletionRequest.AskedBy.INSTAGRAM
            audit.deletion_begun(account, for_instagram=for_instagram)
            _take_away(account, request)
        deletion_begun.send(DeletionRequest, request=request)
    return code


def _take_away(account: Account, request: DeletionRequest) -> None:
    request.add(members=account.memberships.count())
    account.memberships.all().delete()
    account.invitations.all().delete()
    ConnectAttempt.objects.filter(account=account).delete()
    Account.objects.filter(pk=account.pk).update(
        deletion=request,
        instagram_account_id=f"{account.instagram_account_id}-{account.pk}"[:64],
        app_scoped_id=f"{account.app_scoped_id}-{account.pk}"[:64],
        username="(being deleted)",
        name="",
        profile_picture_url="",
        access_token=None,
        token_issued_at=None,
        token_expires_at=None,
        permissions=[],
        subscribed_fields=[],
        problem="",
        problem_reason="",
        problem_at=None,
    )
