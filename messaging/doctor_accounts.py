"""What the doctor can tell of the connected accounts: what was allowed, and what arrives."""

from functools import partial

from accounts.connecting import REQUIRED
from accounts.models import Account

from . import account_health
from .findings import Check, Finding, bad, good, unknown
from .outside import Seen

ASKED = 3
"""Accounts of which Instagram is asked, those connected last: each costs a call."""


def checks(seen: Seen) -> dict[str, Check]:
    return {
        "Accounts": _accounts,
        "Permissions granted": _permissions,
        "Subscribed fields": partial(_fields, seen),
    }


def _all():
    return Account.objects.filter(deletion=None)


def _accounts() -> Finding:
    if not _all().exists():
        return unknown("None is connected yet.", "Connect one on the page Accounts.")
    counts = {status: _all().in_status(status).count() for status in Account.Status}
    told = ", ".join(f"{n} {status.label.lower()}" for status, n in counts.items() if n)
    broken = {Account.Status.EXPIRED, Account.Status.REVOKED, Account.Status.UNREADABLE,
              Account.Status.HELD, Account.Status.EXPIRING}  # fmt: skip
    if not any(counts[status] for status in broken):
        return good(f"{told.capitalize()}.")
    return bad(
        f"{told.capitalize()}.",
        "The page of each account says what its owner has to do; the admin lists all of them.",
    )


def _permissions() -> Finding:
    accounts = list(_all().filter(access_token__isnull=False).defer("access_token"))
    told = [account for account in accounts if account.permissions]
    lacking = [str(one) for one in told if set(REQUIRED) - set(one.permissions)]
    if lacking:
        return bad(
            f"Not all were granted: {_some(lacking)}.",
            "Its owner reconnects, and leaves every permission switched on at Instagram.",
        )
    if not told:
        return unknown("No account is connected of which Instagram said it.")
    return good(f"Both, for {len(told)} account{'' if len(told) == 1 else 's'}.")


def _fields(seen: Seen) -> Finding:
    """Asked of Instagram for a few accounts; of the others what it said last."""
    accounts = list(_all().filter(access_token__isnull=False).order_by("-allowed_at", "-linked_at"))
    if not accounts:
        return unknown("No account is connected.")
    silent = []
    if not seen.instagram.trouble:
        silent = [str(one) for one in accounts[:ASKED] if account_health.fields_of(one)[1]]
    deaf = [str(one) for one in accounts if "messages" not in one.subscribed_fields]
    if deaf:
        return bad(
            f"No new messages arrive for {_some(deaf)}.",
            "On the account's page press “Ask Instagram for new messages”, and switch the fields "
            "on in the dashboard (“Configure webhooks”).",
        )
    if silent:
        return unknown(f"Instagram does not tell for {_some(silent)}: see the account's health.")
    partly = [str(one) for one in accounts if set(account_health.WEBHOOK_FIELDS)
              - set(one.subscribed_fields)]  # fmt: skip
    if partly:
        return unknown(
            f"Messages arrive. Some other news do not for {_some(partly)}.",
            "The account's health names them, and asks for them.",
        )
    return good("Everything that this site understands arrives.")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
