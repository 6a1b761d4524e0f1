"""What Meta asks of the site: deauthorize and data-deletion callbacks, and the page about them."""

import base64
import hashlib
import hmac
import json
import random
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import connecting
from accounts.models import Account, DeletionRequest, Membership
from crypto.models import SecurityEvent
from messaging import deletion
from messaging.models import Conversation

pytestmark = pytest.mark.django_db

DEAUTHORIZE = "/oauth/instagram/deauthorize"
DELETION = "/oauth/instagram/data-deletion"
SECRETS = ["sandbox-secret-one", "sandbox-secret-two"]


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def sign(payload, secret=SECRETS[0]) -> str:
    if not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    signed = base64url(payload)
    return f"{base64url(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}.{signed}"


def wish(user_id="26487013356149208", *, age=0, **changes):
    payload = {"user_id": user_id, "algorithm": "HMAC-SHA256", "issued_at": int(time.time()) - age}
    return payload | changes


def post(url, signed_request, client=None):
    # As Meta does: without a cookie or a CSRF token.
    client = client or Client(enforce_csrf_checks=True)
    return client.post(url, {"signed_request": signed_request})


@pytest.fixture
def linked(account):
    """Linked an hour ago."""
    Account.objects.update(linked_at=timezone.now() - timedelta(hours=1), subscribed_fields=["x"])
    account.refresh_from_db()
    return account


def is_untouched(account) -> bool:
    account.refresh_from_db()
    return bool(account.access_token) and account.problem == "" and account.deletion is None


class TestSignedRequest:
    @pytest.mark.parametrize("secret", SECRETS)
    def test_any_of_the_app_secrets_may_sign(self, linked, secret):
        assert post(DEAUTHORIZE, sign(wish(), secret)).status_code == 200
        assert not is_untouched(linked)

    @pytest.mark.parametrize("url", [DEAUTHORIZE, DELETION])
    def test_another_secret_is_refused_in_plain_words_and_stores_nothing(self, linked, url):
        response = post(url, sign(wish(), "not the app secret"))
        assert response.status_code == 403
        assert response.content == b"The signature is not by this app's secret."
        assert is_untouched(linked)
        assert not DeletionRequest.objects.exists()

    def test_no_secret_configured_means_that_nobody_can_sign(self, linked, settings):
        settings.INSTAGRAM_APP_SECRETS = []
        assert post(DEAUTHORIZE, sign(wish(), "")).status_code == 403
        assert is_untouched(linked)

    def test_the_algorithm_may_be_in_any_case_but_no_other(self, linked):
        assert post(DEAUTHORIZE, sign(wish(algorithm="SHA1"))).status_code == 400
        assert post(DEAUTHORIZE, sign(wish(algorithm=None))).status_code == 400
        assert is_untouched(linked)
        assert post(DEAUTHORIZE, sign(wish(algorithm="hmac-sha256"))).status_code == 200
        assert not is_untouched(linked)

    @pytest.mark.parametrize(
        "issued_at",
        [None, True, "soon", 1e300, -1, 10**40, time.time() - 2 * 86400, int(time.time()) + 3600],
        ids=["none", "true", "soon", "1e300", "-1", "10^40", "two days ago", "in an hour"],
    )
    def test_one_that_is_not_fresh_is_refused(self, linked, issued_at):
        response = post(DELETION, sign(wish(issued_at=issued_at)))
        assert response.status_code == 400
        assert is_untouched(linked)
        assert not DeletionRequest.objects.exists()

    @pytest.mark.parametrize(
        "text",
        [
            "", ".", "a.b", "a", "a.b.c", "=.=", "ä.ö", "\x00.\x00", "a" * 100_000,
            sign(wish()) + ".x", sign(wish()) + "=", sign(wish()).replace(".", ". "),
            sign(b"[" * 3000), sign(b"[]"), sign(b"null"), sign(b"\xff"), sign(b"{}"), sign(b"NaN"),
        ],
    )  # fmt: skip
    def test_garbage_gets_an_answer_and_does_nothing(self, linked, text):
        assert post(DELETION, text).status_code in (400, 403)
        assert is_untouched(linked)

    def test_random_damage_is_never_an_error_of_ours(self, linked):
        seed = random.randrange(10**6)  # noqa: S311  (damage, no secret)
        print(f"seed {seed}")  # noqa: T201  (what a failing run needs)
        rng = random.Random(seed)  # noqa: S311
        good = sign(wish())
        for _ in range(100):
            letters = list(good)
            for _ in range(rng.randint(1, 4)):
                letters[rng.randrange(len(letters))] = rng.choice("aZ9_-.=% \x00é")
            if "".join(letters) != good:
                assert post(DELETION, "".join(letters)).status_code in (400, 403)
        # A last letter holds bits that no byte uses; one of them may stand for the same bytes.
        assert not DeletionRequest.objects.exclude(state="under_way").exists()

    def test_the_form_has_to_hold_it_and_only_post_is_taken(self, client):
        assert client.post(DEAUTHORIZE).status_code == 400
        assert client.post(DELETION, b"{}", content_type="application/json").status_code == 400
        assert client.get(DEAUTHORIZE).status_code == 405
        assert client.get(DELETION).status_code == 405


