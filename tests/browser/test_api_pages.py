"""Making a key as a person does, and trying the API on its own page."""

import re

import pytest

from accounts.models import ApiKey

pytestmark = pytest.mark.browser


def test_a_key_is_made_and_revoked_without_scripts(open_page, user, account):
    page = open_page("/accounts/", user=user, java_script_enabled=False)
    page.get_by_role("link", name="make an API key").click()
    page.get_by_label("What uses it").fill("Bottega CRM")
    page.get_by_label("Only those ticked below").check()
    page.get_by_role("button", name="Make a key").click()
    assert "Tick at least one" in page.locator("main").inner_text()
    page.get_by_label("@luna.ceramics").check()
    page.get_by_role("button", name="Make a key").click()
    assert re.fullmatch(r"imsg_\w{49}", page.locator("code").inner_text())
    page.get_by_role("link", name="Back to your keys").click()
    page.get_by_text("Revoke").first.click()
    page.get_by_role("button", name="Yes, revoke").click()
    assert "Bottega CRM” is revoked" in page.locator(".flashes").inner_text()
    assert not ApiKey.objects.get().is_working


def test_the_api_can_be_tried_on_its_page_by_who_is_logged_in(open_page, user, account):
    page = open_page("/api/v1/docs", user=user)
    page.locator("#operations-accounts-list_accounts .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.locator(".live-responses-table").get_by_text("luna.ceramics").first.wait_for()


def test_what_changes_something_can_be_tried_there_too(open_page, user, account):
    page = open_page("/api/v1/docs", user=user)
    page.locator("#operations-api-keys-make_api_key .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.locator(".body-param__text").fill('{"name": "Tried"}')
    page.get_by_role("button", name="Execute").click()
    page.locator(".live-responses-table").get_by_text("201").first.wait_for()
    assert ApiKey.objects.get().name == "Tried"
