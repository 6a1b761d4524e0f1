"""Connecting an account: begin → Instagram's consent page → finish, and disconnecting."""

import hmac
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.dispatch import Signal
from django.urls import reverse
from django.utils import timezone

from crypto.models import SupersededSecret

from . import audit, instagram
from .instagram import Grant, InstagramClient, Profile
from .instagram_errors import InstagramError, NoAnswer, NotSent, RateLimited
from .models import Account, ConnectAttempt, Membership, Role, TokenUnreadable, User, digest

REQUIRED = {
    "instagram_business_basic": "View profile",
    "instagram_business_manage_messages": "Access and manage messages",
}
WEBHOOK_FIELDS = [
    "messages",
    "message_edit",
    "message_reactions",
    "messaging_postbacks",
    "messaging_seen",
    "messaging_referral",
    "messaging_optins",
    "messaging_handover",
    "standby",
]


account_connected = Signal()
"""Sent with `account` after it has a new token: what waited for that may go on."""


class ConnectFailed(Exception):
    """The account was not connected. `title` says what happened, `advice` what to do.

    `account` is the one that was to be reconnected, if it was one.
    """

    account: Account | None = None

    def __init__(self, title: str, advice: str, *, status: int = 400):
        super().__init__(title)
        self.title, self.advice, self.status = title, advice, status


@dataclass(frozen=True)
class Connected:
    """What `finish` did. `warning` is empty, or says what still stands in the way."""

    account: Account
    is_new: bool
    warning: str = ""


def redirect_uri() -> str:
    """Must equal, byte for byte, one that is registered with the Meta app."""
    return settings.PUBLIC_BASE_URL + reverse("oauth_callback")


def begin(user: User, browser: str, account: Account | None = None) -> str:
    """The address of Instagram's consent page for one attempt of `user` in this `browser`.

    `browser` is a random cookie's value: only the browser that began may finish. `account` is
    the one to reconnect, or None to connect another. Raises ConnectFailed when the site lacks
    its Meta app.
    """
    if not settings.INSTAGRAM_APP_ID or not settings.INSTAGRAM_APP_SECRETS:
        raise ConnectFailed(
            "This site has no Meta app yet",
            "The operator sets INSTAGRAM_APP_ID and INSTAGRAM_APP_SECRET and restarts.",
            status=503,
        )
    ConnectAttempt.objects.forgettable().delete()
    _, state = ConnectAttempt.issue(
        ConnectAttempt.LIFETIME, user=user, browser=digest(browser), account=account
    )
    return instagram.authorize_url(state=state, redirect_uri=redirect_uri())


def finish(user: User, browser: str, query: Mapping[str, str]) -> Connected:
    """Take what Instagram sent back with the browser, and connect the account.

    `query` is the callback's query string. Raises ConnectFailed; nothing is stored then.
    """
    attempt = _claim(user, browser, query.get("state", ""))
    try:
        return _finish(user, query, attempt.account)
    except ConnectFailed as exc:
        exc.account = attempt.account
        raise


def retry_subscription(account: Account) -> str:
    """Ask for the account's webhooks again. Empty when Instagram agreed, else what to do.

    Raises TokenUnreadable.
    """
    return _subscribe(account, account.client())


def disconnect(account: Account) -> None:
    """Forget the token, and ask Instagram for no more webhooks; conversations stay.

    Instagram's answer decides nothing: the account may be gone there, and a token that nobody
    can open must be forgotten all the same.
    """
    unsubscribe(account)
    with transaction.atomic():
        forget_token(account)


def unsubscribe(account: Account) -> None:
    """Ask Instagram for no more webhooks, with the token that this object holds."""
    with suppress(InstagramError, TokenUnreadable):
        account.client().unsubscribe()


def forget_token(account: Account) -> None:
    """Belongs into a transaction. Nothing happens when a person allowed it anew since it was read.

    A refresh since then is no such act.
    """
    changes = {
        "token_issued_at": None,
        "token_expires_at": None,
        "subscribed_fields": [],
        "problem": "",
        "problem_reason": "",
        "problem_at": None,
    }
    same_link = Account.objects.filter(pk=account.pk, allowed_at=account.allowed_at)
    had_token = same_link.filter(access_token__isnull=False).update(access_token=None)
    same_link.update(**changes)
    if had_token:
        audit.token_forgotten(account)


def _claim(user: User, browser: str, state: str) -> ConnectAttempt:
    """The attempt that `state` belongs to; from now on it is used up."""
    again = "Please connect again from the accounts page."
    attempt = ConnectAttempt.objects.find(state)
    if attempt is None:
        raise ConnectFailed("This did not begin here", f"The link is not one of ours. {again}")
    same_browser = hmac.compare_digest(attempt.browser, digest(browser))
    if attempt.user != user or not same_browser:
        # Somebody else's link, perhaps sent to make this person connect a stranger's account.
        raise ConnectFailed("This began in another browser or login", again, status=403)
    if attempt.is_expired:
        raise ConnectFailed("That took longer than 10 minutes", again)
    if not attempt.use():
        raise ConnectFailed(
            "This link was used already",
            "If the account is not on the accounts page, connect again from there.",
        )
    return attempt


