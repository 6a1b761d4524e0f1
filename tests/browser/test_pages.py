"""What holds on every page, whoever looks at it and on whatever device."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import api_keys
from accounts.models import Account, Invitation, Membership, Role
from messaging import endpoints
from messaging.models import Attachment, CrmEndpoint, Delivery, DeliveryAttempt, Message, Rule

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LONG = "https://shop.example/" + "a-very-long-address-without-a-break" * 8

CONTRASTS = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = numbers(color).map((part) => {
      const value = part / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      const [, , , alpha = 1] = numbers(color);
      if (alpha > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const element of document.querySelectorAll("body, body *")) {
    const hasText = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!hasText || element.disabled || !element.checkVisibility()) continue;
    if (element.closest(".visually-hidden")) continue;
    const pair = [getComputedStyle(element).color, ground(element)].map(luminance);
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    found.push([ratio, element.tagName + "." + element.className + ": " + element.textContent]);
  }
  return found;
}"""

NAMELESS = """() => [...document.querySelectorAll("input, select, textarea, button, a")]
  .filter((element) => element.type !== "hidden" && element.checkVisibility())
  .filter((element) => !element.getAttribute("aria-label") && !element.textContent.trim())
  .filter((element) => ![...(element.labels ?? [])].some((label) => label.textContent.trim()))
  .filter((element) => !element.querySelector("img[alt]:not([alt=''])"))
  .map((element) => element.outerHTML)"""


@pytest.fixture
def paths(user, account, conversation):
    """Every page that can be opened by its address: as a stranger, and as an owner."""
    user.is_staff = user.is_superuser = True
    user.save()
    _, secret = Invitation.issue(timedelta(days=7), account=account, invited_by=user)
    other = Account.objects.create(
        instagram_account_id="17841405309213999",
        username="an.account.with.as.many.letters.as.it.may.have",
        problem="revoked",
        problem_reason="Instagram no longer accepts the token.",
        problem_at=timezone.now(),
        access_token="IGAATestTokenThatOpensNothing00000000001",
    )
    Membership.objects.create(user=user, account=other, role=Role.OWNER)
    for number, status in enumerate(Message.Status.values):
        direction = "in" if status == "received" else "out"
        message = Message.objects.create(
            account=account,
            conversation=conversation,
            direction=direction,
            status=status,
            text=LONG,
            error="" if direction == "in" else "Trying again: no connection.",
            is_from_here=True,
            timestamp=timezone.now() - timedelta(days=number),
            due_at=None,
        )
        Attachment.objects.create(message=message, kind="share")
    rules = [
        Rule.objects.create(account=account, name=name[:80], kind="keyword", words=LONG, text=LONG)
        for name in ("Prices", "a-name-without-a-break-that-is-as-long-as-names-may-be" * 2)
    ]
    invitation = f"/accounts/invitations/{secret}"
    api_keys.make(user, "A CRM whose name has as many words as its makers could think of")
    api_keys.revoke(api_keys.make(user, "Old", accounts=[account, other])[0])
    endpoint, delivery = forwarded(account, conversation)
    return {
        "stranger": [
            "/login",
            "/password/reset",
            "/password/reset/sent",
            "/password/reset/x/y-z",
            "/password/reset/done",
            invitation,
            "/accounts/invitations/unknown",
            "/oauth/instagram/callback",
            "/nothing",
        ],
        "owner": [
            "/",
            "/?page=9",
            conversation.get_absolute_url(),
            "/accounts/",
            "/accounts/keys",
            account.get_absolute_url(),
            other.get_absolute_url(),
            f"/accounts/{account.pk}/rules",
            f"/accounts/{account.pk}/rules/new",
            f"/accounts/{account.pk}/rules/settings",
            f"/rules/{rules[1].pk}/",
            f"/accounts/{account.pk}/forwarding/",
            endpoint.get_absolute_url(),
            f"{endpoint.get_absolute_url()}deliveries/",
            delivery.get_absolute_url(),
            "/setup/",
            "/password/change",
            "/password/change/done",
            invitation,
            "/oauth/instagram/callback?state=unknown",
            "/nothing",
        ],
        "admin": [
            "/admin/",
            "/admin/accounts/account/",
            f"/admin/accounts/account/{account.pk}/change/",
            "/admin/accounts/user/add/",
            "/admin/messaging/message/",
            "/admin/messaging/rulesettings/add/",
        ],
    }


