"""Erasure is real: what was taken back goes from conversations, files and ledger in one commit."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from django.db import transaction
from django.db.models import Exists, F, OuterRef

from . import media, wire
from .models import Attachment, InboundEvent, WebhookEvent
from .queues import rest

BATCH = 20
"""Webhooks forgotten in one transaction; a body may be long."""


def forget_content(mid_digests: Iterable[bytes]) -> None:
    """Take what these messages brought out of files and ledger; belongs into a transaction.

    Also where no message was made of it. The events stay, without their content: replayed they
    say that the message was taken back.
    """
    digests = list(mid_digests)
    media.forget(Attachment.objects.filter(message__mid_digest__in=digests))
    events = InboundEvent.objects.filter(
        mid_digest__in=digests, kind__in=[*wire.BRING, wire.Kind.EDIT]
    )
    _rewrite(events, wire.scrub)
    # The digest of a short text could be guessed.
    events.update(dedupe_key=F("mid_digest"))
    events.filter(kind__in=wire.BRING).update(kind=wire.Kind.UNSEND)


def forget_account(account_id: str) -> int:
    """Take everything that names the account out of the ledger; returns how many events went.

    Works in short transactions, and goes on where it was when it is called again.
    """
    gone = 0
    while True:
        with transaction.atomic():
            events = InboundEvent.objects.filter(account=account_id)
            webhooks = list(events.order_by("id").values_list("webhook", flat=True)[:BATCH])
            if not webhooks:
                return gone
            mine = events.filter(webhook__in=webhooks)
            gone += len(mine)
            _rewrite(mine, wire.blank)
            mine.delete()
            others = InboundEvent.objects.filter(webhook=OuterRef("pk"))
            WebhookEvent.objects.filter(~Exists(others), pk__in=webhooks).delete()
        rest()


def _rewrite(events: Iterable[InboundEvent], change: Callable[[bytes, set[int]], bytes]) -> None:
    positions: dict[int, set[int]] = defaultdict(set)
    for event in events:
        positions[event.webhook_id].add(event.position)
    # Two messages that came in one body may be taken back at the same time.
    locked = WebhookEvent.objects.select_for_update(no_key=True).order_by("pk")
    for webhook in locked.filter(pk__in=positions):
        webhook.body = change(bytes(webhook.body), positions[webhook.pk])
        webhook.save(update_fields=["body"])
