"""The page that says whether an account works, and what to do where it does not."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import connecting, instagram_errors
from accounts.connecting import WEBHOOK_FIELDS
from accounts.instagram import InstagramClient
from accounts.models import Account, Membership, Role
from messaging import account_health, explanations, inbound, outcomes
from messaging.models import Message

from .passing_time import let_pass

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner(client, user):
    client.force_login(user)
    return client


def health(client, account) -> str:
    response = client.get(f"/accounts/{account.pk}/health")
    assert response.status_code == 200
    return response.content.decode()


def answer(conversation, **fields) -> Message:
    values = {
        "account": conversation.account, "conversation": conversation, "direction": "out",
        "status": "sent", "text": "Yes.", "timestamp": timezone.now(), "is_from_here": True,
        "called_at": timezone.now(), "due_at": None,
    }  # fmt: skip
    return Message.objects.create(**values | fields)


class TestWhatInstagramSends:
    def test_all_is_well_after_connecting(self, owner, connected):
        page = health(owner, connected)
        assert "Everything that this site understands." in page
        assert page.count(">Arrives<") == len(WEBHOOK_FIELDS)
        assert "Ask Instagram for what is missing" not in page

    def test_what_is_lost_at_instagram_is_seen_and_mended_by_one_button(self, owner, connected):
        connected.client()._subscribe(["messages", "standby"])
        page = health(owner, connected)
        assert "7 of 9 kinds of news do not arrive here." in page
        connected.refresh_from_db()
        assert connected.subscribed_fields == ["messages", "standby"]
        response = owner.post(f"/accounts/{connected.pk}/subscribe", {"health": "1"}, follow=True)
        assert response.redirect_chain == [(f"/accounts/{connected.pk}/health", 302)]
        assert "Everything that this site understands." in response.content.decode()

    def test_no_subscription_at_all_is_told_as_what_it_is(self, owner, connected):
        connected.client().unsubscribe()
        assert "new messages do not arrive here" in health(owner, connected)
        # The account's own page knows it from now on.
        assert "Do not arrive here yet" in owner.get(f"/accounts/{connected.pk}/").content.decode()

    def test_an_instagram_out_of_reach_is_said_plainly(self, owner, account):
        page = health(owner, account)
        assert "Instagram could not be asked just now: Instagram cannot be reached." in page
        assert ">Missing<" not in page

    def test_a_token_that_died_shows_at_once(self, owner, instagram, connected):
        instagram.control("revoke", account="luna.ceramics", subcode=460)
        assert "The Instagram password was changed." in health(owner, connected)
        connected.refresh_from_db()
        assert connected.status == Account.Status.REVOKED

    def test_looking_again_makes_nothing_of_it_new(self, owner, instagram, connected):
        instagram.control("revoke", account="luna.ceramics", subcode=460)
        health(owner, connected)
        since = Account.objects.get().problem_at
        health(owner, connected)
        assert Account.objects.get().problem_at == since

    def test_a_token_that_has_expired_is_not_sent(self, owner, instagram, connected):
        let_pass(instagram, days=61)
        calls = len(instagram.control("requests", method="GET")["requests"])
        assert "has ended" in health(owner, connected)
        assert len(instagram.control("requests", method="GET")["requests"]) == calls
        assert Account.objects.get().status == Account.Status.EXPIRED

    @pytest.mark.parametrize("rows", ["deleted", "disconnected"])
    def test_an_account_that_goes_while_instagram_answers_is_no_error(
        self, owner, connected, rows, monkeypatch
    ):
        def gone_meanwhile(client):
            if rows == "deleted":
                Account.objects.all().delete()
            else:
                connecting.disconnect(Account.objects.get())
            return ["messages"]

        monkeypatch.setattr(InstagramClient, "subscribed", gone_meanwhile)
        health(owner, connected)
        assert not Account.objects.exclude(subscribed_fields=[]).exists()

    def test_a_disconnected_account_has_a_page_too(self, owner, account):
        Account.objects.update(access_token=None)
        page = health(owner, account)
        assert "The account is disconnected" in page
        assert "None stored" in page


class TestPermission:
    def test_what_was_granted_and_what_is_missing(self, owner, account):
        Account.objects.update(permissions=["instagram_business_basic", "comments_too"])
        page = health(owner, account)
        assert "A permission is missing." in page
        assert page.count(">Granted<") == 2
        assert "To receive messages and answer them" in page

    def test_instagram_may_not_have_said(self, owner, account):
        assert "Instagram did not say." in health(owner, account)

    def test_the_age_of_the_token_and_what_is_left(self, owner, account):
        now = timezone.now()
        Account.objects.update(
            token_issued_at=now - timedelta(days=12, hours=1),
            token_expires_at=now + timedelta(days=47, hours=23),
        )
        assert "12 days old, 48 days left" in health(owner, account)


class TestTraffic:
    def test_the_last_webhook_and_the_last_send(self, owner, account, conversation, deliver):
        page = health(owner, account)
        assert "None yet: write to the account" in page
        assert "None of late" in page
        deliver("text")
        inbound.process.run()
        answer(conversation)
        page = health(owner, account)
        assert "None yet" not in page
        assert "None of late" not in page

    def test_the_last_error_comes_with_its_meaning_and_what_to_do(
        self, owner, account, conversation
    ):
        answer(conversation, status="failed", error=instagram_errors.WINDOW_CLOSED)
        answer(conversation, status="unconfirmed", error=outcomes.NOT_CONFIRMED)
        answer(conversation)
        page = health(owner, account)
        assert outcomes.NOT_CONFIRMED in page
        assert "press one of the two buttons" in page
        assert conversation.get_absolute_url() in page
        assert "Yes." not in page  # What was said is nobody's business here.

    @pytest.mark.parametrize(
        "text",
        [
            *instagram_errors.ABOUT_ONE_MESSAGE.values(), *instagram_errors.BY_CODE.values(),
            *(text for text in instagram_errors.PASSING.values() if "slow down" not in text),
            instagram_errors.NO_HUMAN_AGENT, outcomes.NOT_CONFIRMED, outcomes.NOT_FOUND,
            Message.NOT_ARRIVED, "Given up: it waited more than 24 hours.", "Trying again: …",
            "Waiting: …",
        ],
    )  # fmt: skip
    def test_each_text_that_we_write_has_an_explanation_of_its_own(self, text):
        *known, (_, catch_all, _) = explanations.WHAT_TO_DO
        means = next(means for start, means, _ in [*known, ("", "", "")] if text.startswith(start))
        assert means
        assert means != catch_all

    def test_an_error_of_long_ago_is_no_news(self, owner, account, conversation, monkeypatch):
        monkeypatch.setattr(account_health, "LOOK_BACK", 3)
        answer(conversation, status="failed", error="Instagram refused: no.")
        for _ in range(2):
            answer(conversation)
        assert "Instagram refused: no." in health(owner, account)
        answer(conversation)
        assert "None of the latest messages failed." in health(owner, account)


class TestWhoMayLook:
    def test_members_see_it_without_the_buttons(self, client, instagram, connected, stranger):
        connected.client().unsubscribe()
        Membership.objects.create(user=stranger, account=connected, role=Role.MEMBER)
        client.force_login(stranger)
        page = health(client, connected)
        assert "An owner can ask Instagram" in page
        assert f'action="/accounts/{connected.pk}/' not in page
        assert client.post(f"/accounts/{connected.pk}/subscribe").status_code == 403

    def test_strangers_find_nothing(self, client, account, stranger):
        client.force_login(stranger)
        assert client.get(f"/accounts/{account.pk}/health").status_code == 404
        client.logout()
        assert client.get(f"/accounts/{account.pk}/health").status_code == 302
