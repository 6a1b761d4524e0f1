"""The accounts' part of the API: proving who one is, and one's accounts."""

from datetime import datetime
from typing import Literal

from django.shortcuts import get_object_or_404
from ninja import Field, Router, Schema

from . import api_keys, connecting, deletion, problems, sessions
from .api_access import access, open_to_all, refusals
from .api_bodies import Input, Text
from .api_login import user_by_password
from .models import Account, Role, Scope
from .problems import Kind, Problem
from .views import owned_account

router = Router()

ONLY_OWNER = Kind(409, "only-owner", "Others would be left without an owner")


class Login(Input):
    username: Text = Field(min_length=1, max_length=150, examples=["mara"])
    # Hashing takes longer the longer it is.
    password: Text = Field(min_length=1, max_length=1000, examples=["correct horse battery"])


class Session(Schema):
    token: str = Field(examples=["eyJhbGciOiJIUzI1NiJ9.e30.c2ln"])
    expires_in: int = Field(description="Seconds.", examples=[86400])


class Token(Schema):
    api_key: str = Field(examples=["imsg_…"], description="Shown this once.")
    expires_at: datetime


class AccountOut(Schema):
    """A connected Instagram account; its token is never shown."""

    account_id: str = Field(alias="pk", examples=["acc_5f0c2a9e41b7"])
    instagram_account_id: str = Field(examples=["17841400000000000"])
    username: str = Field(examples=["luna.ceramics"])
    profile_picture_url: str
    status: Account.Status
    token_expires_at: datetime | None
    linked_at: datetime


class AccountDetail(AccountOut):
    name: str
    role: Role = Field(description="What you are there: an owner also manages.")
    status_reason: str = Field(alias="problem_reason", description="Why it cannot send, if known.")


class AccountList(Schema):
    accounts: list[AccountOut]


class AccountChange(Input):
    status: Literal["disconnected"] = Field(
        description="Forgets the token; conversations stay. To connect takes a person in a browser."
    )


class Unlinked(Schema):
    message: str
    unlinked_account_id: str


@router.post(
    "/auth/session",
    response=Session,
    operation_id="begin_session",
    tags=["auth"],
    **open_to_all(problems.UNAUTHENTICATED, problems.TOO_MANY_REQUESTS),
)
def session(request, payload: Login):
    """Log in: a token that may do whatever you may, until the session ends."""
    user = user_by_password(request, payload.username, payload.password)
    token, seconds = sessions.begin_for(user)
    return {"token": token, "expires_in": seconds}


@router.post(
    "/auth/token",
    response=Token,
    operation_id="make_API_key_by_password",
    tags=["auth"],
    **open_to_all(problems.UNAUTHENTICATED, problems.TOO_MANY_KEYS, problems.TOO_MANY_REQUESTS),
)
def token(request, payload: Login):
    """Make an API key that reads and sends, for 30 days.

    When you have 50 that work, the one made here that was not used for the longest time ends.
    """
    user = user_by_password(request, payload.username, payload.password)
    with refusals():
        key, secret = api_keys.make_by_password(user)
    return {"api_key": secret, "expires_at": key.expires_at}


@router.get(
    "/accounts",
    response=AccountList,
    operation_id="list_accounts",
    tags=["accounts"],
    **access(Scope.READ),
)
def accounts(request):
    """The accounts that you belong to, and that your API key reaches."""
    return {"accounts": Account.objects.for_user(request.user)}


@router.get(
    "/accounts/me",
    response=AccountList,
    operation_id="list_my_accounts",
    tags=["accounts"],
    **access(Scope.READ),
)
def my_accounts(request):
    """The same as `accounts`."""
    return accounts(request)


@router.get(
    "/accounts/{account_id}",
    response=AccountDetail,
    operation_id="get_account",
    tags=["accounts"],
    **access(Scope.READ),
)
def account(request, account_id: str):
    return _detailed(request, account_id)


@router.patch(
    "/accounts/{account_id}",
    response=AccountDetail,
    operation_id="change_account",
    tags=["accounts"],
    **access(Scope.MANAGE),
)
def change_account(request, account_id: str, payload: AccountChange):
    """Disconnect the account, for everybody; owners only. Once more does nothing."""
    account = owned_account(request, account_id)
    if account.access_token is not None:
        connecting.disconnect(account)
    return _detailed(request, account_id)


@router.delete(
    "/accounts/{account_id}",
    response=Unlinked,
    operation_id="leave_account",
    tags=["accounts"],
    **access(Scope.MANAGE, ONLY_OWNER),
)
def leave_account(request, account_id: str):
    """Leave the account: it goes on for the others, and is disconnected when you are the last."""
    account = get_object_or_404(Account.objects.for_user(request.user), pk=account_id)
    try:
        is_disconnected = deletion.leave(account, request.user)
    except deletion.MustStay as exc:
        raise Problem(ONLY_OWNER, str(exc)) from None
    message = f"You no longer answer for @{account.username}."
    if is_disconnected:
        message += " It is disconnected, since you were the last. Its conversations are kept."
    return {"message": message, "unlinked_account_id": account_id}


def _detailed(request, account_id: str) -> Account:
    mine = Account.objects.for_user(request.user).with_role_of(request.user)
    return get_object_or_404(mine, pk=account_id)
