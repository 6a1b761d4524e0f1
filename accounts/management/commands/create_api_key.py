import json
from datetime import timedelta

from django.core.management.base import BaseCommand
from django.db import Error as DatabaseError

from accounts import api_keys
from accounts.models import Account, Scope, User
from crypto.commands import Exit, stop


class Command(BaseCommand):
    help = (
        "Make an API key for a user, and print it: to stdout and this once. What it may do goes to "
        "stderr."
    )

    def add_arguments(self, parser):
        parser.add_argument("username", help="as whom the key acts")
        parser.add_argument("--name", default="create_api_key", help="what uses it")
        parser.add_argument(
            "--scope",
            nargs="+",
            choices=Scope.values,
            default=[scope.value for scope in api_keys.FOR_PASSWORD],
            help="what it may do (read and send)",
        )
        parser.add_argument(
            "--account", nargs="+", metavar="ID", help="the accounts it reaches (all of the user's)"
        )
        parser.add_argument(
            "--days",
            type=int,
            default=api_keys.LIFETIME.days,
            help=f"after how many it expires: 1 to {api_keys.MOST_DAYS} (30)",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object, for programs")

    def handle(self, *, username, name, scope, account, days, **options):
        if not 1 <= days <= api_keys.MOST_DAYS:
            raise stop(f"--days takes 1 to {api_keys.MOST_DAYS}. No key was made.", Exit.USAGE)
        try:
            user = self._user(username)
            accounts = self._accounts(user, account)
            key, secret = api_keys.make(
                user, name[:100], scopes=scope, accounts=accounts, lifetime=timedelta(days=days)
            )
        except api_keys.TooManyKeys as exc:
            raise stop(f"{exc} No key was made.", Exit.USAGE) from None
        except DatabaseError as exc:
            raise stop(f"No key was made: {exc}") from None
        if options["json"]:
            shown = {
                "api_key": secret,
                "id": key.pk,
                "username": user.get_username(),
                "scopes": key.scopes,
                "account_ids": account,
                "expires_at": key.expires_at.isoformat(),
            }
            self.stdout.write(json.dumps(shown, indent=2))
            return
        reach = ", ".join(account) if account else "all accounts"
        self.stderr.write(
            f"{key}: {', '.join(key.scopes)}; {reach} of {user.get_username()}; "
            f"until {key.expires_at:%Y-%m-%d %H:%M} UTC. It is not shown again:"
        )
        self.stdout.write(secret)

    def _user(self, username):
        user = User.objects.filter(username=username).first()
        if user is None:
            raise stop(f"There is no user {username}. No key was made.", Exit.USAGE)
        if not user.is_active:
            raise stop(f"The user {username} is deactivated. No key was made.", Exit.USAGE)
        return user

    def _accounts(self, user, pks):
        if pks is None:
            return None
        found = Account.objects.for_user(user).in_bulk(pks)
        if unknown := [pk for pk in pks if pk not in found]:
            text = f"{user.get_username()} has no account {', '.join(unknown)}. No key was made."
            raise stop(text, Exit.USAGE)
        return list(found.values())
