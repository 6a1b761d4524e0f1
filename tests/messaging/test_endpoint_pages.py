"""The pages of forwarding: owners manage, members look, strangers find nothing."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Account, Membership, Role, User
from messaging import endpoints
from messaging.models import CrmEndpoint, Delivery, DeliveryAttempt, EventType

from .forwards import endpoint_to, forward, say

pytestmark = pytest.mark.django_db(transaction=True)

ACTS = ("enable", "disable", "rotate", "end-overlap", "test", "delete", "replay")


@pytest.fixture
def owner(client, user):
    client.force_login(user)
    return client


@pytest.fixture
def member(client, account):
    colleague = User.objects.create_user("nils", password="correct horse 43")
    Membership.objects.create(user=colleague, account=account, role=Role.MEMBER)
    client.force_login(colleague)
    return client


@pytest.fixture
def endpoint(account, receiver):
    return endpoint_to(account, receiver)


@pytest.fixture
def home(account):
    return f"/accounts/{account.pk}/forwarding/"


def html(response, status=200):
    assert response.status_code == status
    return response.content.decode()


def secret_in(text):
    return re.search(r"whsec_[\w+/=]+", text)


def test_an_owner_adds_an_address_and_sees_its_secret_once(owner, home, receiver):
    shown = owner.post(home, {"url": receiver.url, "events": ["message.received"]})
    secret = secret_in(html(shown))[0]
    assert shown.headers["Cache-Control"].startswith("max-age=0")
    endpoint = CrmEndpoint.objects.get()
    assert endpoint.secrets() == [secret]
    assert (endpoint.url, endpoint.events) == (receiver.url, ["message.received"])
    for url in (home, endpoint.get_absolute_url()):
        assert not secret_in(html(owner.get(url)))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://crm.example/", "https://"), ("crm.example", "https://"), ("", "required"),
        ("https://u:p@crm.example/", "user name"), ("https://crm.example/é", "character"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused_with_the_reason(owner, home, settings, url, why):
    settings.ALLOW_PRIVATE_WEBHOOK_TARGETS = False
    answer = owner.post(home, {"url": url, "events": EventType.values})
    assert why in html(answer, 422)
    assert not CrmEndpoint.objects.exists()


def test_no_event_and_an_unknown_one_are_refused(owner, home):
    for events in ([], ["message.unknown"]):
        html(owner.post(home, {"url": "https://crm.example/", "events": events}), 422)
    assert not CrmEndpoint.objects.exists()


def test_an_account_has_at_most_ten(owner, home, account):
    for n in range(endpoints.MOST):
        endpoints.add(account, f"https://crm.example/{n}")
    answer = owner.post(home, {"url": "https://crm.example/", "events": EventType.values})
    assert "at most 10" in html(answer, 422)


def test_an_owner_changes_it(owner, endpoint):
    owner.post(endpoint.get_absolute_url(), {"url": endpoint.url, "events": ["message.read"]})
    endpoint.refresh_from_db()
    assert endpoint.events == ["message.read"]


def test_switched_off_and_on_again(owner, endpoint):
    owner.post(f"{endpoint.get_absolute_url()}disable")
    assert "It is off" in html(owner.get(endpoint.get_absolute_url()))
    owner.post(f"{endpoint.get_absolute_url()}enable")
    assert "posted there at once" in html(owner.get(endpoint.get_absolute_url()))


def test_a_new_secret_is_shown_once_and_the_old_one_overlaps(owner, endpoint):
    shown = html(owner.post(f"{endpoint.get_absolute_url()}rotate"))
    assert secret_in(shown)[0] != endpoint.plain
    assert "secret before signs as well" in shown
    assert "two secrets sign" in html(owner.get(endpoint.get_absolute_url()))
    owner.post(f"{endpoint.get_absolute_url()}end-overlap")
    endpoint.refresh_from_db()
    assert len(endpoint.secrets()) == 1


def test_the_test_button_posts_at_once_and_shows_the_outcome(owner, endpoint, receiver):
    receiver.answers = [(500, {}, b"no such tenant")]
    shown = html(owner.post(f"{endpoint.get_absolute_url()}test", follow=True))
    assert receiver.types == ["test"]
    assert "HTTP 500" in shown
    assert "no such tenant" in shown
    endpoints.disable(endpoint)  # It can be tried before it is switched on.
    assert "Accepted" in html(owner.post(f"{endpoint.get_absolute_url()}test", follow=True))


def test_one_test_at_a_time(owner, endpoint, receiver):
    Delivery.objects.create(endpoint=endpoint, type="test", body=b"{}", due_at=None)
    shown = html(owner.post(f"{endpoint.get_absolute_url()}test", follow=True))
    assert "A test is under way" in shown
    assert receiver.got == []


def test_the_log_shows_requests_answers_and_durations_but_no_secret(
    owner, endpoint, receiver, conversation
):
    def echo(got):
        """A receiver that repeats whatever it was sent, and more."""
        return 200, {}, f"{got.headers} {endpoint.plain}".encode()

    receiver.think = echo
    say(conversation, "Hello there")
    forward()
    delivery = Delivery.objects.get()
    shown = html(owner.get(delivery.get_absolute_url()))
    assert "Hello there" in shown
    assert delivery.public_id in shown
    assert "webhook-timestamp" in shown
    assert " ms" in shown
    (got,) = receiver.got
    written = repr(list(DeliveryAttempt.objects.values()))
    for text in (shown, written):
        assert endpoint.plain.removeprefix("whsec_") not in text
        assert got.headers["webhook-signature"].removeprefix("v1,") not in text
        assert got.headers["X-Hub-Signature-256"].removeprefix("sha256=") not in text


def test_the_log_is_narrowed_and_paged(owner, endpoint, conversation, monkeypatch):
    monkeypatch.setattr("messaging.endpoint_views.PAGE", 2)
    for n in range(5):
        say(conversation, f"{n}")
    Delivery.objects.filter(message__text="3").update(state="failed", due_at=None)
    log = f"{endpoint.get_absolute_url()}deliveries/"
    first = html(owner.get(log))
    assert first.count("message.received</strong>") == 2
    older = re.search(r'href="(\?before=\d+)"', first)[1]
    assert html(owner.get(log + older)).count("message.received</strong>") == 2
    assert html(owner.get(f"{log}?state=failed")).count("message.received</strong>") == 1
    assert "none like that" in html(owner.get(f"{log}?type=message.read"))
    html(owner.get(f"{log}?state=nonsense&before=x"))


def test_one_and_a_range_are_posted_again(owner, endpoint, receiver, conversation):
    for n in range(3):
        say(conversation, f"{n}")
    forward()
    delivery = Delivery.objects.first()
    owner.post(f"{delivery.get_absolute_url()}replay")
    forward()
    assert len(receiver.got) == 4
    now = timezone.now()
    Delivery.objects.filter(message__text="0").update(created_at=now - timedelta(days=2))
    around = {
        "which": "all",
        "since": (now - timedelta(hours=1)).isoformat(),
        "until": (now + timedelta(hours=1)).isoformat(),
    }
    shown = html(owner.post(f"{endpoint.get_absolute_url()}replay", around, follow=True))
    assert "2 deliveries are posted again" in shown
    forward()
    assert receiver.texts[4:] == ["1", "2"]


def test_a_range_without_limits_is_refused_unless_it_was_given_up(
    owner, endpoint, receiver, conversation
):
    say(conversation)
    Delivery.objects.update(state="failed", due_at=None)
    url = f"{endpoint.get_absolute_url()}replay"
    assert "from when to when" in html(owner.post(url, {"which": "all"}, follow=True))
    assert "One delivery is" in html(owner.post(url, {"which": "failed"}, follow=True))


def test_a_member_looks_and_changes_nothing(member, endpoint, home, receiver, conversation):
    say(conversation)
    forward()
    delivery = Delivery.objects.get()
    CrmEndpoint.objects.update(url=f"{receiver.url}?key=of-the-crm")
    log = f"{endpoint.get_absolute_url()}deliveries/"
    for url in (home, endpoint.get_absolute_url(), log, delivery.get_absolute_url()):
        shown = html(member.get(url))
        assert "<form method" not in shown.split("<main", 1)[1]
        assert "of-the-crm" not in shown  # An address may hold a key.
    for act in ACTS:
        assert member.post(f"{endpoint.get_absolute_url()}{act}").status_code == 403
    assert member.post(f"{delivery.get_absolute_url()}replay").status_code == 403
    data = {"url": "https://crm.example/", "events": EventType.values}
    assert member.post(home, data).status_code == 403
    assert member.post(endpoint.get_absolute_url(), data).status_code == 403
    assert CrmEndpoint.objects.get().url.startswith(receiver.url)
    assert len(receiver.got) == 1


def test_strangers_find_nothing(client, stranger, endpoint, home, conversation):
    say(conversation)
    delivery = Delivery.objects.get()
    other = Account.objects.create(instagram_account_id="178999", username="other")
    Membership.objects.create(user=stranger, account=other, role=Role.OWNER)
    client.force_login(stranger)
    log = f"{endpoint.get_absolute_url()}deliveries/"
    for url in (home, endpoint.get_absolute_url(), log, delivery.get_absolute_url()):
        assert client.get(url).status_code == 404
        # Nor under an account of one's own.
        if url != home:
            assert client.get(url.replace(endpoint.account_id, other.pk)).status_code == 404
    for act in ACTS:
        assert client.post(f"{endpoint.get_absolute_url()}{act}").status_code == 404
    assert client.post(f"{delivery.get_absolute_url()}replay").status_code == 404
    assert client.post(home, {"url": "https://x.example", "events": []}).status_code == 404
    endpoint.refresh_from_db()
    assert endpoint.is_enabled


def test_nobody_who_is_not_logged_in(client, endpoint, home):
    assert client.get(home).status_code == 302
    assert client.post(f"{endpoint.get_absolute_url()}delete").status_code == 302


def test_what_was_taken_back_is_not_shown(owner, endpoint, conversation):
    from django.db import transaction

    from messaging import erasure

    message = say(conversation, "my secret address")
    with transaction.atomic():
        erasure.forget_content([bytes(message.mid_digest)])
    shown = html(owner.get(Delivery.objects.get().get_absolute_url()))
    assert "was taken back" in shown
    assert "secret address" not in shown
