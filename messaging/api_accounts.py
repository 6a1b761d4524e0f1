"""What the API does to a whole account: bring its history in, and delete it for good."""

from datetime import datetime
from typing import Literal

from django.conf import settings
from django.db.models import Count, Q
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.urls import reverse
from ninja import Field, Router, Schema, Status

import accounts.deletion
from accounts.api_access import access
from accounts.api_middleware import answer_headers
from accounts.models import Account, Scope
from accounts.problems import Kind, Problem
from accounts.views import owned_account

from . import deletion, history
from .api_schemas import path
from .models import Attachment, HistorySync, Message

router = Router(tags=["accounts"])

CANNOT_ASK = Kind(409, "account-not-connected", "Instagram cannot be asked for this account")


class Begun(Schema):
    job_id: int
    status: Literal["started", "already_running"]
    account_id: str


class Progress(Schema):
    job_id: int = Field(alias="pk")
    account_id: str
    state: Literal[*HistorySync.State.values]
    created_at: datetime
    finished_at: datetime | None
    conversations_seen: int
    messages_seen: int
    messages_new: int = Field(description="Were not here, now they are.")
    messages_left: int = Field(description="Are not here, and Instagram no longer tells them.")
    error: str


class Statistics(Schema):
    """Counted when the deletion began."""

    conversations_deleted: int
    messages_deleted: int
    attachments_deleted: int
    inbound_files_deleted: int
    outbound_files_deleted: int
    members_removed: int


class Deleted(Schema):
    message: str
    deleted_account_id: str
    statistics: Statistics
    status_url: str = Field(description="A page, for anybody, that tells how far it is.")


@router.post(
    "/accounts/{account_id}/sync",
    response={202: Begun},
    operation_id="sync_account",
    **access(Scope.SEND, CANNOT_ASK),
)
def sync(request, account_id: str):
    """Look through the recent conversations at Instagram for messages that are not here."""
    account = _account(request, account_id)
    if not account.can_send:
        raise Problem(CANNOT_ASK, "Its status says why; a person has to connect it again.")
    under_way = account.history_syncs.filter(finished_at=None).exists()
    walk = history.begin(account, history.Reason.ASKED)
    answer_headers(request)["Location"] = path("progress", account_id)
    status = "already_running" if under_way else "started"
    return Status(202, Begun(job_id=walk.pk, status=status, account_id=account_id))


@router.get(
    "/accounts/{account_id}/sync",
    response=Progress,
    operation_id="get_sync",
    **access(Scope.READ),
)
def progress(request, account_id: str):
    """How far the latest of these is; 404 when there was none."""
    walk = _account(request, account_id).history_syncs.order_by("-created_at", "-pk").first()
    if walk is None:
        raise Http404
    return walk


@router.delete(
    "/accounts/{account_id}/delete-permanently",
    response=Deleted,
    operation_id="delete_account_permanently",
    **access(Scope.MANAGE),
)
def delete_permanently(request, account_id: str):
    """Delete the account with all it holds, for everybody; owners only.

    It is gone for all of its members at once; its messages and files go within minutes.
    """
    account = owned_account(request, account_id)
    username, statistics = account.username, _statistics(account)
    code = accounts.deletion.delete(account)
    return {
        "message": f"@{username} is deleted. What it held goes within minutes.",
        "deleted_account_id": account_id,
        "statistics": statistics,
        "status_url": settings.PUBLIC_BASE_URL + reverse("data_deletion_status", args=[code]),
    }


def _account(request, pk: str) -> Account:
    return get_object_or_404(Account.objects.for_user(request.user), pk=pk)


def _statistics(account: Account) -> dict[str, int]:
    goes = deletion.what_would_go(account)
    has_file = ~Q(file="")
    is_out = Q(message__direction=Message.Direction.OUT)
    return {
        "conversations_deleted": goes["conversations"],
        "messages_deleted": goes["messages"],
        "members_removed": goes["members"],
        **Attachment.objects.filter(message__account=account).aggregate(
            attachments_deleted=Count("pk"),
            inbound_files_deleted=Count("pk", filter=has_file & ~is_out),
            outbound_files_deleted=Count("pk", filter=has_file & is_out),
        ),
    }
