"""What the commands about connected accounts have in common."""

from collections.abc import Callable, Iterable

from django.core.management.base import BaseCommand

from crypto.commands import Exit, stop
from crypto.keyring import get_keyring

from .models import Account


class AccountsCommand(BaseCommand):
    """One that opens tokens, of all accounts or of those that are named."""

    def add_arguments(self, parser):
        parser.add_argument(
            "--account", nargs="+", default=[], metavar="ID", help="of these accounts only"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object, for programs")

    def chosen(self, pks: list[str], usual: Callable[[], Iterable[Account]]) -> list[Account]:
        """The accounts `pks`, or the `usual` ones when none is named.

        Stops the command when one is unknown, or when no secret is set.
        """
        if get_keyring().primary is None:
            raise stop("SESSION_SECRET is not set: no token can be opened.", Exit.NOT_CONFIGURED)
        if not pks:
            return list(usual())
        found = Account.objects.filter(deletion=None).in_bulk(pks)
        if unknown := [pk for pk in pks if pk not in found]:
            raise stop(f"There is no account {', '.join(unknown)}. Nothing was done.", Exit.USAGE)
        return list(found.values())
