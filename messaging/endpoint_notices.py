"""Tells owners by mail that nothing is forwarded to an endpoint any more: only they can mend it."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import notices

from .models import CrmEndpoint
from .queues import Drain

CLEARED = (
    "This site had to forget the endpoint's secret. What happens waits here until somebody makes a "
    "new one and enters it in the CRM."
)


@Drain
def tell_owners() -> int:
    """Tell of the endpoints that this site switched off; returns of how many it told.

    The row remembers before the mail goes: a crash repeats none. Where the mail server is out of
    reach it forgets again, and the next sweep tells.
    """
    told = 0
    for endpoint in due():
        row = CrmEndpoint.objects.filter(pk=endpoint.pk)
        unheard, now = set(), timezone.now()
        with transaction.atomic():
            if not row.filter(owners_told_at=None).update(owners_told_at=now):
                continue
            _tell(endpoint, endpoint.problem, unheard.update)
        if unheard:
            row.filter(owners_told_at=now).update(owners_told_at=None)
        else:
            told += 1
    return told


def due() -> QuerySet[CrmEndpoint]:
    """Those that were switched off, and whose owners do not know."""
    return CrmEndpoint.objects.filter(
        switched_off_at__isnull=False, owners_told_at=None, deleted_at=None, account__deletion=None
    )


def secrets_cleared(pks: list[str], field: Any = None, **signal: Any) -> None:
    """Secrets were lost; belongs into the transaction that cleared them."""
    if field is not None and field.name != "secret":
        return  # The one before: the current one signs.
    endpoints = CrmEndpoint.objects.filter(pk__in=pks, secret__isnull=True, deleted_at=None)
    endpoints.update(problem=CLEARED)
    for endpoint in endpoints.filter(account__deletion=None):
        _tell(endpoint, CLEARED)


def _tell(endpoint: CrmEndpoint, reason: str, unheard: notices.Unheard | None = None) -> None:
    notices.tell_owners(
        endpoint.account_id,
        "Nothing is forwarded to the CRM of {}",
        "messaging/endpoint_email.txt",
        unheard,
        endpoint=endpoint,
        reason=reason,
        url=settings.PUBLIC_BASE_URL + endpoint.get_absolute_url(),
    )
