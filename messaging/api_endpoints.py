"""The endpoints of the API: where an account's events are posted, their secrets, and a test."""

from datetime import datetime
from typing import Annotated, Literal

from django.shortcuts import get_object_or_404
from ninja import Field, Query, Router, Schema, Status

from accounts import paging, problems
from accounts.api_access import access
from accounts.api_bodies import Input, Text
from accounts.api_middleware import answer_headers
from accounts.models import Account, Scope
from accounts.problems import Kind, Problem
from accounts.views import owned_account

from . import endpoints
from .api_deliveries import (
    ENDPOINT_ID,
    DeliveryDetail,
    found_endpoint,
    may_manage,
    owned_endpoint,
    reached_endpoints,
)
from .api_schemas import path
from .models import CrmEndpoint, EventType

router = Router(tags=["webhook-endpoints"])

NOT_TAKEN = Kind(422, "address-not-taken", "Nothing can be posted to this address")
TOO_MANY = Kind(409, "too-many-endpoints", "The account has all the endpoints it may have")
NO_TEST = Kind(409, "no-test-now", "A test cannot be sent now")

Url = Annotated[
    Text,
    Field(
        max_length=endpoints.LONGEST_URL,
        description="It begins with https:// and takes POST requests.",
        examples=["https://crm.example/hooks/instagram"],
    ),
]
Events = Annotated[
    list[EventType],
    Field(
        max_length=50,
        description="What it is told of; empty for everything, types to come included.",
        examples=[["message.received", "message.sent"]],
    ),
]


class EndpointOut(Schema):
    """Where events are posted; its secret is never shown again."""

    endpoint_id: str = Field(alias="public_id", examples=[ENDPOINT_ID])
    account_id: str = Field(examples=["acc_5f0c2a9e41b7"])
    host: str = Field(examples=["crm.example"])
    url: str | None = Field(
        description="The whole address; null for members, and for keys that may not manage.",
        examples=["https://crm.example/hooks/instagram"],
    )
    events: Events
    is_enabled: bool
    state: Literal["on", "off", "waiting", "failing"] = Field(
        description="`waiting`: nothing can be signed. `failing`: the latest attempts failed."
    )
    problem: str | None = Field(description="What stands in the way, or why it was switched off.")
    failing_since: datetime | None
    failures: int = Field(description="Since the last success.")
    delivered_at: datetime | None = Field(description="The last success.")
    previous_secret_until: datetime | None = Field(
        description="Until then the secret before signs as well; null unless there is one."
    )
    created_at: datetime

    @staticmethod
    def resolve_url(endpoint, context):
        return endpoint.url if may_manage(context["request"], endpoint) else None

    @staticmethod
    def resolve_problem(endpoint):
        return endpoint.problem or None

    @staticmethod
    def resolve_previous_secret_until(endpoint):
        return endpoint.previous_until if endpoint.is_overlapping else None


class EndpointWithSecret(EndpointOut):
    secret: str = Field(alias="new_secret", examples=["whsec_…"], description="Shown this once.")