class TestDeauthorize:
    def test_the_token_goes_and_the_account_says_why(self, linked, conversation, user, client):
        response = post(DEAUTHORIZE, sign(wish()))
        assert response.status_code == 200
        linked.refresh_from_db()
        assert (linked.access_token, linked.token_expires_at) == (None, None)
        assert linked.status == Account.Status.REVOKED
        assert "removed from the account" in linked.problem_reason
        assert list(Account.objects.in_status(Account.Status.REVOKED)) == [linked]
        assert not Account.objects.in_status(Account.Status.DISCONNECTED).exists()
        assert Conversation.objects.exists()
        client.force_login(user)
        page = client.get(f"/accounts/{linked.pk}/").content.decode()
        assert "The app was removed from the account in Instagram" in page

    def test_it_is_in_the_audit(self, linked):
        post(DEAUTHORIZE, sign(wish()))
        event = SecurityEvent.objects.get(kind=SecurityEvent.Kind.DISCONNECTED)
        assert (event.actor, event.details) == ("Instagram", {"withdrawn": True})
        post(DEAUTHORIZE, sign(wish()))
        assert SecurityEvent.objects.filter(kind=event.kind).count() == 1

    @pytest.mark.parametrize("user_id", ["26487013356149208", 26487013356149208])
    def test_either_stored_id_is_found_as_text_or_number(self, linked, user_id):
        assert post(DEAUTHORIZE, sign(wish(user_id))).status_code == 200
        assert not is_untouched(linked)
        Account.objects.update(access_token="IGAAnother0000000000000", problem="")
        post(DEAUTHORIZE, sign(wish(linked.instagram_account_id)))
        assert not is_untouched(linked)

    @pytest.mark.parametrize("user_id", ["0", 0, "", None, True, {}, "1\x00", "999", "-1", 1.5])
    @pytest.mark.parametrize("url", [DEAUTHORIZE, DELETION])
    def test_ids_that_name_nobody_match_nothing_and_get_200(self, linked, url, user_id):
        Account.objects.create(instagram_account_id="0", username="zero", access_token="IGAAzero")
        Account.objects.create(instagram_account_id="-", username="none", access_token="IGAAnone")
        assert post(url, sign(wish(user_id))).status_code == 200
        assert is_untouched(linked)
        assert not Account.objects.filter(access_token__isnull=True).exists()
        assert not Account.objects.exclude(deletion=None).exists()

    @pytest.mark.parametrize("url", [DEAUTHORIZE, DELETION])
    def test_an_old_one_replayed_after_a_reconnect_wipes_nothing(self, linked, url):
        old = sign(wish(age=60))
        Account.objects.update(allowed_at=timezone.now() - timedelta(seconds=30))
        assert post(url, old).status_code == 200
        assert is_untouched(linked)

    @pytest.mark.parametrize("url", [DEAUTHORIZE, DELETION])
    def test_a_refresh_of_the_token_meanwhile_does_not_make_it_old(self, linked, url):
        wanted = sign(wish(age=60))
        Account.objects.update(token_issued_at=timezone.now())
        post(url, wanted)
        assert not is_untouched(linked)

    def test_connecting_and_connecting_again_are_what_counts(self, connected, instagram, user):
        old = sign(wish(connected.app_scoped_id, age=1))
        Account.objects.update(linked_at=timezone.now() - timedelta(hours=1), allowed_at=None)
        url = connecting.begin(user, "browser")
        connecting.finish(user, "browser", instagram.consent(url))
        post(DEAUTHORIZE, old)
        assert is_untouched(connected)

    @pytest.mark.parametrize("url", [DEAUTHORIZE, DELETION])
    def test_one_from_before_the_account_was_linked_wipes_nothing(self, account, url):
        assert post(url, sign(wish(age=60))).status_code == 200
        assert is_untouched(account)

    @pytest.mark.parametrize("moment", [None, timezone.now()])
    def test_what_a_call_under_way_learns_does_not_hide_it(self, linked, moment):
        Account.objects.update(token_issued_at=moment)
        sending = Account.objects.get()
        post(DEAUTHORIZE, sign(wish()))
        sending.note_problem(Account.Problem.HELD, "Instagram does not let this account do that")
        sending.clear_problem()
        assert Account.objects.get().status == Account.Status.REVOKED

    def test_a_refresh_at_this_very_moment_keeps_no_token(self, linked):
        """It is stored between the reading of the account and the forgetting."""
        refreshed = []

        def refresh(execute, sql, params, many, context):
            if sql.startswith('UPDATE "accounts"') and not refreshed:
                refreshed.append(timezone.now())
                Account.objects.update(token_issued_at=refreshed[0])
            return execute(sql, params, many, context)

        with connection.execute_wrapper(refresh):
            post(DEAUTHORIZE, sign(wish()))
        assert refreshed
        assert Account.objects.get().access_token is None

    def test_one_of_the_second_in_which_it_was_linked_counts(self, account):
        moment = timezone.now().replace(microsecond=999_999)
        Account.objects.update(linked_at=moment, allowed_at=moment)
        post(DEAUTHORIZE, sign(wish(issued_at=int(moment.timestamp()))))
        assert not is_untouched(account)


