"""What owners do with the endpoints of an account: add, change, switch, rotate, test, replay."""

from collections.abc import Iterable
from datetime import timedelta
from threading import BoundedSemaphore

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import Account
from crypto.models import SecurityEvent

from . import crm_events, forwarding, outbound_http, posting, signatures
from .models import TEST, CrmEndpoint, Delivery, EventType, SecretUnreadable

Kind = SecurityEvent.Kind

MOST = 10
"""Endpoints of one account."""

LONGEST_URL = 2000
OVERLAP = timedelta(hours=24)
"""How long the secret before signs as well."""

NOT_FAILING = {"failing_since": None, "failures": 0, "paused_until": None}

AT_ONCE = 500
"""Deliveries changed in one transaction."""


class EndpointRefused(Exception):
    """It cannot be done; the text says why. Nothing was changed."""


def add(account: Account, url: str, events: Iterable[str] = ()) -> tuple[CrmEndpoint, str]:
    """A new endpoint, and its secret: nobody can read that again. No events means all of them."""
    url, events = checked_url(url), checked_events(events)
    secret = signatures.new_secret()
    with transaction.atomic():
        # One at a time, so that two requests together do not get past the limit.
        Account.objects.select_for_update(no_key=True).filter(pk=account.pk).first()
        if account.endpoints.filter(deleted_at=None).count() >= MOST:
            raise EndpointRefused(f"An account has at most {MOST} endpoints. Delete one first.")
        endpoint = CrmEndpoint.objects.create(
            account=account, url=url, events=events, secret=secret, status_told=account.status
        )
        endpoint.record(Kind.ENDPOINT_MADE)
    return endpoint, secret


def change(
    endpoint: CrmEndpoint, *, url: str | None = None, events: Iterable[str] | None = None
) -> None:
    """Write what is given, and nothing else: others may change the rest meanwhile.

    What the address before refused is offered to a new one at once.
    """
    before, host = endpoint.url, endpoint.host
    changed = {}
    if url is not None:
        changed["url"] = checked_url(url)
    if events is not None:
        changed["events"] = checked_events(events)
    for name, value in changed.items():
        setattr(endpoint, name, value)
    with transaction.atomic():
        endpoint.save(update_fields=changed)
        endpoint.record(Kind.ENDPOINT_CHANGED, before=host, events=endpoint.events)
        if endpoint.url != before:
            CrmEndpoint.objects.filter(pk=endpoint.pk).update(**NOT_FAILING)
    if endpoint.url != before:
        _begin_anew(endpoint)


def enable(endpoint: CrmEndpoint) -> None:
    """Begin, or begin again; what waited goes out now."""
    with transaction.atomic():
        if CrmEndpoint.objects.filter(pk=endpoint.pk, is_enabled=False).update(is_enabled=True):
            endpoint.record(Kind.ENDPOINT_ON)
        CrmEndpoint.objects.filter(pk=endpoint.pk).update(
            is_enabled=True, problem="", switched_off_at=None, owners_told_at=None, **NOT_FAILING
        )
    _begin_anew(endpoint)
    endpoint.refresh_from_db()


def disable(endpoint: CrmEndpoint) -> None:
    """Stop; what waits goes on waiting, and what happens from now on is not written down."""
    with transaction.atomic():
        if CrmEndpoint.objects.filter(pk=endpoint.pk, is_enabled=True).update(is_enabled=False):
            endpoint.record(Kind.ENDPOINT_OFF)
        CrmEndpoint.objects.filter(pk=endpoint.pk).update(problem="")
    endpoint.refresh_from_db()


def rotate(endpoint: CrmEndpoint, *, overlap: timedelta = OVERLAP) -> str:
    """A new secret, beside which the one before signs for a while; returns it, once."""
    secret = signatures.new_secret()
    endpoint.refresh_from_db()
    try:
        before = endpoint.secrets()[0] if overlap else None
    except SecretUnreadable:
        before = None
    endpoint.secret, endpoint.previous_secret = secret, before
    endpoint.previous_until = timezone.now() + overlap if before else None
    if endpoint.is_enabled:
        endpoint.problem, endpoint.paused_until = "", None
    with transaction.atomic():
        endpoint.save(
            update_fields=["secret", "previous_secret", "previous_until", "problem", "paused_until"]
        )
        endpoint.record(Kind.ENDPOINT_ROTATED)
    forwarding.forward.hint()
    return secret


def end_overlap(endpoint: CrmEndpoint) -> None:
    """The CRM has the new secret, or the old one leaked: from now on it signs nothing."""
    rows = CrmEndpoint.objects.filter(pk=endpoint.pk)
    rows.update(previous_secret=None, previous_until=None)


def end_overlaps() -> None:
    """Forget secrets whose time is over."""
    over = CrmEndpoint.objects.filter(previous_until__lte=timezone.now())
    over.update(previous_secret=None, previous_until=None)


