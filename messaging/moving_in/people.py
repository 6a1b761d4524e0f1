"""Users, and the accounts that they share."""

import logging

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.instagram_errors import InstagramError
from accounts.models import Account, Membership, Role, TokenUnreadable, User
from crypto.fields import Sealed, anything_is_stored
from crypto.keyring import get_keyring
from crypto.models import Secret

from .. import endpoints
from ..events import MAX_ID
from ..models import CrmEndpoint, EventType
from .report import EXAMPLES, Report
from .routes import Routes
from .source import Row, Source, moment, text

logger = logging.getLogger(__name__)

BCRYPT = ("$2a$", "$2b$", "$2x$", "$2y$")
THERE_ALREADY = "their account was here already, and stays as it is"
MOVED_IN = (
    "It moved in, and waits for you: switch it on once your CRM understands what this site tells."
)
ROUTING = "17841"
"""How the ids begin by which Instagram's webhooks name professional accounts."""


def move_users(source: Source, report: Report) -> dict[str, User]:
    """The users here for those of the file, by their ids there.

    A name that is here already is the same person, who keeps what they have here.
    """
    found = {}
    for row in source.rows("users"):
        name = text(row["username"])
        if not name or len(name) > 150:
            report.leave("users", "the name is empty or too long", text(row["id"]))
            continue
        user = User.objects.filter(username=name).first()
        report.count("users", "here" if user else "new")
        found[text(row["id"])] = user or _new_user(row, name, report)
    return found


def move_accounts(source: Source, users: dict[str, User], report: Report) -> Routes:
    """The accounts, each in one transaction with all that belongs to it but messages.

    One that is here already stays as it is, its token, members and endpoints included: who was
    connected, removed or switched off here knows better than the file.
    """
    links: dict[str, list[User]] = {}
    for row in source.rows("user_accounts"):
        if user := users.get(text(row["user_id"])):
            owners = links.setdefault(text(row["account_id"]), [])
            owners += [user] if user not in owners else []
        else:
            report.leave("links", "their user is not in the file", text(row["account_id"]))
    _name_the_unlinked(users, links, report)
    routes = Routes()
    for row in source.rows("accounts"):
        owners = links.pop(text(row["id"]), [])
        routes.add(row, _move_account(row, owners, report))
    for pk in links:
        report.leave("links", "their account is not in the file", pk, number=len(links[pk]))
    return routes


def _new_user(row: Row, name: str, report: Report) -> User:
    stored = text(row["password_hash"])
    is_known = stored.startswith(BCRYPT)
    if not is_known:
        report.leave(
            "passwords", "they are not bcrypt; set new ones: manage.py changepassword NAME", name
        )
    user = User(
        username=name,
        # The hash as it stands; Django's own takes its place at the next login.
        password=f"bcrypt${stored}" if is_known else make_password(None),
        is_active=row["is_active"] is None or bool(row["is_active"]),
        date_joined=moment(row["created_at"]) or timezone.now(),
    )
    if not report.is_dry:
        user.save()
    return user


def _name_the_unlinked(
    users: dict[str, User], links: dict[str, list[User]], report: Report
) -> None:
    linked = {user.username for found in links.values() for user in found}
    names = sorted({user.username for user in users.values()} - linked)
    if names:
        more = ", …" if len(names) > EXAMPLES else ""
        report.to_do.append(
            f"Linked to no account: {', '.join(names[:EXAMPLES])}{more} ({len(names):,} in all). "
            "Anybody could register there: switch off in the admin whom nobody knows."
        )


def _move_account(row: Row, owners: list[User], report: Report) -> Account | None:
    """The account here, in a dry run as it would be; None when it does not come along."""
    pk = text(row["id"])
    named = text(row["messaging_channel_id"] or row["instagram_account_id"])
    if not pk or len(pk) > 32 or not named or len(named) > MAX_ID:
        report.leave("accounts", "an id is missing or too long", pk)
        return None
    account = Account.objects.filter(pk=pk).first() or _of_instagram_id(named)
    if account is None:
        account = _new_account(row, report)
        here = _of_instagram_id(account.instagram_account_id)  # Instagram may have named another.
        if here is None:
            _store(account, row, owners, report)
            return account
        account = here
    report.count("accounts", "here")
    if account.deletion_id:
        report.leave("accounts", "they are being deleted here", pk)
        return None
    if account.pk != pk:
        report.to_do.append(
            f"Programs that use {pk} (@{account.username}): it was connected here before, and is "
            f"{account.pk}."
        )
    _compare_members(account, owners, report)
    _compare_endpoint(account, row, report)
    return account