@pytest.mark.django_db(transaction=True)
class TestDataDeletion:
    @pytest.fixture(autouse=True)
    def settled(self, monkeypatch):
        """Nothing is on its way any more."""
        monkeypatch.setattr(deletion, "SETTLING", timedelta())

    def test_the_answer_is_what_meta_wants_and_the_page_tells_how_far_it_is(
        self, linked, conversation, user, settings, client
    ):
        settings.PUBLIC_BASE_URL = "https://shop.example"
        response = post(DELETION, sign(wish()))
        answer = response.json()
        code = answer["confirmation_code"]
        assert response.status_code == 200
        assert code.isalnum()
        assert len(code) >= 32
        assert answer["url"] == f"https://shop.example{DELETION}/{code}"
        assert code not in str(DeletionRequest.objects.values_list().get())
        # Gone for its people at once; the rest is the worker's.
        client.force_login(user)
        assert client.get(f"/accounts/{linked.pk}/").status_code == 404
        assert client.get(conversation.get_absolute_url()).status_code == 404

        page = Client().get(f"{DELETION}/{code}")
        assert "under way" in page.content.decode()
        deletion.delete.run()
        page = Client().get(f"{DELETION}/{code}")
        assert "Everything was deleted" in page.content.decode()
        assert "Conversations deleted</dt><dd>1</dd>" in page.content.decode()
        assert "luna" not in page.content.decode()
        assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
        assert "no-store" in page.headers["Cache-Control"]
        assert not Account.objects.exists()
        assert not Conversation.objects.exists()

    def test_who_does_not_have_the_code_finds_no_page(self, linked, client):
        post(DELETION, sign(wish()))
        assert client.get(f"{DELETION}/{'0' * 32}").status_code == 404
        assert client.get(f"{DELETION}/{DeletionRequest.objects.get().digest}").status_code == 404

    def test_a_refusal_says_why(self, linked, client):
        Account.objects.update(allowed_at=timezone.now())
        code = post(DELETION, sign(wish(age=60))).json()["confirmation_code"]
        page = client.get(f"{DELETION}/{code}").content.decode()
        assert "before the account was connected here" in page
        code = post(DELETION, sign(wish("404"))).json()["confirmation_code"]
        page = client.get(f"{DELETION}/{code}").content.decode()
        assert "There was nothing to delete" in page

    @pytest.mark.parametrize("named", ["app_scoped_id", "instagram_account_id"])
    def test_a_second_delivery_tells_of_the_first_and_breaks_nothing(self, linked, client, named):
        text = sign(wish(getattr(linked, named)))
        assert post(DELETION, text).status_code == 200
        second = post(DELETION, text)
        assert second.status_code == 200
        page = client.get(f"{DELETION}/{second.json()['confirmation_code']}").content.decode()
        assert "under way by an earlier request" in page
        assert "Finished" not in page
        deletion.delete.run()
        assert post(DELETION, text).status_code == 200
        states = DeletionRequest.objects.order_by("pk").values_list("state", flat=True)
        assert list(states) == ["done", "earlier", "nothing"]

    def test_other_accounts_and_logins_stay(self, linked, user, stranger):
        other = Account.objects.create(instagram_account_id="17841405309213999", username="sol")
        Membership.objects.create(user=user, account=other)
        post(DELETION, sign(wish()))
        deletion.delete.run()
        assert list(Account.objects.all()) == [other]
        user.refresh_from_db()

    def test_it_is_in_the_audit_before_anything_goes(self, linked):
        post(DELETION, sign(wish()))
        event = SecurityEvent.objects.get(kind=SecurityEvent.Kind.DISCONNECTED)
        assert (event.actor, event.details) == ("Instagram", {"deleted": True})
        assert event.subject == f"account {linked.pk} @luna.ceramics"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", [DEAUTHORIZE, DELETION])
def test_the_offline_instagram_signs_what_the_site_believes(
    live_server, instagram, connected, path
):
    answer = instagram.control(
        "signed-request", account="luna.ceramics", url=f"{live_server.url}{path}"
    )
    assert answer["status"] == 200
    connected.refresh_from_db()
    assert connected.access_token is None