def delete(endpoint: CrmEndpoint) -> None:
    """It is gone at once; a worker deletes what it was told."""
    with transaction.atomic():
        present = CrmEndpoint.objects.filter(pk=endpoint.pk, deleted_at=None)
        if present.update(
            deleted_at=timezone.now(), is_enabled=False, secret=None, previous_secret=None
        ):
            endpoint.record(Kind.ENDPOINT_DELETED)
        forwarding.clear.hint()


_tests = BoundedSemaphore(3)
"""Pages that wait for a receiver at a time: each keeps one of the web process's threads."""


def test(endpoint: CrmEndpoint) -> Delivery:
    """Post a test event now, whatever waits, and return it with its outcome.

    Raises EndpointRefused while another one is under way: each keeps a page waiting.
    """
    try:
        keys = endpoint.secrets()
    except SecretUnreadable as exc:
        raise EndpointRefused(str(exc)) from None
    if not _tests.acquire(blocking=False):
        raise EndpointRefused("Others are testing at this moment. Try again in a few seconds.")
    try:
        return _test(endpoint, keys)
    finally:
        _tests.release()


def _test(endpoint: CrmEndpoint, keys: list[str]) -> Delivery:
    delivery = crm_events.test(endpoint)
    with transaction.atomic():
        CrmEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
        recently = timezone.now() - timedelta(seconds=outbound_http.TIMEOUT)
        under_way = endpoint.deliveries.filter(type=TEST, created_at__gt=recently)
        if under_way.waiting().exists():
            raise EndpointRefused("A test is under way. Wait for it to end.")
        delivery.save()
    if not connection.in_atomic_block:
        connection.close()  # Others need it, for as long as the receiver thinks.
    line = posting.KeptLine()
    outcome = posting.attempt(line, endpoint, keys, delivery)
    line.close()
    with transaction.atomic():
        state = Delivery.State.DELIVERED if outcome.is_success else Delivery.State.FAILED
        delivery.state, delivery.attempts = state, 1
        delivery.settled_at = timezone.now()
        delivery.save(update_fields=["state", "attempts", "settled_at"])
        outcome.log.save()
    return delivery


def replay(deliveries: QuerySet[Delivery]) -> int:
    """Post these once more, with the same id and the same bytes; returns how many.

    They wait for nothing and hold nothing. What was taken back stays so, and tests are not sent
    again.
    """
    again = deliveries.exclude(body=b"").exclude(type=TEST)
    count, last = 0, 0
    while pks := list(
        again.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:AT_ONCE]
    ):
        with transaction.atomic():
            rows, now = Delivery.objects.filter(pk__in=pks).exclude(body=b""), timezone.now()
            holding = _first_holding(rows)
            count += rows.update(
                state=Delivery.State.WAITING, due_at=now, attempts=0, settled_at=None,
                is_out_of_order=True,
            )  # fmt: skip
            for one in holding:
                Delivery.objects.behind(one).update(due_at=now)
            forwarding.forward.hint()
        last = pks[-1]
    return count


def _first_holding(rows: QuerySet[Delivery]) -> list[Delivery]:
    """The first of each conversation that holds what came after it."""
    holding = rows.waiting().filter(is_out_of_order=False).defer("body").order_by("-pk")
    return list({(one.endpoint_id, one.order_key): one for one in holding}.values())


def _begin_anew(endpoint: CrmEndpoint) -> None:
    """Post what waits now, a batch at a time: there may be very many.

    Whatever a crash leaves out waits for its own next try.
    """
    now = timezone.now()
    put_off = endpoint.deliveries.waiting().exclude(type=TEST).filter(due_at__gt=now).order_by("pk")
    last = 0
    while pks := list(put_off.filter(pk__gt=last).values_list("pk", flat=True)[:AT_ONCE]):
        put_off.order_by().filter(pk__in=pks).update(due_at=now)
        last = pks[-1]
    forwarding.forward.hint()


def checked_url(url: str) -> str:
    """The address as it may be stored. Raises EndpointRefused."""
    url = url.strip()
    if len(url) > LONGEST_URL:
        raise EndpointRefused(f"The address is longer than {LONGEST_URL} characters.")
    if not url.isascii() or any(one.isspace() or not one.isprintable() for one in url):
        raise EndpointRefused("The address holds a character that no address has.")
    try:
        outbound_http.check_target(url, allow_private=settings.ALLOW_PRIVATE_WEBHOOK_TARGETS)
    except outbound_http.Forbidden as exc:
        raise EndpointRefused(f"This address cannot be used: {exc}.") from None
    return url


def checked_events(events: Iterable[str]) -> list[str]:
    """In our order, each once; all of them are the same as none. Raises EndpointRefused."""
    wanted = set(events)
    if unknown := sorted(wanted - set(EventType.values)):
        raise EndpointRefused(f"There is no event {', '.join(unknown)[:200]}.")
    return [] if wanted == set(EventType.values) else [e for e in EventType.values if e in wanted]
