"""API keys, made, listed and revoked through the API itself."""

from datetime import datetime, timedelta

from django.shortcuts import get_object_or_404
from ninja import Field, Query, Router, Schema, Status

from . import api_keys, paging, problems
from .api_access import access, refusals
from .api_bodies import Input, Text
from .api_middleware import answer_headers
from .models import Account, ApiKey, Scope
from .problems import Problem

router = Router(tags=["api-keys"])


class KeyOut(Schema):
    id: int
    name: str
    beginning: str = Field(examples=["imsg_3kT9"], description="To tell it from others.")
    scopes: list[Scope]
    account_ids: list[str] | None = Field(description="null: all accounts of its user.")
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None

    @staticmethod
    def resolve_account_ids(key):
        return sorted(account.pk for account in key.accounts.all()) if key.is_limited else None


class NewKey(Input):
    name: str = Field(
        max_length=100,
        pattern=r"^[^\x00]*[^\s\x00][^\x00]*$",
        description="What uses it; not only blanks.",
        examples=["CRM"],
    )
    scopes: list[Scope] = Field(list(api_keys.FOR_PASSWORD), min_length=1, max_length=3)
    account_ids: list[Text] | None = Field(
        None, min_length=1, max_length=1000, description="Leave it out for all of your accounts."
    )
    expires_in_days: int = Field(api_keys.LIFETIME.days, ge=1, le=api_keys.MOST_DAYS)


class MadeKey(KeyOut):
    api_key: str = Field(examples=["imsg_…"], description="Shown this once.")


class KeyList(Schema):
    api_keys: list[KeyOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


@router.get(
    "/api-keys",
    response=KeyList,
    operation_id="list_api_keys",
    **access(Scope.MANAGE),
)
def keys(request, wanted: Query[paging.PageQuery]):
    """Your keys, the newest first, also those that are over. No key is shown."""
    rows = ApiKey.objects.for_user(request.user).prefetch_related("accounts")
    page = paging.page(rows, wanted, by=("-created_at", "-pk"))
    return {"api_keys": page.items, "next": page.next}


@router.post(
    "/api-keys",
    response={201: MadeKey},
    operation_id="make_api_key",
    **access(Scope.MANAGE, problems.NOT_FOUND, problems.TOO_MANY_KEYS),
)
def make_key(request, payload: NewKey):
    """Make a key. It may do no more than you may now, and reaches no account that is not yours.

    One that is made with an API key ends when that one expires or is revoked.

    An Idempotency-Key is not taken: the answer, with the key in it, would have to be kept.
    """
    caller = request.api_key
    if caller and caller.is_limited:
        text = "An API key that is limited to some accounts makes no keys."
        raise Problem(problems.FORBIDDEN, text)
    if caller and (lacking := [s for s in payload.scopes if s not in caller.scopes]):
        text = f"Your own API key lacks the scope {lacking[0].value}."
        raise Problem(problems.FORBIDDEN, text, scope=lacking[0].value)
    accounts = _reached(request, payload.account_ids)
    with refusals():
        key, secret = api_keys.make(
            request.user,
            payload.name,
            scopes=payload.scopes,
            accounts=accounts,
            lifetime=timedelta(days=payload.expires_in_days),
            made_by=caller,
        )
    key.api_key = secret
    answer_headers(request)["Location"] = f"{request.path}/{key.pk}"
    return Status(201, key)


@router.get(
    "/api-keys/{key_id}",
    response=KeyOut,
    operation_id="get_api_key",
    **access(Scope.MANAGE),
)
def key(request, key_id: int):
    return get_object_or_404(ApiKey.objects.for_user(request.user), pk=key_id)


@router.delete(
    "/api-keys/{key_id}",
    response={204: None},
    operation_id="revoke_api_key",
    **access(Scope.MANAGE),
)
def revoke_key(request, key_id: int):
    """Revoke the key: from now on it opens nothing, nor does what was made with it.

    Once more does nothing.
    """
    api_keys.revoke(get_object_or_404(ApiKey.objects.for_user(request.user), pk=key_id))
    return Status(204, None)


def _reached(request, account_ids: list[str] | None) -> list[Account] | None:
    if account_ids is None:
        return None
    found = Account.objects.for_user(request.user).in_bulk(account_ids)
    if len(found) < len(set(account_ids)):
        raise Problem(problems.NOT_FOUND, "One of account_ids is no account of yours.")
    return list(found.values())
