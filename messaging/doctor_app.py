"""What the doctor can tell of the Meta app: its settings here, and what came from Meta."""

from datetime import datetime, timedelta

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timesince

from accounts.connecting import REQUIRED, redirect_uri
from accounts.instagram_errors import NO_ROLE
from accounts.models import Account

from . import sightings
from .doctor_site import is_sandboxed
from .events import Kind
from .findings import Check, Finding, bad, good, missing, unknown
from .models import InboundEvent, Sighting, WebhookEvent
from .outside import Seen

Seeing = Sighting.Kind

WHERE = "Instagram → API setup with Instagram login"
CUSTOMERS = 50
"""So many different people are counted at most."""


def webhook_url() -> str:
    return settings.PUBLIC_BASE_URL + reverse("webhook")


def addresses() -> list[tuple[str, str]]:
    """What the Meta dashboard wants to know, and under which name."""
    return [
        ("Webhook callback URL", webhook_url()),
        ("OAuth redirect URI", redirect_uri()),
        ("Deauthorize callback URL", settings.PUBLIC_BASE_URL + reverse("deauthorize")),
        ("Data deletion request URL", settings.PUBLIC_BASE_URL + reverse("data_deletion")),
    ]


def checks(seen: Seen) -> dict[str, Check]:
    return {
        "Instagram's addresses": _addresses,
        "App id and secret": _app,
        "Verify token": _verify_token,
        "Handshake": _handshake,
        "Signed webhooks": _signed,
        "Redirect address": _redirect,
        "Permissions asked for": _scopes,
        "App mode": _mode,
    }


def _addresses() -> Finding:
    if is_sandboxed():
        return good("This site speaks to the sandbox: all of this is about the offline Instagram.")
    return good(f"{settings.INSTAGRAM_GRAPH_URL}, version {settings.INSTAGRAM_API_VERSION}.")


def _app() -> Finding:
    names = ("INSTAGRAM_APP_ID", "INSTAGRAM_APP_SECRET")
    values = (settings.INSTAGRAM_APP_ID, settings.INSTAGRAM_APP_SECRETS)
    if empty := [name for name, value in zip(names, values, strict=True) if not value]:
        return missing(
            f"Not set: {', '.join(empty)}.",
            f"Copy the Instagram app id and secret from the Meta dashboard ({WHERE}) and restart.",
        )
    if not settings.INSTAGRAM_APP_ID.isdecimal() and not is_sandboxed():
        return bad(
            "INSTAGRAM_APP_ID is no id of an app: those are digits alone.",
            f"Copy the Instagram app id, not the name, from the dashboard ({WHERE}).",
        )
    count = len(settings.INSTAGRAM_APP_SECRETS)
    return good(f"App {settings.INSTAGRAM_APP_ID}, {count} secret{'' if count == 1 else 's'}.")


def _verify_token() -> Finding:
    if not settings.INSTAGRAM_VERIFY_TOKEN:
        return missing(
            "INSTAGRAM_VERIFY_TOKEN is not set: Meta's handshake is refused.",
            'python -c "import secrets; print(secrets.token_urlsafe(16))" makes one. Set it, '
            "restart, and type the same one into the dashboard.",
        )
    return good("It is set. Superusers can see it on the Setup page.")


def _handshake() -> Finding:
    done, refused = (Sighting.objects.last(kind) for kind in (Seeing.HANDSHAKE, Seeing.OTHER_TOKEN))
    if refused and (done is None or refused > done):
        return bad(
            f"Somebody tried the handshake {_ago(refused)} with another verify token.",
            "If it was you: type the token of this site into the dashboard, letter for letter, "
            "and press “Verify and save” again. If not, it harms nothing.",
        )
    if done:
        return good(f"Meta verified this address {_ago(done)}.")
    if is_sandboxed():
        return unknown("The sandbox needs none.")
    if WebhookEvent.objects.exists():
        return unknown("None was seen since this is noted, but webhooks come.")
    return bad(
        "Meta has not verified the webhook address yet.",
        f"In the dashboard ({WHERE}, “Configure webhooks”) enter {webhook_url()} and the verify "
        "token, press “Verify and save”, and switch on the messaging fields.",
    )


