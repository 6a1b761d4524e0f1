import re
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from accounts.models import Account, Invitation, Membership, Role, User
from instamsg import logs

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse 41"


@pytest.fixture
def member(client, user):
    client.force_login(user)
    return client


def go_to_instagram(client, url="/accounts/connect"):
    response = client.post(url)
    assert response.status_code == 302
    return response.headers["Location"]


class TestConnectPages:
    def test_from_the_button_to_the_connected_page(self, member, instagram):
        url = go_to_instagram(member)
        assert url.startswith(f"{instagram.url}/oauth/authorize?")
        response = member.get("/oauth/instagram/callback", instagram.consent(url))
        assert response.status_code == 200
        assert "@luna.ceramics" in response.content.decode()
        assert "luna.ceramics" in member.get("/accounts/").content.decode()

    def test_nothing_from_the_query_string_is_echoed(self, member, instagram):
        url = go_to_instagram(member)
        state = instagram.consent(url)["state"]
        attack = "<script>alert(1)</script>"
        for query in (
            {"error": attack, "error_description": attack, "state": state},
            {"error": attack, "error_reason": attack, "state": attack},
            {"code": attack, "state": attack},
        ):
            response = member.get("/oauth/instagram/callback", query)
            assert response.status_code == 400
            assert "alert(1)" not in response.content.decode()

    def test_another_browser_of_the_same_user_cannot_finish(self, member, instagram, user):
        back = instagram.consent(go_to_instagram(member))
        other = Client()
        other.force_login(user)
        response = other.get("/oauth/instagram/callback", back)
        assert response.status_code == 403
        assert not Account.objects.exists()

    def test_who_is_logged_out_meanwhile_is_told_and_the_code_goes_nowhere(self, member, instagram):
        back = instagram.consent(go_to_instagram(member))
        member.logout()
        response = member.get("/oauth/instagram/callback", back)
        assert response.status_code == 403
        assert back["code"] not in response.content.decode()

    def test_two_tabs_do_not_break_each_other(self, member, instagram):
        first = go_to_instagram(member)
        cookie = member.cookies["connect_browser"]
        # The browser sends it to both ends of the way (the test client, everywhere).
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
        second = go_to_instagram(member)
        for url in (first, second):
            back = instagram.consent(url)
            assert member.get("/oauth/instagram/callback", back).status_code == 200

    def test_a_failed_reconnect_is_tried_again_for_the_same_account(self, member, connected):
        url = go_to_instagram(member, f"/accounts/{connected.pk}/reconnect")
        state = parse_qs(urlsplit(url).query)["state"][0]
        response = member.get(
            "/oauth/instagram/callback", {"error": "access_denied", "state": state}
        )
        assert f'action="/accounts/{connected.pk}/reconnect"' in response.content.decode()

    def test_connecting_takes_a_post(self, member):
        assert member.get("/accounts/connect").status_code == 405


class TestRoles:
    @pytest.fixture
    def colleague(self, account, stranger):
        Membership.objects.create(user=stranger, account=account, role=Role.MEMBER)
        return stranger

    @pytest.mark.parametrize("what", ["reconnect", "subscribe", "disconnect", "invite"])
    def test_a_member_sees_the_account_and_may_not_manage_it(
        self, client, account, colleague, what
    ):
        client.force_login(colleague)
        assert client.get(account.get_absolute_url()).status_code == 200
        assert client.post(f"/accounts/{account.pk}/{what}").status_code == 403
        account.refresh_from_db()
        assert account.access_token is not None

    def test_an_owner_disconnects(self, member, connected):
        response = member.post(f"/accounts/{connected.pk}/disconnect", follow=True)
        assert "is disconnected" in response.content.decode()
        connected.refresh_from_db()
        assert connected.status == Account.Status.DISCONNECTED


