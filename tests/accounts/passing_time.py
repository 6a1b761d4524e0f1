"""Time passes, at Instagram and here."""

from datetime import timedelta

from accounts.models import Account

MOMENTS = [
    "linked_at", "allowed_at", "problem_at", "token_issued_at", "token_expires_at",
    "token_refresh_at", "token_alerted_at",
]  # fmt: skip


def let_pass(instagram, **time):
    """Move the sandbox's clock on, and everything that an account's row remembers back."""
    passed = timedelta(**time)
    if instagram:
        instagram.control("clock", advance=passed.total_seconds())
    for account in Account.objects.all():
        before = {name: getattr(account, name) for name in MOMENTS}
        changes = {name: moment - passed for name, moment in before.items() if moment}
        Account.objects.filter(pk=account.pk).update(**changes)