def _signed() -> Finding:
    signed, refused = sightings.last_signed(), Sighting.objects.last(Seeing.OTHER_SIGNATURE)
    latest = WebhookEvent.objects.order_by("-received_at").values_list("received_at", flat=True)
    latest = latest.first()
    if refused and (signed is None or refused > signed.at):
        return bad(
            f"A webhook was refused {_ago(refused)}: no secret in INSTAGRAM_APP_SECRET signed it.",
            f"Copy the Instagram app secret from the dashboard ({WHERE}) and, if that does not "
            "help, add the Meta app's own (App settings → Basic), separated by a comma. Restart. "
            "A stranger may have sent it, too; that harms nothing.",
        )
    if latest is None:
        return unknown(
            "None came yet.",
            "Write to a connected account from another one; or press “Test” beside a field in "
            "the dashboard.",
        )
    return good(f"The last one came {_ago(latest)}{_by_which(signed)}.")


def _by_which(signed: sightings.Signed | None) -> str:
    """Names the app secret by its place alone."""
    if signed is None:
        return ""
    if signed.position is None:
        return ", signed by a secret that is no longer in INSTAGRAM_APP_SECRET"
    count = len(settings.INSTAGRAM_APP_SECRETS)
    return f", signed by secret {signed.position} of {count} in INSTAGRAM_APP_SECRET"


def _redirect() -> Finding:
    latest = Account.objects.exclude(allowed_at=None).order_by("-allowed_at").first()
    fix = (
        f"Register {redirect_uri()} in the dashboard ({WHERE}, “Business login settings”), letter "
        "for letter. Connecting an account shows whether it is."
    )
    if latest is None:
        return unknown("Instagram tells only while an account is being connected.", fix)
    return good(
        f"{redirect_uri()}. An account was connected {_ago(latest.allowed_at)}; after a change of "
        "PUBLIC_BASE_URL register the new one."
    )


def _scopes() -> Finding:
    if lacking := set(REQUIRED) - set(settings.INSTAGRAM_SCOPES):
        return bad(
            f"INSTAGRAM_SCOPES lacks {', '.join(sorted(lacking))}.",
            f"Set INSTAGRAM_SCOPES={','.join([*settings.INSTAGRAM_SCOPES, *sorted(lacking)])}, "
            "restart, and reconnect the accounts.",
        )
    return good(", ".join(settings.INSTAGRAM_SCOPES))


def _mode() -> Finding:
    """Development or live: no call of an account's token tells, only signs do."""
    if Account.objects.filter(problem_reason__contains=NO_ROLE).exists():
        return bad(
            "Instagram says that somebody has no role on the app: it is in development mode.",
            "Invite the account as tester in the dashboard (App roles) and accept in Instagram "
            "(Apps and websites → Tester invites), or publish the app.",
        )
    if is_sandboxed():
        return unknown("The sandbox has no such mode.")
    people = InboundEvent.objects.filter(kind=Kind.MESSAGE, account__isnull=False)
    recent = people.order_by("-pk").values_list("igsid", flat=True)[: CUSTOMERS * 20]
    count = len(set(recent))
    return unknown(
        f"Messages of {count} different people came so far."
        if count
        else "No message came so far. In development mode only testers' messages do.",
        "The switch “App mode” in the dashboard says it. In development mode nothing comes from "
        "people without a role on the app, and no error says so; live needs Advanced Access to "
        "the messaging permission for accounts that are not yours.",
    )


def _ago(moment: datetime) -> str:
    if timezone.now() - moment < timedelta(minutes=1):
        return "just now"
    return f"{timesince(moment, depth=1)} ago"
