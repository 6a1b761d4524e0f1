"""Erasure is real: what was taken back goes from conversations, files, ledger and what is forwarded
in one commit."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from . import media, wire
from .events import BRING, Kind
from .models import (
    Attachment,
    Delivery,
    DeliveryAttempt,
    EventType,
    InboundEvent,
    SenderAction,
    WebhookEvent,
)

BATCH = 20
"""Webhooks forgotten at a time; a body may be long."""


def forget_content(mid_digests: Iterable[bytes]) -> None:
    """Take what these messages brought out of files and ledger; belongs into a transaction.

    Also where no message was made of it. The events stay, without their content: replayed they
    say that the message was taken back.
    """
    digests = list(mid_digests)
    media.forget(Attachment.objects.filter(message__mid_digest__in=digests))
    _forget_deliveries(digests)
    SenderAction.objects.filter(message__mid_digest__in=digests).delete()
    events = InboundEvent.objects.filter(mid_digest__in=digests, kind__in=[*BRING, Kind.EDIT])
    _rewrite(events, wire.scrub)
    # The digest of a short text could be guessed.
    events.update(dedupe_key=F("mid_digest"))
    events.filter(kind__in=BRING).update(kind=Kind.UNSEND)


def forget_account(account_id: str) -> int:
    """Take some of what names the account out of the ledger; belongs into a transaction.

    Returns how many events went, 0 when none is left.
    """
    events = InboundEvent.objects.filter(account=account_id)
    webhooks = list(events.order_by("id").values_list("webhook", flat=True)[:BATCH])
    mine = events.filter(webhook__in=webhooks)
    _rewrite(mine, wire.blank)
    gone, _ = mine.delete()
    others = InboundEvent.objects.filter(webhook=OuterRef("pk"))
    WebhookEvent.objects.filter(~Exists(others), pk__in=webhooks).delete()
    return gone


def _forget_deliveries(digests: list[bytes]) -> None:
    """What CRMs were told, or would have been, and what they answered: that it was taken back is
    told all the same."""
    told = Delivery.objects.filter(message__mid_digest__in=digests).exclude(type=EventType.DELETED)
    pks = list(told.select_for_update(of=("self",)).order_by("pk").values_list("pk", flat=True))
    if not pks:
        return
    rows = Delivery.objects.filter(pk__in=pks)
    now = timezone.now()
    held = Delivery.objects.waiting().filter(attempts=0, is_out_of_order=False)
    held.filter(conversation__in=rows.values("conversation"), due_at__gt=now).update(due_at=now)
    rows.waiting().update(state=Delivery.State.FORGOTTEN, due_at=None, settled_at=now)
    rows.update(body=b"")
    DeliveryAttempt.objects.filter(delivery__in=pks).update(answer="")


def _rewrite(events: Iterable[InboundEvent], change: Callable[[bytes, set[int]], bytes]) -> None:
    positions: dict[int, set[int]] = defaultdict(set)
    for event in events:
        positions[event.webhook_id].add(event.position)
    # Two messages that came in one body may be taken back at the same time.
    locked = WebhookEvent.objects.select_for_update(no_key=True).order_by("pk")
    for webhook in locked.filter(pk__in=positions):
        webhook.body = change(bytes(webhook.body), positions[webhook.pk])
        webhook.save(update_fields=["body"])