class TestInvitation:
    @pytest.fixture
    def make_link(self, member, account):
        def make_link(role="member"):
            html = member.post(f"/accounts/{account.pk}/invite", {"role": role}).content.decode()
            path = r"http://127\.0\.0\.1:8000(/accounts/invitations/[\w-]+)"
            return re.search(path, html)[1]

        return make_link

    @pytest.fixture
    def link(self, make_link):
        return make_link()

    def follow(self, link, user=None):
        """A browser on the page that the link leads to."""
        browser = Client()
        if user:
            browser.force_login(user)
        assert browser.get(link).headers["Location"] == "/accounts/invitation"
        return browser

    def accept(self, link, user):
        return self.follow(link, user).post("/accounts/invitation").status_code

    def test_a_colleague_with_a_login_accepts_it_once(self, link, stranger, account):
        page = self.follow(link, stranger).get("/accounts/invitation").content.decode()
        assert "@luna.ceramics" in page
        assert self.accept(link, stranger) == 302
        assert Membership.objects.get(user=stranger).role == Role.MEMBER
        third = User.objects.create_user("third")
        assert self.accept(link, third) == 410
        assert self.follow(link, third).get("/accounts/invitation").status_code == 410
        assert not Membership.objects.filter(user=third).exists()

    def test_a_colleague_without_one_makes_it_there(self, link, account):
        visitor = self.follow(link)
        response = visitor.post(
            "/accounts/invitation",
            {"username": "nina", "password1": PASSWORD, "password2": PASSWORD},
        )
        assert response.status_code == 302
        nina = User.objects.get(username="nina")
        assert Membership.objects.get(user=nina).account == account
        assert not nina.is_staff
        assert visitor.get("/").status_code == 200

    def test_logging_in_first_keeps_the_invitation(self, link, stranger):
        visitor = self.follow(link)
        login = {"username": "otto", "password": "wrong account 42"}
        visitor.post("/login?next=/accounts/invitation", login)
        assert visitor.post("/accounts/invitation").status_code == 302
        assert Membership.objects.filter(user=stranger).exists()

    def test_a_bad_password_uses_nothing_up(self, link):
        visitor = self.follow(link)
        bad = {"username": "nina", "password1": "a", "password2": "b"}
        assert visitor.post("/accounts/invitation", bad).status_code == 200
        assert Invitation.objects.get().used_at is None
        assert not User.objects.filter(username="nina").exists()

    def test_it_raises_a_member_to_owner_and_never_lowers_an_owner(self, make_link, user, stranger):
        assert self.accept(make_link("member"), stranger) == 302
        assert self.accept(make_link("owner"), stranger) == 302
        assert self.accept(make_link("member"), stranger) == 302
        assert Membership.objects.get(user=stranger).role == Role.OWNER

    def test_it_ends_with_its_week_and_with_its_owners_time(self, link, make_link, user, stranger):
        Invitation.objects.update(expires_at="2026-01-01T00:00Z")
        assert self.accept(link, stranger) == 410
        link = make_link()
        Membership.objects.filter(user=user).delete()
        assert self.accept(link, stranger) == 410
        assert self.accept(link, user) == 410
        assert self.accept("/accounts/invitations/forged", stranger) == 410

    def test_its_secret_is_stored_nowhere_and_reaches_no_log(self, link, caplog, client):
        secret = link.rsplit("/", 1)[1]
        assert secret not in str(Invitation.objects.values().get())
        assert client.head(link).status_code == 302  # A messenger's preview.
        assert client.post(link).status_code == 405
        handler_sees = [logs.redact(record.getMessage()) for record in caplog.records]
        assert handler_sees
        assert secret not in str(handler_sees)


class TestLogin:
    def log_in(self, client, password=PASSWORD, username="mara", ip="192.0.2.7"):
        return client.post("/login", {"username": username, "password": password}, REMOTE_ADDR=ip)

    def test_the_right_password_opens_the_inbox(self, client, user):
        response = self.log_in(client)
        assert response.headers["Location"] == "/"
        assert client.get("/").status_code == 200

    def test_a_wrong_one_does_not(self, client, user):
        assert "password" in self.log_in(client, "wrong").content.decode()
        assert client.get("/").status_code == 302

    def test_guessing_is_stopped_for_that_name_from_that_address_only(self, client, user, stranger):
        for _ in range(5):
            response = self.log_in(client, "wrong")
        assert response.status_code == 429
        assert self.log_in(client).status_code == 429
        assert self.log_in(client, ip="192.0.2.8").status_code == 302
        assert self.log_in(Client(), "wrong account 42", username="otto").status_code == 302

    def test_after_a_quarter_of_an_hour_it_goes_on(self, client, user):
        from datetime import timedelta

        from axes.models import AccessAttempt
        from django.utils import timezone

        for _ in range(5):
            self.log_in(client, "wrong")
        AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
        assert self.log_in(client).status_code == 302

    def test_no_password_reaches_the_database(self, client, user):
        from axes.models import AccessAttempt

        self.log_in(client, "my-private-guess")
        assert "my-private-guess" not in str(list(AccessAttempt.objects.values()))

    def test_login_does_not_lead_away_from_the_site(self, client, user):
        response = client.post(
            "/login?next=https://evil.example/", {"username": "mara", "password": PASSWORD}
        )
        assert response.headers["Location"] == "/"

    def test_logging_out_takes_a_post_and_ends_the_session(self, client, user):
        self.log_in(client)
        cookie = client.cookies["sessionid"].value
        assert client.get("/logout").status_code == 405
        client.post("/logout")
        thief = Client()
        thief.cookies["sessionid"] = cookie
        assert thief.get("/").status_code == 302


class TestPassword:
    def test_changing_it_ends_other_sessions_and_keeps_this_one(self, client, user):
        elsewhere = Client()
        for browser in (client, elsewhere):
            browser.force_login(user)
        response = client.post(
            "/password/change",
            {"old_password": PASSWORD, "new_password1": "battery staple 9",
             "new_password2": "battery staple 9"},
        )  # fmt: skip
        assert response.status_code == 302
        assert client.get("/").status_code == 200
        assert elsewhere.get("/").status_code == 302

    def test_a_forgotten_one_is_set_anew_by_mail(self, client, user, mailoutbox, settings):
        User.objects.update(email="mara@shop.example")
        assert client.post("/password/reset", {"email": "mara@shop.example"}).status_code == 302
        link = re.search(r"https?://\S+", mailoutbox[0].body)[0]
        response = client.get(urlsplit(link).path, follow=True)
        form = response.redirect_chain[-1][0]
        new = {"new_password1": "battery staple 9", "new_password2": "battery staple 9"}
        assert client.post(form, new).status_code == 302
        assert client.login(username="mara", password="battery staple 9", request=_request())
        assert client.get(urlsplit(link).path).status_code == 200  # …which says it is used up.

    def test_nobody_learns_which_addresses_are_known(self, client, user, mailoutbox):
        assert client.post("/password/reset", {"email": "who@shop.example"}).status_code == 302
        assert mailoutbox == []


def _request():
    from django.test import RequestFactory

    return RequestFactory().get("/")
