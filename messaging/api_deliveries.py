"""The deliveries of the API: what was posted to a CRM, what it answered, and posting it again."""

from datetime import datetime
from typing import Literal

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from ninja import Field, Query, Router, Schema, Status

from accounts import paging, problems
from accounts.api_access import access
from accounts.api_bodies import Input
from accounts.models import Role, Scope
from accounts.problems import Kind, Problem

from . import endpoints
from .api_schemas import Moment
from .models import TEST, CrmEndpoint, Delivery, EventType

router = Router(tags=["deliveries"])

NOTHING_TO_POST = Kind(409, "nothing-to-post", "There is nothing to post again")

ENDPOINT_ID = "whe_3b1f7c5d9e2a4f6081c3d5e7"
DELIVERY_ID = "evt_9c2e4a6b8d0f1357a9cbed02"


class DeliveryOut(Schema):
    delivery_id: str = Field(
        alias="public_id", examples=[DELIVERY_ID], description="What `webhook-id` says."
    )
    endpoint_id: str = Field(alias="endpoint.public_id", examples=[ENDPOINT_ID])
    account_id: str = Field(alias="endpoint.account_id", examples=["acc_5f0c2a9e41b7"])
    type: str = Field(examples=["message.received"])
    conversation_id: int | None
    state: Literal[*Delivery.State.values] = Field(
        description="`failed`: given up. `forgotten`: its message was taken back."
    )
    attempt_count: int = Field(
        description="Since it was last posted again by hand, if it was.", examples=[1]
    )
    next_attempt_at: datetime | None = Field(
        description="Not before then, nor before what it comes after; null unless it waits."
    )
    is_out_of_order: bool = Field(description="It holds nothing that came after it.")
    created_at: datetime
    settled_at: datetime | None = Field(description="When it was delivered, given up or forgotten.")

    @staticmethod
    def resolve_attempt_count(delivery):
        return delivery.attempts

    @staticmethod
    def resolve_next_attempt_at(delivery):
        return delivery.due_at if delivery.state == Delivery.State.WAITING else None


class AttemptOut(Schema):
    """One request and what came of it. Neither signatures nor secrets are kept."""

    started_at: datetime
    duration_ms: int = Field(alias="milliseconds", examples=[84])
    url: str | None = Field(
        description="Null for who may not manage the endpoint.",
        examples=["https://crm.example/hooks/instagram"],
    )
    headers: dict[str, str] = Field(
        examples=[{"Content-Type": "application/json", "webhook-id": DELIVERY_ID}],
        description="Without both signatures.",
    )
    status: int | None = Field(description="HTTP's; null without an answer.", examples=[204])
    answer: str = Field(description="How the answer begins.", examples=["Thank you"])
    error: str | None = Field(description="Why it does not count; null when it was accepted.")

    @staticmethod
    def resolve_url(attempt, context):
        return attempt.url if may_manage(context["request"], attempt.delivery.endpoint) else None

    @staticmethod
    def resolve_error(attempt):
        return attempt.error or None


class DeliveryDetail(DeliveryOut):
    body: str | None = Field(
        description="What is posted, byte for byte; null once its message was taken back.",
        examples=['{"type":"message.received","timestamp":"2026-03-14T09:26:53.589Z","data":{}}'],
    )
    attempts: list[AttemptOut]

    @staticmethod
    def resolve_body(delivery):
        return delivery.text or None

    @staticmethod
    def resolve_attempts(delivery):
        return delivery.log.all()


