"""The secrets of endpoints are sealed, move with SESSION_SECRET, and their loss is survived."""

import io

import pytest
from django.core.management import call_command
from django.db import connection

from crypto import census, rotation, verdict
from crypto.keyring import KeyRing
from messaging import endpoints
from messaging.models import CrmEndpoint

from .forwards import endpoint_to, forward, say

pytestmark = pytest.mark.django_db(transaction=True)

NEXT = "the-N3xt-secret-of-this-installation-2026"
OTHER = "another-S3cret-that-opens-nothing-here-99"


@pytest.fixture
def endpoint(account, receiver):
    return endpoint_to(account, receiver)


def stored() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret, previous_secret FROM crm_endpoints")
        return str(cursor.fetchall())


def test_the_database_holds_none_of_them_in_plain_text(endpoint):
    new = endpoints.rotate(endpoint)
    assert endpoint.plain.removeprefix("whsec_") not in stored()
    assert new.removeprefix("whsec_") not in stored()
    assert stored().count("gAAAA") == 2


def test_both_move_with_the_secret_of_the_site(endpoint, receiver, conversation, settings):
    new = endpoints.rotate(endpoint)
    before = stored()
    settings.KEYRING = KeyRing(NEXT, ["Tests-0nly-secret-never-used-anywhere-else"])
    result = rotation.rotate(settings.KEYRING)
    assert result.moved == {
        "accounts.access_token_encrypted": 1,
        "crm_endpoints.secret": 1,
        "crm_endpoints.previous_secret": 1,
    }
    assert stored() != before
    settings.KEYRING = KeyRing(NEXT)
    assert CrmEndpoint.objects.get().secrets() == [new, endpoint.plain]
    say(conversation)
    forward()
    assert receiver.got[0].headers["webhook-signature"].count("v1,") == 2


def reset(settings, *options) -> str:
    settings.KEYRING = KeyRing(OTHER)
    out = io.StringIO()
    call_command("reset_tokens", "--no-input", "--no-backup", *options, stdout=out)
    return out.getvalue()


def test_a_lost_one_is_cleared_and_its_owner_told_what_to_do(
    endpoint, receiver, conversation, settings, user, mailoutbox
):
    settings.EMAIL_IS_CONFIGURED = True
    user.email = "mara@shop.example"
    user.save()
    assert f"Needs a new one: CRM endpoint {endpoint.pk} {endpoint.public_id}" in reset(
        settings, "--dry-run"
    )
    reset(settings)
    endpoint.refresh_from_db()
    assert endpoint.secret is None
    assert endpoint.state == "waiting"
    (mail,) = [mail for mail in mailoutbox if "CRM" in mail.subject]
    assert "somebody makes a new one" in mail.body
    say(conversation)
    forward()
    assert receiver.got == []
    endpoints.rotate(endpoint)
    forward()
    assert receiver.texts == ["Hello"]


def test_the_loss_is_counted_by_rows_and_named_by_what_they_are(endpoint, settings):
    endpoints.rotate(endpoint)
    settings.KEYRING, settings.SESSION_SECRET_IS_EPHEMERAL = KeyRing(OTHER), True
    found = verdict.look()
    assert found.state == verdict.State.EPHEMERAL
    assert "Accounts with a stored token: 1." in found.advice
    assert "CRM endpoints with a stored secret: 1." in found.advice


def test_the_census_names_one_that_nobody_opens(endpoint, settings):
    settings.KEYRING = KeyRing(OTHER)
    counted = census.take(settings.KEYRING)
    names = [one["name"] for one in counted.named]
    assert f"CRM endpoint {endpoint.pk} {endpoint.public_id}" in names
