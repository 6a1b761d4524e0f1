"""Whose a message of the file is, and who is on the other side."""

from typing import NamedTuple

from accounts.models import Account

from ..events import MAX_ID
from .source import Row, text

NO_ACCOUNT = "they belong to no account of the file"
NO_PERSON = "they do not say who the customer is"
TO_ONESELF = "both sides are the account itself"
ACCOUNT_LEFT = "their account does not come along"


class Route(NamedTuple):
    account: Account
    igsid: str
    is_out: bool


class Lost(Exception):
    """A row that belongs nowhere; the text says why."""


class Routes:
    """The ids by which the file names its accounts, and which account here each one means."""

    def __init__(self):
        self.accounts: dict[str, Account | None] = {}
        self._names: dict[str, str] = {}

    def add(self, row: Row, account: Account | None) -> None:
        """`account` is None for one that does not come along."""
        pk = text(row["id"])
        self.accounts[pk] = account
        # What routes is put down last for each: it is an account's own, the others may be mixed up.
        for name in ("conversations_api_id", "instagram_account_id"):
            if row[name]:
                self._names.setdefault(text(row[name]), pk)
        for name in filter(
            None, [row["messaging_channel_id"], account and account.instagram_account_id]
        ):
            self._names[text(name)] = pk

    def of_message(self, row: Row) -> Route:
        """Raises Lost.

        The ids of both sides decide, and what the row says beside them only where they do not
        tell: the predecessor gave messages that it could not place to whichever account it had.
        """
        sender, recipient = text(row["sender_id"]), text(row["recipient_id"])
        is_out = text(row["direction"]).lower() in ("outbound", "out")
        own, other = (sender, recipient) if is_out else (recipient, sender)
        if own not in self._names and other in self._names:
            own, other, is_out = other, own, not is_out
        pk = self._names.get(own) or text(row["account_id"])
        account = self._account(pk)
        if self._names.get(other) == pk:
            raise Lost(TO_ONESELF)
        return Route(account, _person(other), is_out)

    def of_send(self, row: Row) -> Route:
        """Of what was sent through the predecessor's API. Raises Lost."""
        account = self._account(text(row["account_id"]))
        return Route(account, _person(text(row["recipient_id"])), is_out=True)

    def _account(self, pk: str) -> Account:
        if pk not in self.accounts:
            raise Lost(NO_ACCOUNT)
        if (account := self.accounts[pk]) is None:
            raise Lost(ACCOUNT_LEFT)
        return account


def _person(igsid: str) -> str:
    if not igsid or len(igsid) > MAX_ID:
        raise Lost(NO_PERSON)
    return igsid
