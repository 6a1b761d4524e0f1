"""What keeps a production site from starting against anything but the real Instagram."""

import pytest
from django.core.checks import run_checks

from crypto.startup import STARTUP


@pytest.fixture
def production(settings):
    settings.IS_PRODUCTION = settings.IS_HTTPS = True
    settings.INSTAGRAM_AUTHORIZE_URL = "https://www.instagram.com/oauth/authorize"
    settings.INSTAGRAM_TOKEN_URL = "https://api.instagram.com/oauth/access_token"
    settings.INSTAGRAM_GRAPH_URL = "https://graph.instagram.com"
    settings.INSTAGRAM_APP_ID = "1234567890"
    settings.INSTAGRAM_APP_SECRETS = ["0123456789abcdef0123456789abcdef"]
    settings.INSTAGRAM_VERIFY_TOKEN = "tell-me-the-word"
    return settings


def found() -> list[tuple[str, bool]]:
    return [(message.id, message.is_serious()) for message in run_checks(tags=[STARTUP])]


def test_good_settings_pass(production):
    assert found() == []


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("INSTAGRAM_GRAPH_URL", "http://graph.instagram.com", "accounts.E001"),
        ("INSTAGRAM_TOKEN_URL", "https://127.0.0.1:8100/oauth/access_token", "accounts.E001"),
        ("INSTAGRAM_TOKEN_URL", "https://[::1]/oauth/access_token", "accounts.E001"),
        ("INSTAGRAM_AUTHORIZE_URL", "https://localhost/oauth/authorize", "accounts.E001"),
        ("INSTAGRAM_AUTHORIZE_URL", "", "accounts.E001"),
        ("INSTAGRAM_APP_SECRETS", [], "accounts.E002"),
        ("INSTAGRAM_APP_SECRETS", ["0123456789abcdef", "sandbox-0123456789"], "accounts.E003"),
        ("INSTAGRAM_APP_ID", "sandbox-app", "accounts.E003"),
        ("INSTAGRAM_VERIFY_TOKEN", "sandbox-word", "accounts.E003"),
    ],
)
def test_each_value_of_the_sandbox_is_refused(production, name, value, check):
    setattr(production, name, value)
    assert found() == [(check, True)]


def test_plain_http_is_warned_of(production):
    production.IS_HTTPS = False
    assert found() == [("accounts.W004", False)]


def test_development_may_use_the_sandbox(settings):
    assert found() == []
