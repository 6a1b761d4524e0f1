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
from .api_keys import ApiKey, ApiKeyQuerySet, Scope
from .deletions import DeletionRequest
from .digests import digest
from .idempotent import IdempotentRequest
from .one_time import ConnectAttempt, Invitation

__all__ = [
    "EXPIRING",
    "REFRESHABLE_AFTER",
    "Account",
    "AccountQuerySet",
    "ApiKey",
    "ApiKeyQuerySet",
    "ConnectAttempt",
    "DeletionRequest",
    "IdempotentRequest",
    "Invitation",
    "Membership",
    "Role",
    "Scope",
    "TokenUnreadable",
    "User",
    "digest",
    "new_account_id",
]
