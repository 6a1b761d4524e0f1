"""One page tells a superuser all about the secret; a banner tells all staff when it is not well."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Membership, User
from crypto import census, reset, rotation, verdict
from crypto.keyring import KeyRing
from crypto.models import Census, Process, Secret
from crypto.verdict import State, Verdict

from .secrets_of_a_shop import NEW, OLD, OTHER, TOKEN, fingerprint, overwrite, store

pytestmark = pytest.mark.django_db

PAGE = "/admin/crypto/secret/"


@pytest.fixture(autouse=True)
def nothing_seen_yet(monkeypatch):
    monkeypatch.setattr(verdict, "latest", None)


@pytest.fixture
def page(client, settings, admin_user):
    """The page as a process with these secrets serves it."""

    def page(primary, *fallbacks):
        settings.KEYRING = KeyRing(primary, fallbacks)
        client.force_login(admin_user)
        response = client.get(PAGE)
        assert response.status_code == 200
        return unescape(response.content.decode())

    return page


def part(html, name):
    return html.partition(f'<section aria-labelledby="{name}"')[2].partition("</section>")[0]


def section(html, name):
    """The words of one section."""
    return " ".join(re.sub("<[^>]+>", " ", part(html, name)).split())


def commands(html):
    return [
        line for line in re.findall("<pre>(python[^<]+)</pre>", html) for line in line.split("\n")
    ]


def count(ring=None):
    census.keep(census.take(ring or KeyRing(OLD)))


def rotated():
    rotation.rotate(KeyRing(NEW, [OLD]))


STATES = {
    State.FRESH: (lambda: None, [OLD]),
    State.CURRENT: (lambda: store(2), [OLD]),
    State.FALLBACK: (lambda: store(2), [NEW, OLD]),
    State.WRONG: (lambda: store(2), [OTHER]),
    State.SUPERSEDED: (lambda: (store(2), rotated()), [OLD]),
    State.UNREADABLE: (lambda: (store(2), store(2, OTHER, first=5)), [OLD]),
}


class TestOpens:
    @pytest.mark.parametrize("is_counted", [False, True], ids=["no census", "census"])
    @pytest.mark.parametrize("state", STATES)
    def test_in_every_state_with_the_verdict_and_its_advice(self, page, state, is_counted):
        prepare, ring = STATES[state]
        prepare()
        Census.objects.all().delete()
        if is_counted:
            count(KeyRing(ring[0], ring[1:]))
        html = page(*ring)
        found = verdict.look()
        assert found.state == state
        assert found.title in html
        assert found.advice in html
        assert ("None was taken yet" in html) is not is_counted

    @pytest.mark.parametrize("state", STATES)
    def test_no_secret_ciphertext_or_sentinel_stands_on_it(self, page, state):
        prepare, ring = STATES[state]
        prepare()
        count()
        html = page(*ring)
        for secret in (OLD, NEW, OTHER):
            assert secret not in html
        assert "gAAAA" not in html
        assert TOKEN[:12] not in html

    def test_only_superusers_see_it(self, client, user):
        User.objects.update(is_staff=True)
        client.force_login(user)
        assert client.get(PAGE).status_code == 302

    def test_it_takes_nothing_and_offers_nothing_that_changes_anything(self, page, client):
        store(2)
        html = page(OLD)
        assert re.findall('<form[^>]+action="([^"]+)"', html) == ["/admin/logout/"]
        assert client.post(PAGE).status_code == 405
        for path in ("add/", f"{fingerprint(OLD)}/change/", f"{fingerprint(OLD)}/delete/"):
            assert client.get(PAGE + path).status_code == 404
        assert f"{PAGE}add/" not in client.get("/admin/").content.decode()

    def test_many_accounts_cost_the_queries_of_few(self, page, client):
        def queries():
            count()
            with CaptureQueriesContext(connection) as context:
                client.get(PAGE)
            return len(context)

        store(1)
        store(1, OTHER, first=5)
        page(OLD)
        few = queries()
        store(150, OTHER, first=10)
        store(150, first=200)
        assert queries() == few


class TestSecrets:
    def test_the_ring_says_which_encrypts_and_which_only_opens(self, page):
        said = section(page(NEW, OLD, OTHER), "current")
        assert f"{fingerprint(NEW)} encrypts and signs" in said
        assert f"{fingerprint(OLD)} is a fallback" in said
        assert f"{fingerprint(OTHER)} is a fallback" in said

    def test_one_made_for_this_start_is_said_to_be(self, page, settings):
        settings.SESSION_SECRET_IS_EPHEMERAL = True
        html = page(OLD)
        assert "made at random for this start" in section(html, "current")
        assert commands(html) == ["python manage.py generate_secret --env-file .env"]

    @pytest.mark.parametrize(
        ("ring", "said"),
        [
            ([OLD], "Holds it, and encrypts under it"),
            ([NEW, OLD], "Holds it as a fallback"),
            ([NEW], "Does not hold it"),
        ],
    )
    def test_whether_the_current_one_is_held_is_proven(self, page, ring, said):
        store(1)
        assert said in section(page(*ring), "current")

    def test_its_age_and_its_next_rotation_are_shown(self, page):
        store(1)
        Secret.objects.update(first_used_at=timezone.now() - timedelta(days=100))
        said = section(page(OLD), "current")
        assert "(3 months, " in said
        assert "Due " in said
        assert "Overdue" not in said

    def test_an_overdue_rotation_is_said(self, page):
        store(1)
        Secret.objects.update(first_used_at=timezone.now() - timedelta(days=366))
        html = page(OLD)
        assert "Overdue since" in section(html, "current")
        assert "It is time." in section(html, "next")

    def test_every_secret_of_the_registry_is_listed_with_who_retired_it(self, page):
        store(2)
        rotated()
        said = section(page(NEW), "secrets")
        who = Secret.objects.get(pk=fingerprint(OLD)).retired_by
        assert who
        assert re.search(f"{fingerprint(NEW)} .*, ..:.. Current Yes", said)
        assert re.search(f"{fingerprint(OLD)} .*, ..:.. by {who} No", said)

    def test_the_last_rotations_and_resets_are_listed_and_all_are_a_click_away(self, page, client):
        store(2)
        rotated()
        reset.clear(KeyRing(OTHER), reset.Scope(), lambda name: None)
        html = page(OTHER)
        said = section(html, "events")
        assert "Values reset what no secret opens" in said
        assert f"Secret rotated secret {fingerprint(NEW)}" in said
        assert "Login" not in said
        for kind in ("rotated", "reset"):
            link = f"/admin/crypto/securityevent/?kind__exact={kind}"
            assert f'href="{link}"' in html
            assert {e.kind for e in client.get(link).context["cl"].result_list} == {kind}


class TestCommands:
    @pytest.mark.parametrize(
        ("state", "wanted"),
        [
            (State.FRESH, ["check_secret"]),
            (
                State.CURRENT,
                ["check_secret", "generate_secret --env-file .env --keep-old", "rotate_secret"],
            ),
            (State.FALLBACK, ["rotate_secret --dry-run", "rotate_secret", "check_secret"]),
            (
                State.WRONG,
                ["check_secret", "reset_tokens --dry-run", "reset_tokens --notify-only",
                 "reset_tokens"],
            ),
            (
                State.SUPERSEDED,
                ["check_secret", "reset_tokens --dry-run", "reset_tokens --notify-only",
                 "reset_tokens"],
            ),
            (
                State.UNREADABLE,
                ["rotate_secret", "reset_tokens --dry-run", "reset_tokens --notify-only",
                 "reset_tokens"],
            ),
        ],
    )  # fmt: skip
    def test_are_those_for_the_present_state(self, page, state, wanted):
        prepare, ring = STATES[state]
        prepare()
        assert commands(page(*ring)) == [f"python manage.py {one}" for one in wanted]

    def test_a_weak_secret_is_replaced_at_once(self, page, settings):
        settings.WEAK_SECRETS = [("SESSION_SECRET", "it is short")]
        store(1)
        html = page(OLD)
        assert "python manage.py generate_secret --env-file .env --keep-old" in commands(html)
        assert "At once" in section(html, "next")

    def test_an_idle_fallback_is_asked_after(self, page):
        store(1, NEW)
        html = page(NEW, OLD)
        assert "ask whether the fallback may go" in section(html, "next")


class TestCensus:
    def test_it_is_shown_by_column_and_secret_with_its_time(self, page):
        store(3)
        store(2, NEW, first=5)
        store(1, OTHER, first=9)
        count(KeyRing(NEW, [OLD]))
        Census.objects.update(taken_at=timezone.now() - timedelta(hours=5), seconds=12.34)
        html = page(NEW, OLD)
        said = section(html, "census")
        assert "5 hours ago" in said
        assert "Trying 6 values took 12.3 s." in said
        assert "accounts.access_token_encrypted" in said
        assert f"{fingerprint(OLD)} fallback 3" in said
        assert f"{fingerprint(NEW)} encrypts 2" in said
        assert "No secret opened 1" in said
        assert re.findall('<meter class="([a-z]+)" value="(.)" max="6"', html) == [
            ("older", "3"),
            ("good", "2"),
            ("none", "1"),
        ]

    def test_what_this_process_cannot_open_is_said_to_be_under_another_secret(self, page):
        store(3)
        count()
        assert f"{fingerprint(OLD)} not held here 3" in section(page(OTHER), "census")

    def test_unreadable_accounts_are_named_and_linked(self, page, client):
        accounts = store(150)
        if connection.vendor != "sqlite":  # It looks at the ends by key, not by age.
            accounts.sort(key=lambda account: account.pk)
        lost = accounts[75]
        overwrite(lost, "gAAAAA-of-nobody")  # In the middle, where no sample looks.
        assert "Cannot be opened now" not in page(OLD)
        count()
        html = page(OLD)
        ((url, name),) = re.findall(
            '<li><a href="([^"]+)">([^<]+)</a></li>', part(html, "unreadable")
        )
        assert name == f"account {lost.pk} @{lost.username}"
        assert client.get(url).context["original"] == lost

    def test_without_a_census_the_sample_names_them(self, page):
        store(2)
        store(2, OTHER, first=5)
        said = section(page(OLD), "unreadable")
        assert "2 by name" in said
        assert "@shop.5" in said
        assert "@shop.6" in said

    def test_one_that_can_be_opened_again_is_no_longer_named(self, page):
        store(1)
        (lost,) = store(1, OTHER, first=5)
        count()
        assert "@shop.5" in page(OLD)
        overwrite(lost, KeyRing(OLD).encrypt("IGAAReconnected"))
        assert "Cannot be opened now" not in page(OLD)

    def test_a_long_list_is_folded(self, page):
        store(20, OTHER)
        assert "<details open>" in page(OLD)
        store(1, OTHER, first=50)
        html = page(OLD)
        assert "<details>" in html
        assert "<details open>" not in html

    def test_names_are_not_taken_for_html(self, page, client):
        (account,) = store(1, OTHER)
        type(account).objects.update(username="<script>alert(1)</script>")
        page(OLD)
        assert b"<script>alert" not in client.get(PAGE).content


class TestProcesses:
    def add(self, *secrets, **fields):
        Process.objects.create(
            **{"kind": "web", "host": "shop-2", "pid": 7, "verdict": "current"} | fields,
            fingerprints=[fingerprint(one) for one in secrets],
        )

    def test_each_is_shown_with_what_it_holds_and_sees(self, page):
        self.add(NEW, OLD, kind="worker", verdict="fallback")
        said = section(page(OLD), "processes")
        assert "Worker 7 on shop-2" in said
        assert f"{fingerprint(NEW)} , {fingerprint(OLD)} Fallback" in said
        assert "Lacks" not in said

    def test_one_that_lacks_the_current_secret_is_marked(self, page):
        store(1)
        self.add(OLD)
        assert "Lacks the current secret" not in page(OLD)
        self.add(OTHER, pid=8)
        said = section(page(OLD), "processes")
        assert f"{fingerprint(OTHER)} Lacks the current secret" in said
        assert said.count("Lacks") == 1

    def test_one_that_fell_silent_is_not_shown(self, page):
        self.add(OLD, seen_at=timezone.now() - timedelta(minutes=2))
        assert "None was seen" in section(page(OLD), "processes")


class TestBanner:
    @pytest.fixture
    def log_in(self, client, account):
        """Logs in a user with these rights, who belongs to an account."""

        def log_in(**rights):
            user = User.objects.create_user("nina", **rights)
            Membership.objects.create(user=user, account=account)
            client.force_login(user)
            return client

        return log_in

    @pytest.fixture(autouse=True)
    def not_well(self, nothing_seen_yet, monkeypatch):
        found = Verdict(State.WRONG, "It is <wrong>.", "Do this:\n  that & more")
        monkeypatch.setattr(verdict, "latest", found)

    def test_staff_see_it_with_the_advice_on_every_page(self, log_in, account):
        client = log_in(is_staff=True)
        for path in ("/", "/accounts/", account.get_absolute_url(), "/nothing"):
            html = client.get(path).content.decode()
            assert '<aside class="verdict critical"' in html
            assert "It is &lt;wrong&gt;." in html
            assert "that &amp; more" in html
            assert PAGE not in html

    def test_superusers_see_it_in_the_admin_too_with_the_way_to_the_page(self, log_in):
        client = log_in(is_staff=True, is_superuser=True)
        for path in (
            "/",
            "/admin/",
            "/admin/crypto/",
            "/admin/accounts/account/",
            "/admin/accounts/user/add/",
            "/admin/crypto/securityevent/",
        ):
            html = client.get(path).content.decode()
            assert html.count('<aside class="verdict critical"') == 1, path
            assert f'href="{PAGE}">All about' in html

    def test_the_page_about_the_secret_says_it_once(self, log_in):
        client = log_in(is_staff=True, is_superuser=True)
        assert "<aside" not in client.get(PAGE).content.decode()

    def test_others_see_nothing_of_it(self, log_in, client):
        assert "Warning about the secret" not in client.get("/login").content.decode()
        client = log_in()
        for path in ("/", "/accounts/", "/nothing"):
            assert "Warning about the secret" not in client.get(path).content.decode()

    def test_a_warning_is_less_than_an_error(self, log_in, monkeypatch):
        monkeypatch.setattr(verdict, "latest", Verdict(State.FALLBACK, "In use.", "Move them."))
        html = log_in(is_staff=True).get("/").content.decode()
        assert '<aside class="verdict warning"' in html

    def test_it_is_gone_when_all_is_well(self, log_in, monkeypatch):
        monkeypatch.setattr(verdict, "latest", Verdict(State.CURRENT, "Fine."))
        client = log_in(is_staff=True, is_superuser=True)
        for path in ("/", "/admin/"):
            assert "Warning about the secret" not in client.get(path).content.decode()

    def test_it_is_not_read_out_on_each_page_or_poll(self, log_in):
        client = log_in(is_staff=True)
        banner = client.get("/").content.decode().partition("<aside")[2].partition("</aside>")[0]
        assert "alert" not in banner
        assert "aria-live" not in banner
        poll = client.get("/updates", {"after": -1})
        assert poll.status_code == 200
        assert b"Warning about the secret" not in poll.content