def _of_instagram_id(named: str) -> Account | None:
    return Account.objects.filter(instagram_account_id=named).first()


def _new_account(row: Row, report: Report) -> Account:
    """Unsaved. What stands in the file for Instagram's id may be the one of another kind."""
    ciphertext = text(row["access_token_encrypted"])
    channel, stored = text(row["messaging_channel_id"]), text(row["instagram_account_id"])
    account = Account(
        pk=text(row["id"]),
        instagram_account_id=channel or stored,
        app_scoped_id=stored if channel and channel != stored and len(stored) <= MAX_ID else "",
        username=text(row["username"]).removeprefix("@")[:255],
        account_type=text(row["account_type"])[:32],
        profile_picture_url=text(row["profile_picture_url"]),
        access_token=Sealed(ciphertext) if ciphertext else None,
        token_expires_at=moment(row["token_expires_at"]) if ciphertext else None,
        linked_at=moment(row["created_at"]) or timezone.now(),
    )
    if not channel and not stored.startswith(ROUTING):
        _ask_instagram(account, report)
    return account


def _ask_instagram(account: Account, report: Report) -> None:
    """By which id its webhooks will name it: only its own token can tell."""
    can_open = account.access_token and get_keyring().opens(account.access_token.ciphertext)
    try:
        if not can_open:
            raise TokenUnreadable("its token cannot be opened")
        profile = account.client().me()
    except (InstagramError, TokenUnreadable) as exc:
        report.leave(
            "routing ids",
            "the file does not have the one that webhooks carry, and Instagram did not tell; the "
            "account came along under the id that is there. Where its messages do not arrive, "
            "delete it here and run this again while its token works, or connect it anew",
            f"{account.pk} @{account.username}",
        )
        logger.info("account %s: /me was not told (%s)", account.pk, type(exc).__name__)
    else:
        account.instagram_account_id = profile.instagram_account_id
        account.app_scoped_id = profile.app_scoped_id


def _store(account: Account, row: Row, owners: list[User], report: Report) -> None:
    report.count("accounts", "new")
    report.count("members", "new", len(owners))
    if not owners:
        report.to_do.append(
            f"Nobody was linked to {account.pk} @{account.username}: give it an owner in the "
            "admin, or connect it again."
        )
    endpoint = _endpoint(row, account, report)
    if report.is_dry:
        return
    with transaction.atomic():
        if account.access_token or (endpoint and endpoint.secret):
            Secret.objects.note_use(get_keyring(), anything_is_stored)
        if account.access_token:
            audit.token_moved_in(account)
        account.save(force_insert=True)
        Membership.objects.bulk_create(
            # Roles are new: whoever was linked could do everything, and nobody else would.
            Membership(user=user, account=account, role=Role.OWNER)
            for user in owners
        )
        if endpoint:
            endpoint.save()


def _endpoint(row: Row, account: Account, report: Report) -> CrmEndpoint | None:
    """Unsaved, and off: what it is told looks different here, and anybody could name an address
    there."""
    if not (url := text(row["crm_webhook_url"])):
        return None
    try:
        url = endpoints.checked_url(url)
    except endpoints.EndpointRefused as exc:
        report.leave("CRM addresses", str(exc).rstrip("."), account.pk)
        return None
    ciphertext = text(row["webhook_secret"])
    report.count("endpoints", "new")
    report.to_do.append(
        f"Forwarding of {account.pk} @{account.username} is off: an owner switches it on once the "
        "CRM knows what it will be told."
    )
    return CrmEndpoint(
        account=account,
        url=url,
        events=[EventType.RECEIVED],
        secret=Sealed(ciphertext) if ciphertext else None,
        is_enabled=False,
        problem=MOVED_IN,
        status_told=account.status,
    )


def _compare_endpoint(account: Account, row: Row, report: Report) -> None:
    url = text(row["crm_webhook_url"])
    if url and account.endpoints.filter(url=url.strip()).exists():
        report.count("endpoints", "here")
    elif url:
        report.leave("CRM addresses", THERE_ALREADY, account.pk, is_loss=False)


def _compare_members(account: Account, owners: list[User], report: Report) -> None:
    members = set(account.memberships.values_list("user", flat=True))
    for user in owners:
        if user.pk in members:
            report.count("members", "here")
        else:
            report.leave(
                "members",
                f"{THERE_ALREADY}; an owner invites them",
                f"{user.username} → {account.pk}",
                is_loss=False,
            )
