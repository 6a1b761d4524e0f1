"""Deletes accounts that are to go, a little at a time: others are writing meanwhile.

The rows are the job: what is still there is still to be deleted, so a worker that dies leaves
nothing to repair.
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.deletion import former_id
from accounts.models import Account, DeletionRequest

from . import erasure, media
from .models import (
    Attachment,
    Conversation,
    Delivery,
    FileToDelete,
    InboundEvent,
    Message,
    WebhookEvent,
)
from .queues import Drain

logger = logging.getLogger(__name__)

BATCH = 20 if settings.IS_SQLITE else 50
"""Rows of one transaction: on SQLite others wait for it."""

SETTLING = timedelta(seconds=5)
"""No deletion is done sooner: what was on its way when it was asked for has come by then."""


def what_would_go(account: Account) -> dict[str, int]:
    """Counts for who is about to delete the account."""
    attachments = Attachment.objects.filter(message__account=account).exclude(file="")
    pictures = account.conversations.exclude(picture="")
    return {
        "conversations": account.conversations.count(),
        "messages": account.messages.count(),
        "files": attachments.count() + pictures.count(),
        "rules": account.rules.count(),
        "members": account.memberships.count(),
    }


def go_on(**signal: object) -> None:
    """Accounts are to be deleted: what they hold may go."""
    delete.hint()


def under_way() -> QuerySet[DeletionRequest]:
    return DeletionRequest.objects.filter(state=DeletionRequest.State.UNDER_WAY)


@Drain
def delete() -> int:
    """Delete some of what is to go; returns how much was found, 0 when there is nothing to do."""
    for request in under_way():
        try:
            if found := _delete_some(request):
                return found
        except Exception:  # One must not keep the others; the sweep tries it again.
            logger.exception("deletion %s: stopped", request.pk)
    return 0


def _delete_some(request: DeletionRequest) -> int:
    account = request.accounts.order_by("pk").first()
    if account is None:
        request.finish()
        return 1
    if events := _forget_what_came(account, request):
        return events
    if forwarded := _forget_what_went(account):
        return forwarded
    messages, empty = _next(account)
    if empty:
        return _delete_conversations(request, empty)
    if messages:
        return _delete_messages(request, messages)
    settled_at = request.requested_at + SETTLING
    unread = WebhookEvent.objects.filter(due_at__isnull=False, received_at__lte=settled_at)
    if timezone.now() < settled_at or unread.exists():
        return 0  # They may be about the account: once they are read, that shows.
    with transaction.atomic():
        _, gone = account.delete()
        request.add(accounts_deleted=gone.get("accounts.Account", 0))
    return 1


def _forget_what_came(account: Account, request: DeletionRequest) -> int:
    # Also what found no account of this id: from before it was linked, or while it is deleted.
    nobodys = InboundEvent.objects.filter(account=None, instagram_account_id=former_id(account))
    if Account.objects.filter(instagram_account_id=former_id(account)).exists():
        # Connected anew: what came since is that one's.
        nobodys = nobodys.filter(webhook__received_at__lte=request.requested_at)
    # In no order: PostgreSQL would look for the first of them among everybody's.
    if found := list(nobodys.values_list("pk", flat=True)[:BATCH]):
        InboundEvent.objects.filter(pk__in=found).update(account=account)
    if not account.events.exists():
        return 0
    with transaction.atomic():
        # Another worker may have the same ones: each is counted by whoever forgets it.
        DeletionRequest.objects.select_for_update(no_key=True).get(pk=request.pk)
        forgotten = erasure.forget_account(account.pk)
        request.add(notifications=forgotten)
    return forgotten


def _forget_what_went(account: Account) -> int:
    """What was forwarded to CRMs, and what still waits for that: nobody is told of it any more."""
    told = Delivery.objects.filter(endpoint__account=account).order_by("pk")
    pks = list(told.values_list("pk", flat=True)[:BATCH])
    Delivery.objects.filter(pk__in=pks).delete()
    return len(pks)


def _next(account: Account) -> tuple[list[int], list[int]]:
    """Some messages, conversation by conversation, and the conversations that have none.

    By conversation, since that is an index: PostgreSQL would look for the oldest messages of the
    account among everybody's.
    """
    messages, empty = [], []
    for conversation in account.conversations.order_by("pk")[:BATCH]:
        oldest = conversation.messages.order_by("timestamp").values_list("pk", flat=True)
        found = list(oldest[: BATCH - len(messages)])
        messages += found
        if not found:
            empty.append(conversation.pk)
        if len(messages) == BATCH:
            break
    return messages, empty


def _delete_messages(request: DeletionRequest, pks: list[int]) -> int:
    attachments = Attachment.objects.filter(message__in=pks)
    now = timezone.now()
    waiting = attachments.filter(Q(lease=None) | Q(due_at__lte=now), due_at__isnull=False)
    if waiting.exists():
        waiting.update(due_at=None, lease=None)
    if attachments.filter(due_at__isnull=False).exists():
        return 0  # One is being downloaded right now: its file is not there yet to be deleted.
    with transaction.atomic():
        # Another worker may have the same ones: each row is counted by whoever deletes it.
        DeletionRequest.objects.select_for_update(no_key=True).get(pk=request.pk)
        files = media.forget(attachments)
        _, gone = Message.objects.filter(pk__in=pks).delete()
        request.add(messages=gone.get("messaging.Message", 0), files=files)
    return len(pks)


def _delete_conversations(request: DeletionRequest, pks: list[int]) -> int:
    conversations = Conversation.objects.filter(pk__in=pks)
    with transaction.atomic():
        DeletionRequest.objects.select_for_update(no_key=True).get(pk=request.pk)
        # Whoever is storing a picture, or a message, is waited for or finds the conversation gone.
        locked = list(conversations.select_for_update().order_by("pk"))
        if Message.objects.filter(conversation__in=pks).exists():
            return len(pks)  # It came before the lock; its files are to go first.
        pictures = [one.picture.name for one in locked if one.picture]
        FileToDelete.objects.bulk_create(FileToDelete(name=name) for name in pictures)
        _, gone = conversations.delete()
        request.add(conversations=gone.get("messaging.Conversation", 0), files=len(pictures))
    media.delete_files.hint()
    return len(pks)