def forwarded(account, conversation):
    """An endpoint with a long address and everything that can be wrong, and a failed delivery."""
    endpoint, _ = endpoints.add(account, LONG)
    endpoints.rotate(endpoint)
    CrmEndpoint.objects.update(failing_since=timezone.now(), failures=4)
    endpoint.refresh_from_db()
    delivery = Delivery.objects.create(
        endpoint=endpoint,
        type="message.received",
        conversation=conversation,
        body=b'{"type":"message.received","text":"' + b"x" * 500 + b'"}',
        attempts=1,
        is_out_of_order=True,
    )
    DeliveryAttempt.objects.create(
        delivery=delivery,
        url=LONG,
        headers={"webhook-id": delivery.public_id},
        started_at=timezone.now(),
        duration=timedelta(seconds=1),
        status=500,
        answer="<html>" + "y" * 300,
        error="HTTP 500",
    )
    return endpoint, delivery


@pytest.fixture
def visit(open_page, paths, user):
    """Every page in turn, of those `kinds`."""

    def visit(*kinds, **options):
        for kind in kinds:
            page = open_page("/livez", user=None if kind == "stranger" else user, **options)
            for path in paths[kind]:
                page.goto(path)
                yield path, page

    return visit


def test_no_page_violates_the_content_security_policy(visit):
    for path, page in visit("stranger", "owner", "admin"):
        page.wait_for_load_state("networkidle")
        assert not [c for c in page.complaints if "Content Security Policy" in c], path


def test_every_page_has_a_title_one_heading_and_its_landmarks(visit):
    for path, page in visit("stranger", "owner"):
        assert page.title().endswith("InstaMsg"), path
        assert page.locator("h1").count() == 1, path
        assert page.locator("main").count() == 1, path
        page.keyboard.press("Tab")
        first = page.evaluate("document.activeElement.textContent")
        has_autofocus = page.locator("[autofocus]").count()
        assert has_autofocus or first == "Skip to content", path


def test_every_control_has_a_name(visit):
    for path, page in visit("stranger", "owner"):
        assert page.evaluate(NAMELESS) == [], path


def test_nothing_sticks_out_on_a_phone(visit):
    for path, page in visit("stranger", "owner", **PHONE):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        # Inside the thread as well.
        for part in page.locator(".scroller, .conversations").all():
            assert part.evaluate("e => e.scrollWidth <= e.clientWidth"), path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit, scheme):
    for path, page in visit("stranger", "owner", color_scheme=scheme):
        weak = [(round(ratio, 2), what) for ratio, what in page.evaluate(CONTRASTS) if ratio < 4.5]
        assert weak == [], path


def test_an_owner_invites_and_disconnects_without_scripts(open_page, user, account):
    page = open_page(account.get_absolute_url(), user=user, java_script_enabled=False)
    page.get_by_role("button", name="Make a link").click()
    assert "/accounts/invitations/" in page.locator("code").inner_text()
    page.get_by_role("link", name="Back to").click()
    page.get_by_text("Disconnect @luna.ceramics…").click()
    page.get_by_role("button", name="Yes, disconnect").click()
    assert "is disconnected" in page.locator(".flashes").inner_text()
    account.refresh_from_db()
    assert account.status == "disconnected"


def test_an_owner_makes_and_tries_a_rule_without_scripts(open_page, user, account):
    page = open_page(account.get_absolute_url(), user=user, java_script_enabled=False)
    page.get_by_role("link", name="Rules, and try them").click()
    page.get_by_role("link", name="Add a rule").click()
    page.get_by_label("Name", exact=True).fill("Prices")
    page.get_by_label("Answer", exact=True).fill("From 40 €.")
    page.get_by_role("button", name="Save").click()
    assert "Name at least one word." in page.locator(".wrong").inner_text()
    page.get_by_label("Words").fill("price")
    page.get_by_role("button", name="Save").click()
    page.get_by_label("What the customer writes").fill("The PRICE, please")
    page.get_by_label("When").fill("2026-12-24T23:00")
    page.get_by_role("button", name="Try").click()
    outcome = page.get_by_role("status").filter(has_text="would answer")
    assert "From 40 €." in outcome.inner_text()
    page.get_by_role("button", name="Switch off “Prices”").click()
    assert "is switched off" in page.locator(".flashes").inner_text()


def test_who_logs_out_is_out(open_page, user):
    page = open_page("/", user=user)
    page.get_by_text("mara").click()
    page.get_by_role("button", name="Log out").click()
    page.goto("/")
    assert page.url.endswith("/login?next=/")