class EndpointList(Schema):
    webhook_endpoints: list[EndpointOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class Wanted(paging.PageQuery):
    account_id: str | None = Field(None, description="Of this account alone.", max_length=32)


class NewEndpoint(Input):
    account_id: Text = Field(max_length=32, examples=["acc_5f0c2a9e41b7"])
    url: Url
    events: Events = []


class EndpointChange(Input):
    """What is left out, or null, stays as it is."""

    url: Url | None = None
    events: Events | None = None
    is_enabled: bool | None = Field(
        None, description="Off: what waits goes on waiting, and what happens is not kept for it."
    )


@router.get(
    "/webhook-endpoints",
    response=EndpointList,
    operation_id="list_webhook_endpoints",
    **access(Scope.READ, problems.NOT_FOUND),
)
def endpoint_list(request, wanted: Query[Wanted]):
    """The endpoints of your accounts, the oldest first."""
    rows = reached_endpoints(request)
    if wanted.account_id is not None:
        mine = Account.objects.for_user(request.user)
        rows = rows.filter(account=get_object_or_404(mine, pk=wanted.account_id))
    page = paging.page(rows, wanted, by=("pk",))
    return {"webhook_endpoints": page.items, "next": page.next}


@router.post(
    "/webhook-endpoints",
    response={201: EndpointWithSecret},
    operation_id="add_webhook_endpoint",
    **access(Scope.MANAGE, problems.NOT_FOUND, NOT_TAKEN, TOO_MANY),
)
def add(request, payload: NewEndpoint):
    """Begin to post an account's events to an address; owners only.

    An Idempotency-Key is not taken: the answer, with the secret in it, would have to be kept.
    """
    account, url = owned_account(request, payload.account_id), _checked(payload.url)
    try:
        added, secret = endpoints.add(account, url, payload.events)
    except endpoints.EndpointRefused as exc:
        raise Problem(TOO_MANY, str(exc)) from None
    answer_headers(request)["Location"] = path("endpoint", added.public_id)
    return Status(201, _with_secret(request, added.public_id, secret))


@router.get(
    "/webhook-endpoints/{endpoint_id}",
    response=EndpointOut,
    operation_id="get_webhook_endpoint",
    **access(Scope.READ),
)
def endpoint(request, endpoint_id: str):
    return found_endpoint(request, endpoint_id)


@router.patch(
    "/webhook-endpoints/{endpoint_id}",
    response=EndpointOut,
    operation_id="change_webhook_endpoint",
    **access(Scope.MANAGE, NOT_TAKEN),
)
def change(request, endpoint_id: str, payload: EndpointChange):
    """Another address, other events, on or off; owners only.

    What waits goes to a new address at once, and what waited goes out when it is switched on.
    """
    one = owned_endpoint(request, endpoint_id)
    if payload.url is not None or payload.events is not None:
        # Also the one that it has: the operator may have forbidden its like since.
        _checked(one.url if payload.url is None else payload.url)
        endpoints.change(one, url=payload.url, events=payload.events)
    if payload.is_enabled not in (None, one.is_enabled):
        switch = endpoints.enable if payload.is_enabled else endpoints.disable
        switch(one)
    return found_endpoint(request, endpoint_id)


@router.delete(
    "/webhook-endpoints/{endpoint_id}",
    response={204: None},
    operation_id="delete_webhook_endpoint",
    **access(Scope.MANAGE),
)
def delete(request, endpoint_id: str):
    """Post nothing there any more, not even what waits; its log goes along. Owners only."""
    endpoints.delete(owned_endpoint(request, endpoint_id))
    return Status(204, None)


@router.post(
    "/webhook-endpoints/{endpoint_id}/secret",
    response=EndpointWithSecret,
    operation_id="rotate_webhook_secret",
    **access(Scope.MANAGE),
)
def rotate(request, endpoint_id: str):
    """Make a new secret, beside which the one before signs for 24 hours; owners only."""
    secret = endpoints.rotate(owned_endpoint(request, endpoint_id))
    return _with_secret(request, endpoint_id, secret)


@router.delete(
    "/webhook-endpoints/{endpoint_id}/previous-secret",
    response={204: None},
    operation_id="end_webhook_secret_overlap",
    **access(Scope.MANAGE),
)
def end_overlap(request, endpoint_id: str):
    """Let the secret before sign nothing from now on; owners only. Once more does nothing."""
    endpoints.end_overlap(owned_endpoint(request, endpoint_id))
    return Status(204, None)


@router.post(
    "/webhook-endpoints/{endpoint_id}/test",
    response=DeliveryDetail,
    operation_id="test_webhook_endpoint",
    **access(Scope.MANAGE, NO_TEST),
)
def test(request, endpoint_id: str):
    """Post a test event now, also while it is off, and tell what came of it; owners only.

    The answer comes when the receiver has answered, after 15 seconds at most.
    """
    try:
        return endpoints.test(owned_endpoint(request, endpoint_id))
    except endpoints.EndpointRefused as exc:
        raise Problem(NO_TEST, str(exc)) from None


def _checked(url: str) -> str:
    try:
        return endpoints.checked_url(url)
    except endpoints.EndpointRefused as exc:
        raise Problem(NOT_TAKEN, str(exc)) from None


def _with_secret(request, public_id: str, secret: str) -> CrmEndpoint:
    found = found_endpoint(request, public_id)
    found.new_secret = secret
    return found
