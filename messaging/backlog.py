"""What waits for the workers, and for how long: the oldest due row of each queue."""

from collections.abc import Callable
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from . import (
    budgets,
    confirming,
    deletion,
    endpoint_notices,
    forwarding,
    history,
    inbound,
    media,
    participants,
    sender_actions,
    sending,
)
from .models import (
    Attachment,
    CrmEndpoint,
    Delivery,
    FileToDelete,
    HistorySync,
    InboundEvent,
    MissingMessage,
    SenderAction,
    WebhookEvent,
)
from .queues import Drain

Rows = tuple[QuerySet, str]
"""Due rows, and the field that says since when."""

DUE: dict[Drain, Callable[[], list[Rows]]] = {
    inbound.process: lambda: [(WebhookEvent.objects.due(), "due_at"),
                              (InboundEvent.objects.due(), "due_at")],
    sending.send: lambda: [(budgets.due(), "due_at")],
    sender_actions.perform: lambda: [(SenderAction.objects.due(), "due_at")],
    confirming.look: lambda: [(confirming.due(), "due_at")],
    media.fetch: lambda: [(Attachment.objects.due(), "due_at")],
    media.delete_files: lambda: [(FileToDelete.objects.due(), "due_at")],
    participants.ask: lambda: [(participants.due(timezone.now()), "person_due_at")],
    deletion.delete: lambda: [(deletion.under_way(), "requested_at")],
    history.sync: lambda: [(HistorySync.objects.due(), "due_at"),
                           (MissingMessage.objects.due(), "due_at")],
    forwarding.forward: lambda: [(_deliveries(), "due_at")],
    forwarding.clear: lambda: [(CrmEndpoint.objects.exclude(deleted_at=None), "deleted_at")],
    endpoint_notices.tell_owners: lambda: [(endpoint_notices.due(), "switched_off_at")],
}  # fmt: skip
"""Of every queue in tasks.QUEUES. What waits for something else, such as an account that has to be
mended, is not due."""


def _deliveries() -> QuerySet[Delivery]:
    """Those that can be posted: what is for an endpoint that rests, or is off, waits for that."""
    return Delivery.objects.due().filter(endpoint__in=CrmEndpoint.objects.ready())


def oldest(queue: Drain) -> datetime | None:
    """Since when the row waits that has waited longest for a worker; None when none does."""
    found = [
        rows.order_by(since).values_list(since, flat=True).first() for rows, since in DUE[queue]()
    ]
    return min(filter(None, found), default=None)


def age(queue: Drain) -> float:
    """The same as seconds until now, 0 when nothing waits."""
    since = oldest(queue)
    return max((timezone.now() - since).total_seconds(), 0.0) if since else 0.0


def name(queue: Drain) -> str:
    """inbound.process, sending.send, …"""
    return queue.name.removeprefix("messaging.")
