"""What attempts mean: for the delivery, for what comes after it, and for the endpoint."""

import logging
import random
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from crypto.models import SecurityEvent

from . import endpoint_notices
from .models import CrmEndpoint, Delivery, DeliveryAttempt, Tally
from .posting import Outcome

logger = logging.getLogger(__name__)

State = Delivery.State

WAITS = [
    timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2),
    timedelta(hours=5), timedelta(hours=10), timedelta(hours=14), timedelta(hours=20),
    timedelta(hours=24),
]  # fmt: skip
"""After each failure but the last."""

ATTEMPTS = len(WAITS) + 1
HOLDS = 3
"""So many attempts hold what comes after it in the conversation."""

TOO_LONG = timedelta(days=5)
SEVERAL = 5
"""An endpoint is switched off when it failed so often in so long, and never succeeded."""


def settle(outcomes: list[Outcome]) -> None:
    """Write down what came of these attempts, in one transaction."""
    now = timezone.now()
    rows = Delivery.objects.filter(pk__in=[one.delivery.pk for one in outcomes])
    with transaction.atomic():
        # Taken back, or deleted with its account, while it was under way.
        states = dict(rows.select_for_update().order_by("pk").values_list("pk", "state"))
        here = [one for one in outcomes if one.delivery.pk in states]
        for one in here:
            if states[one.delivery.pk] == State.FORGOTTEN:
                one.log.answer = ""
        succeeded = [one.delivery.pk for one in here if one.is_success]
        rows.waiting().filter(pk__in=succeeded).update(
            state=State.DELIVERED, due_at=None, settled_at=now, attempts=F("attempts") + 1
        )
        for one in here:
            if not one.is_success:
                _put_off(one, now)
        DeliveryAttempt.objects.bulk_create(one.log for one in here)
        for (endpoint, url), its in _by_address(outcomes):
            # What the address before answered says nothing about a new one.
            _note(CrmEndpoint.objects.filter(pk=endpoint, url=url), its, now)
        Tally.objects.add(
            "delivery", Counter("delivered" if one.is_success else "refused" for one in outcomes)
        )


def _put_off(outcome: Outcome, now: datetime) -> None:
    """Try it again later. What comes after it waits as long, while it holds that."""
    delivery, changes = outcome.delivery, _after_failure(outcome, now)
    if not Delivery.objects.waiting().filter(pk=delivery.pk).update(**changes):
        return
    behind = Delivery.objects.behind(delivery)
    if not changes["is_out_of_order"]:
        behind.filter(due_at__lt=changes["due_at"]).update(due_at=changes["due_at"])
    elif not delivery.is_out_of_order:  # Until now it did.
        behind.update(due_at=now)


def _after_failure(outcome: Outcome, now: datetime) -> dict[str, object]:
    """What becomes of a delivery whose attempt failed."""
    attempts = outcome.delivery.attempts + 1
    changes = {
        "attempts": attempts,
        "is_out_of_order": outcome.delivery.is_out_of_order or attempts >= HOLDS,
    }
    if attempts >= ATTEMPTS:
        return changes | {"state": State.FAILED, "due_at": None, "settled_at": now}
    wait = WAITS[attempts - 1] * random.uniform(0.9, 1.1)  # noqa: S311  (jitter, no secret)
    return changes | {"due_at": now + max(wait, outcome.rest or wait)}


def _by_address(outcomes: list[Outcome]) -> list[tuple[tuple[int, str], list[Outcome]]]:
    """By endpoint and the address that was posted to, in the order in which rows are locked."""
    found: dict[tuple[int, str], list[Outcome]] = {}
    for one in outcomes:
        found.setdefault((one.delivery.endpoint_id, one.log.url), []).append(one)
    return sorted(found.items())


def _note(row: QuerySet[CrmEndpoint], outcomes: list[Outcome], now: datetime) -> None:
    """How the endpoint fares; whether it is switched off."""
    failures = [one for one in outcomes if not one.is_success]
    if len(failures) < len(outcomes):
        row.update(failing_since=None, failures=0, delivered_at=now, problem="")
    elif failures:
        first = failures[0].log.started_at
        row.filter(failing_since=None).update(failing_since=first)
        row.update(failures=F("failures") + len(failures))
    if rests := [one.rest for one in failures if one.rest]:
        row.update(paused_until=now + max(rests))
    if any(one.is_gone for one in failures):
        _switch_off(row, "The receiver answered that it is gone for good (HTTP 410).", now)
    elif failures:
        hopeless = row.filter(failing_since__lte=now - TOO_LONG, failures__gte=SEVERAL)
        days = f"Nothing could be delivered for {TOO_LONG.days} days"
        _switch_off(hopeless, f"{days}; at last: {failures[-1].log.error}", now)


def _switch_off(rows: "Iterable[CrmEndpoint]", why: str, now: datetime) -> None:
    for endpoint in rows.filter(is_enabled=True).defer("secret", "previous_secret"):
        endpoint.record(SecurityEvent.Kind.ENDPOINT_OFF, reason=why)
        CrmEndpoint.objects.filter(pk=endpoint.pk).update(
            is_enabled=False, problem=why, switched_off_at=now, owners_told_at=None
        )
        logger.warning("endpoint %s: switched off; its owners are told", endpoint.public_id)
        endpoint_notices.tell_owners.hint()
