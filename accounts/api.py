"""The accounts' part of the API: who one is, which accounts one has, and one's keys."""

from datetime import datetime

from ninja import Field, Router, Schema

from .api_access import access
from .models import Account, Scope

router = Router()


class AccountOut(Schema):
    """A connected Instagram account; its token is never shown."""

    account_id: str = Field(alias="pk", examples=["acc_5f0c2a9e41b7"])
    instagram_account_id: str = Field(examples=["17841400000000000"])
    username: str = Field(examples=["luna.ceramics"])
    profile_picture_url: str
    status: Account.Status
    token_expires_at: datetime | None
    linked_at: datetime


class AccountList(Schema):
    accounts: list[AccountOut]


@router.get("/accounts", response=AccountList, operation_id="list_accounts", **access(Scope.READ))
def accounts(request):
    """The accounts that you belong to, and that your API key reaches."""
    return {"accounts": Account.objects.for_user(request.user)}
