from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts import connecting, token_watch
from accounts import instagram as instagram_client
from accounts.connecting import ConnectFailed
from accounts.instagram import InstagramClient
from accounts.models import Account, ConnectAttempt, Membership, Role
from crypto.keyring import derive
from crypto.models import Secret

from .passing_time import let_pass

BROWSER = "a-random-cookie"
pytestmark = pytest.mark.django_db


def connect(instagram, user, account="luna.ceramics", reconnect=None, **how):
    url = connecting.begin(user, BROWSER, reconnect)
    return connecting.finish(user, BROWSER, instagram.consent(url, account, **how))


def test_consent_is_asked_with_exactly_what_instagram_needs(instagram, user):
    asked = parse_qs(urlsplit(connecting.begin(user, BROWSER)).query)
    assert len(asked.pop("state")[0]) >= 43
    assert asked == {
        "client_id": ["sandbox-app"],
        "redirect_uri": ["http://127.0.0.1:8000/oauth/instagram/callback"],
        "response_type": ["code"],
        "scope": ["instagram_business_basic,instagram_business_manage_messages"],
        "force_reauth": ["true"],
    }


@pytest.mark.parametrize("me_shape", ["flat", "wrapped"])
@pytest.mark.parametrize("token_shape", ["flat", "wrapped"])
def test_consent_connects_the_account(instagram, user, token_shape, me_shape):
    instagram.control("settings", token_shape=token_shape, me_shape=me_shape)
    result = connect(instagram, user)
    account = Account.objects.get()
    assert (result.account, result.is_new, result.warning) == (account, True, "")
    assert account.username == "luna.ceramics"
    # The id that webhooks carry, and the other one, each in its place.
    assert account.instagram_account_id == "17841400000000101"
    assert account.app_scoped_id == "26487000000000101"
    assert account.status == Account.Status.CONNECTED
    days = (account.token_expires_at - timezone.now()) / timedelta(days=1)
    assert 59 < days <= 60
    assert account.access_token.reveal().startswith("IGAA")
    assert Membership.objects.get(user=user, account=account).role == Role.OWNER


def test_the_long_lived_token_is_stored_and_the_short_one_forgotten(instagram, user):
    account = connect(instagram, user).account
    known = instagram.sandbox.world.tokens
    kinds = {token.value: token.kind for token in known.values()}
    assert kinds[account.access_token.reveal()] == "long"


def test_the_webhook_fields_are_subscribed(instagram, user):
    connect(instagram, user)
    subscribed = instagram.control("state", method="GET")["subscriptions"]["luna.ceramics"]
    assert set(connecting.WEBHOOK_FIELDS) == set(subscribed)
    assert set(Account.objects.get().subscribed_fields) == set(subscribed)


def test_a_field_that_instagram_does_not_know_costs_only_itself(instagram, connected):
    fields = ["messages", "messages_from_the_moon", "messaging_seen"]
    assert connected.client().subscribe(fields) == ["messages", "messaging_seen"]


def test_a_failed_subscription_leaves_the_account_connected_and_says_so(instagram, user):
    instagram.control(
        "faults",
        endpoint="subscribed_apps",
        times=50,
        error={"http": 400, "code": 200, "message": "To subscribe, a permission is needed"},
    )
    result = connect(instagram, user)
    assert "will not tell us of new messages" in result.warning
    assert result.account.subscribed_fields == []
    instagram.control("faults", method="DELETE")
    assert connecting.retry_subscription(result.account) == ""
    assert result.account.subscribed_fields


def test_tokens_travel_in_headers_where_instagram_allows_it(instagram, connected):
    calls = instagram.control("requests", method="GET")["requests"]
    in_url = {call["path"] for call in calls if call["token_in"] == "query"}
    assert {path.split("?")[0] for path in in_url} <= {"/access_token"}
    assert any(call["token_in"] == "header" for call in calls)


