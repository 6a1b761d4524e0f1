"""The order of moving in: the proof of the secret first, the accounts' new life last."""

from collections.abc import Iterator
from pathlib import Path

from accounts.connecting import account_connected
from accounts.models import Account
from crypto.keyring import KeyRing
from crypto.models import Secret, SupersededSecret

from ..queues import rest
from .files import FileMover
from .messages import Mover
from .people import move_accounts, move_users
from .report import Report
from .routes import Routes
from .source import Source, text

SEALED = ("access_token_encrypted", "webhook_secret")
UNREADABLE = (
    "no secret here opens them; they came along as they are. Bring the secret that does, or let an "
    "owner reconnect the account"
)
LEFT_BEHIND = {
    "api_keys": (
        "API keys",
        "only their bcrypt digests are stored; make new ones on the page API keys or with "
        "manage.py create_api_key",
    ),
    "oauth_states": ("unfinished connections", "whoever was about to connect begins again"),
}


class SecretsDiffer(Exception):
    """Nothing in the file opens with the secrets here; the text says what to do."""


def prove(source: Source, ring: KeyRing, report: Report) -> None:
    """Hold the secrets here against every stored value, before anything is written.

    Raises SecretsDiffer when none opens, and SupersededSecret when nobody could use what is stored
    under the secret of this process. Single values that nothing opens are reported.
    """
    current = Secret.objects.current()
    if Secret.objects.is_retired(ring.primary) and not (current and ring.find(current.pk)):
        raise SupersededSecret
    opened, unreadable = 0, []
    for row in source.rows("accounts"):
        for column in filter(row.get, SEALED):
            if ring.opens(text(row[column])):
                opened += 1
            else:
                unreadable.append(f"{column} of {text(row['id'])}")
    if unreadable and not opened:
        names = " ".join(key.fingerprint for key in ring.keys)
        raise SecretsDiffer(
            f"None of the {len(unreadable):,} encrypted values in the file opens with the secrets "
            f"here ({names}). Set the predecessor's SESSION_SECRET as this site's own; where "
            "tokens are stored here already, list it in SESSION_SECRET_FALLBACKS. Then run this "
            "again. If it is lost, set access_token_encrypted = '' and webhook_secret = NULL in a "
            "copy of the file: the accounts then come along disconnected."
        )
    for name in unreadable:
        report.leave("encrypted values", UNREADABLE, name)


def total(source: Source) -> int:
    tables = ("users", "accounts", "crm_outbound_messages", "messages", "message_attachments")
    return sum(source.count(table) for table in tables)


def move_in(source: Source, media_folder: Path, report: Report) -> Iterator[int]:
    """Move everything in, or in a dry run find out what that would do; yields rows as they go.

    Each batch is a transaction, and what is here already stays as it is: so this may be broken
    off and run again.
    """
    users = move_users(source, report)
    routes = move_accounts(source, users, report)
    yield source.count("users") + source.count("accounts")
    mover = Mover(source, routes, report)
    files = FileMover(source, media_folder, routes, report)
    for step in (mover.move_sends, mover.move_messages, files.move_attachments):
        for number in step():
            yield number
            if not report.is_dry:
                rest()
    for table, (what, reason) in LEFT_BEHIND.items():
        if number := source.count(table):
            report.leave(what, reason, number=number, is_loss=False)
    if not report.is_dry:
        _begin(routes)


def _begin(routes: Routes) -> None:
    """Let everything go on as after connecting: what came for the account before is shown, and
    Instagram is asked for what the predecessor lost."""
    here = {account.pk for account in routes.accounts.values() if account}
    for account in Account.objects.filter(pk__in=here, history_syncs=None):
        account_connected.send_robust(Account, account=account)
