"""The tables of accounts, by what they are about."""

from .accounts import (
    EXPIRING,
    REFRESHABLE_AFTER,
    Account,
    AccountQuerySet,
    Membership,
    Role,
    TokenUnreadable,
    User,
    new_account_id,
)
from .deletions import DeletionRequest
from .digests import digest
from .one_time import ConnectAttempt, Invitation

__all__ = [
    "EXPIRING",
    "REFRESHABLE_AFTER",
    "Account",
    "AccountQuerySet",
    "ConnectAttempt",
    "DeletionRequest",
    "Invitation",
    "Membership",
    "Role",
    "TokenUnreadable",
    "User",
    "digest",
    "new_account_id",
]