class TestState:
    def finish(self, instagram, user, state=None, browser=BROWSER, by=None):
        back = instagram.consent(connecting.begin(user, BROWSER))
        if state is not None:
            back["state"] = state
        return connecting.finish(by or user, browser, back)

    def refused(self, match, *args, **kwargs):
        with pytest.raises(ConnectFailed, match=match):
            self.finish(*args, **kwargs)
        assert not Account.objects.exists()

    def test_an_unknown_one_is_refused(self, instagram, user):
        self.refused("did not begin here", instagram, user, state="forged")

    def test_an_empty_one_is_refused(self, instagram, user):
        self.refused("did not begin here", instagram, user, state="")

    def test_another_browser_is_refused(self, instagram, user):
        self.refused("another browser", instagram, user, browser="other")
        self.refused("another browser", instagram, user, browser="")

    def test_another_user_is_refused(self, instagram, user, stranger):
        self.refused("another browser", instagram, user, by=stranger)

    def test_after_ten_minutes_it_is_refused(self, instagram, user):
        back = instagram.consent(connecting.begin(user, BROWSER))
        lifetime = ConnectAttempt.objects.get().expires_at - timezone.now()
        assert timedelta(minutes=9) < lifetime <= timedelta(minutes=10)
        ConnectAttempt.objects.update(expires_at=timezone.now())
        with pytest.raises(ConnectFailed, match="longer than 10 minutes"):
            connecting.finish(user, BROWSER, back)

    def test_it_works_once(self, instagram, user):
        back = instagram.consent(connecting.begin(user, BROWSER))
        connecting.finish(user, BROWSER, back)
        with pytest.raises(ConnectFailed, match="used already"):
            connecting.finish(user, BROWSER, back)

    def test_two_attempts_side_by_side_both_finish(self, instagram, user):
        first, second = connecting.begin(user, BROWSER), connecting.begin(user, BROWSER)
        connecting.finish(user, BROWSER, instagram.consent(second, "north.bikes"))
        connecting.finish(user, BROWSER, instagram.consent(first, "luna.ceramics"))
        assert Account.objects.count() == 2

    def test_only_a_digest_is_stored(self, instagram, user):
        state = parse_qs(urlsplit(connecting.begin(user, BROWSER)).query)["state"][0]
        stored = ConnectAttempt.objects.values().get()
        assert state not in str(stored)
        assert BROWSER not in str(stored)


class TestFailure:
    """Every one changes nothing, says what happened, and what to do."""

    def fail(self, user, back, match):
        with pytest.raises(ConnectFailed, match=match) as caught:
            connecting.finish(user, BROWSER, back)
        assert not Account.objects.exists()
        assert caught.value.advice
        assert "IGAA" not in f"{caught.value} {caught.value.advice}"
        return caught.value

    def begin(self, instagram, user, *args, **how):
        return instagram.consent(connecting.begin(user, BROWSER), *args, **how)

    def test_denial(self, instagram, user):
        state = self.begin(instagram, user)["state"]
        back = {"error": "access_denied", "error_reason": "user_denied", "state": state}
        self.fail(user, back, "You cancelled")

    def test_no_code(self, instagram, user):
        back = self.begin(instagram, user)
        del back["code"]
        self.fail(user, back, "no authorization code")

    def test_an_expired_code(self, instagram, user):
        back = self.begin(instagram, user)
        instagram.control("clock", advance=3601)
        self.fail(user, back, "no longer valid")

    def test_a_code_used_before(self, instagram, user):
        back = self.begin(instagram, user)
        instagram_client.exchange_code(back["code"], redirect_uri=connecting.redirect_uri())
        self.fail(user, back, "no longer valid")

    @pytest.mark.parametrize(
        "grant", [["instagram_business_basic"], ["instagram_business_manage_messages"]]
    )
    def test_a_permission_unticked(self, instagram, user, grant):
        back = self.begin(instagram, user, grant=grant)
        failure = self.fail(user, back, "permission is missing")
        assert "messages" in failure.advice or "profile" in failure.advice

    def test_a_personal_account(self, instagram, user):
        failure = self.fail(user, self.begin(instagram, user, "theo.at.home"), "personal account")
        assert "professional" in failure.advice

    def test_an_account_without_a_role_on_the_app(self, instagram, user):
        failure = self.fail(user, self.begin(instagram, user, "harbor.tea"), "refused")
        assert "tester invitation" in failure.advice

    def test_a_wrong_app_secret(self, instagram, user, settings):
        back = self.begin(instagram, user)
        settings.INSTAGRAM_APP_SECRETS = ["wrong"]
        self.fail(user, back, "app|refused")

    def test_instagram_out_of_reach(self, instagram, user, settings):
        back = self.begin(instagram, user)
        settings.INSTAGRAM_TOKEN_URL = "http://127.0.0.1:9/oauth/access_token"
        assert self.fail(user, back, "could not be reached").status == 502

    def test_no_answer_to_the_long_lived_exchange(self, instagram, user):
        """The short token that we hold by then is not kept in its place."""
        back = self.begin(instagram, user)
        instagram.control("faults", endpoint="access_token", drop="after", times=5)
        self.fail(user, back, "could not be reached")

    def test_me_without_the_id_that_webhooks_carry(self, instagram, user):
        back = self.begin(instagram, user)
        instagram.control(
            "faults",
            endpoint="me",
            times=1,
            status=200,
            body='{"id": "26487000000000101", "username": "luna.ceramics"}',
        )
        failure = self.fail(user, back, "refused")
        assert "user_id" in failure.advice

    def test_a_site_without_a_meta_app(self, user, settings):
        settings.INSTAGRAM_APP_ID = ""
        with pytest.raises(ConnectFailed, match="no Meta app"):
            connecting.begin(user, BROWSER)