class DeliveryList(Schema):
    deliveries: list[DeliveryOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class Wanted(paging.PageQuery):
    endpoint_id: str | None = Field(None, description="To this endpoint alone.", max_length=32)
    state: Literal[*Delivery.State.values] | None = None
    type: Literal[*EventType.values, TEST] | None = None
    since: Moment | None = Field(
        None, description="Only what happened since then, the moment included."
    )


class Range(Input):
    which: Literal["failed", "all"] = Field(
        "failed", description="`failed`: those given up. `all` wants `since` and `until`."
    )
    since: Moment | None = Field(None, description="Of what happened since then.")
    until: Moment | None = Field(None, description="And until then.")


class Replayed(Schema):
    count: int = Field(description="So many are posted again.")


@router.get(
    "/deliveries",
    response=DeliveryList,
    operation_id="list_deliveries",
    **access(Scope.READ, problems.NOT_FOUND),
)
def deliveries(request, wanted: Query[Wanted]):
    """What was written down to be posted, the latest first."""
    if wanted.endpoint_id is not None:  # An index has each endpoint's own in this order.
        rows = found_endpoint(request, wanted.endpoint_id).deliveries.all()
    else:
        rows = Delivery.objects.for_user(request.user)
    for name in ("state", "type"):
        if value := getattr(wanted, name):
            rows = rows.filter(**{name: value})
    if wanted.since:
        rows = rows.filter(created_at__gte=wanted.since)
    page = paging.page(rows.for_log(), wanted, by=("-pk",))
    return {"deliveries": page.items, "next": page.next}


@router.get(
    "/deliveries/{delivery_id}",
    response=DeliveryDetail,
    operation_id="get_delivery",
    **access(Scope.READ),
)
def delivery(request, delivery_id: str):
    """One of them, with its contents, each attempt, and what was answered."""
    return _found(request, delivery_id)


@router.post(
    "/deliveries/{delivery_id}/replay",
    response={202: DeliveryOut},
    operation_id="replay_delivery",
    **access(Scope.MANAGE, NOTHING_TO_POST),
)
def replay(request, delivery_id: str):
    """Post it again, with the same id and the same bytes; owners only.

    It goes out at once, or as soon as the endpoint is switched on.
    """
    one = _found(request, delivery_id)
    _refuse_members(one.endpoint)
    if not endpoints.replay(one.endpoint.deliveries.filter(pk=one.pk)):
        raise Problem(NOTHING_TO_POST, "Its message was taken back, or it was a test.")
    return Status(202, _found(request, delivery_id))


@router.post(
    "/webhook-endpoints/{endpoint_id}/replay",
    response={202: Replayed},
    operation_id="replay_deliveries",
    **access(Scope.MANAGE),
)
def replay_range(request, endpoint_id: str, payload: Range):
    """Post several deliveries again, each with its id and its bytes; owners only.

    They go out at once, or as soon as the endpoint is switched on. What was taken back is not
    posted, nor are tests.
    """
    rows = owned_endpoint(request, endpoint_id).deliveries.all()
    if payload.which == "failed":
        rows = rows.filter(state=Delivery.State.FAILED)
    elif not (payload.since and payload.until):
        raise problems.invalid("since", "Say from when to when: it may be many.")
    if payload.since and payload.until and payload.until <= payload.since:
        raise problems.invalid("until", "The time ends before it begins.")
    if payload.since:
        rows = rows.filter(created_at__gte=payload.since)
    if payload.until:
        rows = rows.filter(created_at__lte=payload.until)
    return Status(202, {"count": endpoints.replay(rows)})


# --- Whose they are; for endpoints as well --------------------------------------------------------


def reached_endpoints(request) -> QuerySet[CrmEndpoint]:
    return CrmEndpoint.objects.for_user(request.user).with_role_of(request.user)


def found_endpoint(request, public_id: str) -> CrmEndpoint:
    return get_object_or_404(reached_endpoints(request), public_id=public_id)


def owned_endpoint(request, public_id: str) -> CrmEndpoint:
    """404 for strangers, 403 for members."""
    found = found_endpoint(request, public_id)
    _refuse_members(found)
    return found


def may_manage(request, endpoint: CrmEndpoint) -> bool:
    """Whether the whole address is shown: it may hold a key, so only to who may change it."""
    key = request.api_key
    return endpoint.role == Role.OWNER and (key is None or Scope.MANAGE in key.scopes)


def _found(request, public_id: str) -> Delivery:
    one = get_object_or_404(Delivery.objects.for_user(request.user), public_id=public_id)
    one.endpoint = get_object_or_404(reached_endpoints(request), pk=one.endpoint_id)
    return one


def _refuse_members(endpoint: CrmEndpoint) -> None:
    if endpoint.role != Role.OWNER:
        raise PermissionDenied("Only an owner of the account may do this.")
