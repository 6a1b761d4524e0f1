"""The Setup page and the banner of a dead worker: in any light, by keyboard, for every ear."""

from itertools import pairwise

import pytest
from playwright.sync_api import expect

from crypto import workers
from crypto.heartbeat import Heartbeat
from messaging.models import Sighting

from .test_pages import CONTRASTS, PHONE

pytestmark = pytest.mark.browser

LEVELS = """() => [...document.querySelectorAll("main :is(h1, h2, h3, h4, h5, h6)")]
  .map((heading) => Number(heading.tagName[1]))"""


@pytest.fixture
def admin(user):
    user.is_staff = user.is_superuser = True
    user.save()
    return user


@pytest.fixture
def setup(open_page, admin, instagram, account):
    """Opens the page, with findings of all three kinds."""
    Sighting.objects.create(kind=Sighting.Kind.OTHER_SIGNATURE)
    return lambda **options: open_page("/setup/", user=admin, **options)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_finding_can_be_read_on_any_device(setup, scheme):
    page = setup(color_scheme=scheme, **PHONE)
    for label in ("Good", "To mend", "Cannot be known from here"):
        expect(page.get_by_text(label, exact=True).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    weak = [what for ratio, what in page.evaluate(CONTRASTS) if ratio < 4.5]
    assert weak == []


def test_headings_lead_through_it(setup):
    page = setup()
    levels = page.evaluate(LEVELS)
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after <= before + 1 for before, after in pairwise(levels))
    finding = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="Worker"))
    expect(finding).to_contain_text("To mend")
    expect(finding).to_contain_text("run_huey")


def test_the_verify_token_is_shown_and_hidden_by_keyboard_without_scripts(setup, settings):
    page = setup(java_script_enabled=False)
    token = page.get_by_text(settings.INSTAGRAM_VERIFY_TOKEN)
    expect(token).to_have_count(0)
    page.get_by_role("button", name="Show the verify token").focus()
    page.keyboard.press("Enter")
    expect(token).to_be_in_viewport()
    page.get_by_role("link", name="Hide it").focus()
    page.keyboard.press("Enter")
    expect(token).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/accounts/", "/admin/"])
def test_the_banner_of_a_dead_worker_leads_to_what_to_do(open_page, admin, path, scheme):
    workers.look_anew()
    page = open_page(path, user=admin, color_scheme=scheme)
    banner = page.get_by_role("complementary", name="Warning about the worker")
    expect(banner).to_contain_text("Answers wait: the worker is not running.")
    found = page.evaluate(CONTRASTS.replace('"body, body *"', '".verdict, .verdict *"'))
    assert [what for ratio, what in found if ratio < 4.5] == []
    banner.get_by_role("link", name="See what to do").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Setup")


def test_an_open_inbox_shows_the_banner_and_takes_it_away(open_page, user):
    page = open_page("/", user=user, **PHONE)
    banner = page.get_by_role("complementary", name="Warning about the worker")
    expect(banner).to_be_hidden()
    workers.look_anew()
    expect(banner).to_be_visible(timeout=15000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    worker = Heartbeat("worker")
    worker.beat()
    workers.look_anew()
    expect(banner).to_be_hidden(timeout=15000)
    worker.stop()