class TestReconnect:
    def test_it_keeps_the_account_and_mends_it(self, instagram, connected, user):
        old = connected.access_token.reveal()
        connected.note_problem(Account.Problem.REVOKED, "The password was changed.")
        result = connect(instagram, user, reconnect=connected)
        assert (result.account.pk, result.is_new) == (connected.pk, False)
        assert result.account.status == Account.Status.CONNECTED
        assert result.account.access_token.reveal() != old
        assert Account.objects.count() == 1

    def test_another_identity_is_refused_and_changes_nothing(self, instagram, connected, user):
        before = Account.objects.values().get()
        with pytest.raises(ConnectFailed, match=r"@north\.bikes, not @luna\.ceramics") as caught:
            connect(instagram, user, "north.bikes", reconnect=connected)
        assert "Connect an account" in caught.value.advice
        assert Account.objects.values("username", "updated_at").get() == {
            key: before[key] for key in ("username", "updated_at")
        }

    def test_a_process_with_a_retired_secret_stores_nothing_and_says_why(
        self, instagram, connected, user
    ):
        before = Account.objects.values("username", "updated_at").get()
        Secret.objects.make_current(derive("the-N3wer-secret-of-this-installation-2025"))
        with pytest.raises(ConnectFailed, match="needs a restart") as caught:
            connect(instagram, user, reconnect=connected)
        assert "still runs the old one" in caught.value.advice
        assert Account.objects.values("username", "updated_at").get() == before

    def test_a_colleague_who_logs_in_to_the_same_account_shares_it(
        self, instagram, connected, stranger
    ):
        result = connect(instagram, stranger)
        assert result.account == connected
        assert Membership.objects.filter(account=connected).count() == 2


class TestWhatWaited:
    """Receivers of `account_connected` go on with what waited for a token."""

    @pytest.fixture
    def failing(self):
        def fail(**signal):
            raise OperationalError("database is locked")

        connecting.account_connected.connect(fail)
        yield
        connecting.account_connected.disconnect(fail)

    def test_one_that_fails_is_logged_and_the_account_connected_all_the_same(
        self, instagram, user, failing, caplog
    ):
        result = connect(instagram, user)
        assert (result.is_new, result.warning) == (True, "")
        assert Account.objects.get().subscribed_fields
        assert instagram.control("state", method="GET")["subscriptions"]
        assert "database is locked" in caplog.text


def test_an_account_deleted_while_webhooks_are_asked_for_is_no_error(
    instagram, connected, monkeypatch
):
    subscribe = InstagramClient.subscribe

    def deleted_meanwhile(client, fields):
        Account.objects.all().delete()
        return subscribe(client, fields)

    monkeypatch.setattr(InstagramClient, "subscribe", deleted_meanwhile)
    assert connecting.retry_subscription(connected) == ""
    assert not Account.objects.exists()


class TestDisconnect:
    def test_a_refresh_meanwhile_keeps_nothing(self, instagram, connected, monkeypatch):
        let_pass(instagram, hours=25)
        unsubscribe = InstagramClient.unsubscribe

        def refreshed_meanwhile(client):
            unsubscribe(client)
            assert token_watch.refresh(Account.objects.get()).outcome == "refreshed"

        monkeypatch.setattr(InstagramClient, "unsubscribe", refreshed_meanwhile)
        connecting.disconnect(Account.objects.get())
        account = Account.objects.get()
        assert (account.status, account.subscribed_fields) == (Account.Status.DISCONNECTED, [])

    def test_who_connects_anew_meanwhile_keeps_it(self, instagram, connected, user):
        before = Account.objects.get()
        connect(instagram, user)
        connecting.disconnect(before)
        assert Account.objects.get().status == Account.Status.CONNECTED

    def test_the_token_goes_here_and_the_subscription_there(self, instagram, connected):
        connecting.disconnect(connected)
        account = Account.objects.get()
        assert account.access_token is None
        assert account.token_expires_at is None
        assert account.status == Account.Status.DISCONNECTED
        assert instagram.control("state", method="GET")["subscriptions"] == {}

    def test_it_works_when_instagram_does_not(self, instagram, connected, settings):
        settings.INSTAGRAM_GRAPH_URL = "http://127.0.0.1:9"
        connecting.disconnect(connected)
        assert Account.objects.get().access_token is None

    def test_it_works_when_no_key_opens_the_token(self, instagram, connected, settings):
        from crypto.keyring import KeyRing

        settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
        connecting.disconnect(connected)
        assert Account.objects.get().access_token is None