def _finish(user: User, query: Mapping[str, str], wanted: Account | None) -> Connected:
    if query.get("error"):
        raise ConnectFailed(
            "You cancelled at Instagram",
            "Nothing was changed. Connect again whenever you like.",
        )
    if not query.get("code"):
        raise ConnectFailed(
            "Instagram sent no authorization code", "Please connect again from the start."
        )
    try:
        grant = instagram.exchange_code(query["code"], redirect_uri=redirect_uri())
        _require_permissions(grant)
        client = InstagramClient(grant.token)
        profile = client.me()
    except InstagramError as exc:
        raise _explained(exc) from None
    _require_right_account(profile, wanted)
    try:
        account, is_new = _store(user, profile, grant)
    except SupersededSecret as exc:
        raise ConnectFailed("This site needs a restart first", str(exc), status=503) from None
    warning = _subscribe(account, client)
    # It is connected, whatever becomes of what waited; Django logs who failed.
    account_connected.send_robust(Account, account=account)
    return Connected(account, is_new, warning)


def _explained(exc: InstagramError) -> ConnectFailed:
    """A failure on the way, in words for the person who connects."""
    if isinstance(exc, NotSent | NoAnswer | RateLimited):
        return ConnectFailed(
            "Instagram could not be reached",
            f"{exc} Nothing was changed. Try again in a few minutes; if it stays so, the "
            "operator checks this server's way to the internet.",
            status=502,
        )
    text = str(exc).lower()
    if "code" in text and ("match" in text or "used" in text or "expired" in text):
        return ConnectFailed(
            "Instagram's authorization code is no longer valid",
            "A code works once and for one hour. Please connect again.",
        )
    if "redirect" in text:
        return ConnectFailed(
            "Instagram does not know this site's address",
            f"The operator registers {redirect_uri()} as OAuth redirect URI in the Meta app, "
            "letter for letter, with or without the slash at its end as shown here.",
        )
    if "platform app" in text:
        return ConnectFailed(
            "Instagram does not know this site's app",
            "The operator sets the Instagram app id and secret (Instagram → API setup), not "
            "those of the Meta app.",
        )
    return ConnectFailed("Instagram refused the connection", str(exc), status=502)


def _require_permissions(grant: Grant) -> None:
    if grant.permissions is None:
        return  # Instagram did not say; what is missing shows at first use.
    missing = [name for scope, name in REQUIRED.items() if scope not in grant.permissions]
    if missing:
        raise ConnectFailed(
            "A permission is missing",
            f"Without “{'” and “'.join(missing)}” no message can be received or answered. "
            "Connect again and leave these switched on.",
        )


def _require_right_account(profile: Profile, wanted: Account | None) -> None:
    if profile.account_type.lower() == "personal":
        raise ConnectFailed(
            f"@{profile.username} is a personal account",
            "Instagram lets only professional accounts use messaging. Switch it in Instagram "
            "(Settings → Account type and tools), then connect again.",
        )
    if wanted and wanted.instagram_account_id != profile.instagram_account_id:
        raise ConnectFailed(
            f"That was @{profile.username}, not @{wanted.username}",
            f"To mend @{wanted.username}, reconnect and log in to it at Instagram. To add "
            f"@{profile.username} as well, use “Connect an account”.",
        )


def _store(user: User, profile: Profile, grant: Grant) -> tuple[Account, bool]:
    """The account with its fresh token; whoever logged in to it at Instagram owns it here."""
    values = {
        "app_scoped_id": profile.app_scoped_id,
        "username": profile.username,
        "name": profile.name,
        "account_type": profile.account_type,
        "profile_picture_url": profile.profile_picture_url,
        "access_token": grant.token,
        "token_issued_at": timezone.now(),
        "allowed_at": timezone.now(),
        "token_expires_at": grant.expires_at,
        "permissions": grant.permissions or [],
        "problem": "",
        "problem_reason": "",
        "problem_at": None,
    }
    with transaction.atomic():
        account, is_new = Account.objects.update_or_create(
            instagram_account_id=profile.instagram_account_id, defaults=values
        )
        Membership.objects.update_or_create(
            user=user, account=account, defaults={"role": Role.OWNER}
        )
        audit.token_stored(account, is_new=is_new, expires_at=grant.expires_at)
    return account, is_new


def _subscribe(account: Account, client: InstagramClient) -> str:
    try:
        fields = client.subscribe(WEBHOOK_FIELDS)
    except InstagramError as exc:
        fields, warning = [], f"Instagram will not tell us of new messages yet. {exc}"
    else:
        warning = ""
    account.note_subscribed(fields)
    return warning
