"""System checks: a production site talks to the real Instagram, and only to that."""

import ipaddress
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from crypto.startup import STARTUP

URLS = ("INSTAGRAM_AUTHORIZE_URL", "INSTAGRAM_TOKEN_URL", "INSTAGRAM_GRAPH_URL")


@register(STARTUP)
def check_instagram(app_configs, **kwargs) -> list[CheckMessage]:
    if not settings.IS_PRODUCTION:
        return []
    found = [_unsafe(name) for name in URLS if not _is_public(getattr(settings, name))]
    if not settings.INSTAGRAM_APP_SECRETS:
        found.append(
            Error(
                "INSTAGRAM_APP_SECRET is not set.",
                hint="Without it no webhook can be checked, and none is accepted. Copy the "
                "Instagram app secret from the Meta dashboard (Instagram → API setup).",
                id="accounts.E002",
            )
        )
    sandbox = [
        name
        for name, value in [
            ("INSTAGRAM_APP_ID", settings.INSTAGRAM_APP_ID),
            ("INSTAGRAM_VERIFY_TOKEN", settings.INSTAGRAM_VERIFY_TOKEN),
            *(("INSTAGRAM_APP_SECRET", secret) for secret in settings.INSTAGRAM_APP_SECRETS),
        ]
        if value.startswith("sandbox-")
    ]
    found += [
        Error(
            f"{name} is a value of the sandbox.",
            hint="Whoever knows the sandbox could speak for Instagram. Use the value from the "
            "Meta dashboard.",
            id="accounts.E003",
        )
        for name in sandbox
    ]
    if not settings.IS_HTTPS:
        found.append(
            Warning(
                f"PUBLIC_BASE_URL is {settings.PUBLIC_BASE_URL}, which is not https.",
                hint="Instagram redirects and delivers to https only. Set PUBLIC_BASE_URL to the "
                "address at which your reverse proxy serves this site.",
                id="accounts.W004",
            )
        )
    return found


def _unsafe(name: str) -> CheckMessage:
    return Error(
        f"{name} is {getattr(settings, name)}, which is not Instagram's.",
        hint="In production tokens go over https to a public host only. Remove the setting to "
        "use Instagram's own address; the sandbox is for development.",
        id="accounts.E001",
    )


def _is_public(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or host in ("", "localhost") or host.endswith(".localhost"):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return True  # A name, not an address.
