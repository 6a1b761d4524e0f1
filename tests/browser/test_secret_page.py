"""The page about the secret, and the banner, on any device, in any light and by keyboard."""

from itertools import pairwise

import pytest
from playwright.sync_api import expect

from accounts.models import Membership
from crypto import census, verdict
from crypto.keyring import KeyRing
from crypto.models import Process
from tests.crypto.secrets_of_a_shop import NEW, OLD, OTHER, fingerprint, store

from .test_pages import CONTRASTS, PHONE

pytestmark = pytest.mark.browser

PAGE = "/admin/crypto/secret/"
LEVELS = """() => [...document.querySelectorAll("main :is(h1, h2, h3, h4, h5, h6)")]
  .map((heading) => Number(heading.tagName[1]))"""


@pytest.fixture
def admin(user):
    user.is_staff = user.is_superuser = True
    user.save()
    return user


@pytest.fixture(params=["fresh", "fallback", "wrong", "unreadable"])
def state(request, admin, settings, monkeypatch):
    """What a process sees that holds these secrets."""
    ring, stored = {
        "fresh": ([OLD], []),
        "fallback": ([NEW, OLD], [OLD, NEW]),
        "wrong": ([OTHER], [OLD]),
        "unreadable": ([OLD], [OLD, OTHER]),
    }[request.param]
    for number, secret in enumerate(stored):
        store(30, secret, first=100 * number)
    settings.KEYRING = KeyRing(ring[0], ring[1:])
    if stored:
        census.keep(census.take(KeyRing(*stored[:1], stored[1:])))
        Process.objects.create(
            kind="worker",
            host="a-rather-long-name-of-a-host.internal.example.com",
            pid=4711,
            fingerprints=[fingerprint(one) for one in ring],
            verdict=request.param,
        )
    monkeypatch.setattr(verdict, "latest", verdict.look())
    assert verdict.latest.state == request.param
    return request.param


def weak(page, root):
    """Text under `root` that hardly stands out."""
    found = page.evaluate(CONTRASTS.replace('"body, body *"', f'"{root}, {root} *"'))
    assert found
    return [(round(ratio, 2), what) for ratio, what in found if ratio < 4.5]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_in_every_state(open_page, admin, state, scheme):
    page = open_page(PAGE, user=admin, color_scheme=scheme)
    for folded in page.locator("details:not([open]) > summary").all():
        folded.click()
    assert weak(page, "#content") == []


def test_the_page_fits_a_phone_and_has_its_headings_and_tables_in_order(open_page, admin, state):
    page = open_page(PAGE, user=admin, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    levels = page.evaluate(LEVELS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for table in page.locator("#content table").all():
        assert table.locator("caption").inner_text()
        assert table.locator("th:not([scope])").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/accounts/", "/admin/"])
def test_the_banner_opens_by_keyboard_and_can_be_read(
    open_page, admin, settings, monkeypatch, path, scheme
):
    for found in (
        verdict.Verdict(verdict.State.WRONG, "It is wrong.", "Put it back:\n  a command"),
        verdict.Verdict(verdict.State.FALLBACK, "It is in use.", "Move them:\n  a command"),
    ):
        monkeypatch.setattr(verdict, "latest", found)
        page = open_page(path, user=admin, color_scheme=scheme)
        banner = page.get_by_role("complementary", name="Warning about the secret")
        expect(banner).to_contain_text(found.title)
        expect(banner.get_by_text("a command")).to_be_hidden()
        banner.locator("summary").focus()
        page.keyboard.press("Enter")
        expect(banner.get_by_text("a command")).to_be_visible()
        assert weak(page, ".verdict") == []
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Secret")


def test_the_banner_leaves_the_composer_in_sight(open_page, admin, conversation, monkeypatch):
    found = verdict.Verdict(verdict.State.WRONG, "It is wrong. " * 9, "A line of advice.\n" * 60)
    monkeypatch.setattr(verdict, "latest", found)
    page = open_page(conversation.get_absolute_url(), user=admin, **PHONE)
    page.locator(".verdict summary").click()
    expect(page.get_by_text("A line of advice.").first).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)


def test_the_list_of_accounts_offers_reconnect_by_name(open_page, user, account):
    account.access_token = None
    account.save()
    for number, other in enumerate(store(2)):
        Membership.objects.create(user=user, account=other, role=["owner", "member"][number])
    page = open_page("/accounts/", user=user, **PHONE)
    expect(page.get_by_role("button", name="Reconnect @luna.ceramics")).to_be_visible()
    expect(page.get_by_role("button", name="Reconnect")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
