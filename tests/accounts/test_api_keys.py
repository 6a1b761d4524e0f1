"""API keys: what they are made of, what they open, and when they stop."""

import json
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts import api_keys
from accounts.models import Account, ApiKey, Membership, Role, Scope
from crypto.commands import Exit
from crypto.models import SecurityEvent
from instamsg.redaction import redact

pytestmark = pytest.mark.django_db
ACCOUNTS = "/api/v1/accounts"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def other_account(user):
    account = Account.objects.create(instagram_account_id="178414", username="second.shop")
    Membership.objects.create(user=user, account=account, role=Role.OWNER)
    return account


def test_a_key_has_a_prefix_256_random_bits_and_a_checksum(user):
    _, secret = api_keys.make(user, "CRM")
    assert re.fullmatch(r"imsg_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", secret)
    assert 62**43 > 2**256
    assert secret != api_keys.make(user, "CRM")[1]


def test_only_a_digest_of_it_is_stored(user):
    key, secret = api_keys.make(user, "CRM")
    [row] = ApiKey.objects.filter(pk=key.pk).values()
    assert secret not in str(row)
    assert secret.startswith(key.beginning)
    assert len(key.beginning) == len("imsg_") + 4


def test_no_log_shows_one(user):
    _, secret = api_keys.make(user, "CRM")
    assert secret not in redact(f"GET /api/v1/accounts with {secret} and Bearer {secret}")


class TestRefusals:
    def refused(self, client, key):
        response = client.get(ACCOUNTS, headers=bearer(key))
        assert response.status_code == 401
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
        return response.json()["reason"]

    def test_a_mistyped_key_is_told_from_an_unknown_one(self, client, user):
        _, secret = api_keys.make(user, "CRM")
        swapped = secret[:10] + ("a" if secret[10] != "a" else "b") + secret[11:]
        assert self.refused(client, swapped) == "mistyped"
        assert self.refused(client, secret[:-1]) == "mistyped"
        assert self.refused(client, "imsg_") == "mistyped"
        ApiKey.objects.all().delete()
        assert self.refused(client, secret) == "unknown"

    def test_a_mistyped_key_costs_no_query(self, client, db, django_assert_num_queries):
        with django_assert_num_queries(0):
            self.refused(client, "imsg_" + "a" * 49)

    def test_an_expired_key_says_so(self, client, user):
        _, secret = api_keys.make(user, "CRM", lifetime=timedelta(seconds=-1))
        assert self.refused(client, secret) == "expired"

    def test_a_revoked_key_says_so(self, client, user):
        key, secret = api_keys.make(user, "CRM")
        assert client.get(ACCOUNTS, headers=bearer(secret)).status_code == 200
        assert api_keys.revoke(key)
        assert self.refused(client, secret) == "revoked"

    def test_so_does_the_key_of_somebody_who_was_deactivated(self, client, user):
        _, secret = api_keys.make(user, "CRM")
        user.is_active = False
        user.save()
        assert self.refused(client, secret) == "deactivated"

    def test_another_scheme_is_refused(self, client, user):
        response = client.get(ACCOUNTS, headers={"Authorization": "Basic bWFyYTpjYXQ="})
        assert (response.status_code, response.json()["reason"]) == (401, "scheme")


class TestReach:
    def seen(self, client, secret):
        response = client.get(ACCOUNTS, headers=bearer(secret))
        return {account["account_id"] for account in response.json()["accounts"]}

    def test_a_key_reaches_all_accounts_or_the_chosen_ones(
        self, client, user, account, other_account
    ):
        _, everything = api_keys.make(user, "CRM")
        _, one = api_keys.make(user, "CRM", accounts=[other_account])
        assert self.seen(client, everything) == {account.pk, other_account.pk}
        assert self.seen(client, one) == {other_account.pk}
        assert client.get(f"{ACCOUNTS}/{account.pk}", headers=bearer(one)).status_code == 404

    def test_when_its_accounts_are_gone_it_reaches_none(self, client, user, account, other_account):
        _, secret = api_keys.make(user, "CRM", accounts=[other_account])
        other_account.delete()
        assert self.seen(client, secret) == set()

    def test_who_leaves_an_account_loses_it_through_the_key_at_once(self, client, user, account):
        _, secret = api_keys.make(user, "CRM", accounts=[account])
        assert self.seen(client, secret) == {account.pk}
        Membership.objects.filter(user=user).delete()
        assert self.seen(client, secret) == set()

    def test_the_key_of_another_opens_nothing_here(self, client, stranger, account):
        _, secret = api_keys.make(stranger, "CRM", scopes=Scope, accounts=[account])
        assert self.seen(client, secret) == set()

    def test_what_the_key_may_not_do_is_said(self, client, user, account):
        _, secret = api_keys.make(user, "CRM", scopes=[Scope.READ])
        response = client.delete(f"{ACCOUNTS}/{account.pk}", headers=bearer(secret))
        assert (response.status_code, response.json()["scope"]) == (403, "manage")
        assert account.memberships.exists()


def test_last_use_is_written_once_a_minute(client, user, django_assert_num_queries):
    key, secret = api_keys.make(user, "CRM")
    client.get(ACCOUNTS, headers=bearer(secret))
    key.refresh_from_db()
    assert timezone.now() - key.last_used_at < timedelta(seconds=5)
    with django_assert_num_queries(2):  # The key with its user, and the accounts.
        client.get(ACCOUNTS, headers=bearer(secret))
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    client.get(ACCOUNTS, headers=bearer(secret))
    key.refresh_from_db()
    assert timezone.now() - key.last_used_at < timedelta(seconds=5)


def test_making_and_revoking_are_recorded(user, account):
    key, _ = api_keys.make(user, "CRM", accounts=[account])
    api_keys.revoke(key)
    assert not api_keys.revoke(key)
    revoked, made = SecurityEvent.objects.filter(kind__startswith="api_key")
    assert (made.kind, revoked.kind) == ("api_key_made", "api_key_revoked")
    assert made.subject == revoked.subject == f"API key {key.pk} of mara: CRM"
    assert made.details["scopes"] == ["read", "send"]
    assert made.details["accounts"] == [account.pk]


class TestPage:
    FORM = {"name": "CRM", "scopes": ["read"], "reach": "all", "days": "30"}

    @pytest.fixture
    def page(self, client, user):
        client.force_login(user)
        return client

    def test_a_key_is_made_and_shown_once(self, page, account):
        shown = page.post("/accounts/keys", self.FORM)
        [secret] = re.findall(r"imsg_\w{49}", shown.text)
        assert page.get(ACCOUNTS, headers=bearer(secret)).status_code == 200
        key = ApiKey.objects.get()
        assert (key.scopes, key.is_limited) == (["read"], False)
        listed = page.get("/accounts/keys").text
        assert key.beginning in listed
        assert secret not in listed

    def test_it_can_be_limited_to_chosen_accounts(self, page, account, other_account):
        form = self.FORM | {"reach": "chosen", "accounts": [account.pk]}
        assert page.post("/accounts/keys", form).status_code == 200
        assert [a.pk for a in ApiKey.objects.get().accounts.all()] == [account.pk]

    @pytest.mark.parametrize(
        "wrong",
        [{"name": ""}, {"scopes": []}, {"scopes": ["all"]}, {"days": "9999"}, {"reach": "chosen"}],
    )
    def test_a_form_that_says_too_little_makes_no_key(self, page, account, wrong):
        response = page.post("/accounts/keys", self.FORM | wrong)
        assert response.status_code == 422
        assert "No key was made" in response.text
        assert not ApiKey.objects.exists()

    def test_a_form_that_is_sent_again_makes_no_second_key(self, page):
        form = self.FORM | {"submission": str(page.get("/accounts/keys").context["submission"])}
        assert "imsg_" in page.post("/accounts/keys", form).text
        again = page.post("/accounts/keys", form)
        assert again.status_code == 422
        assert "This form has made its key, “CRM”" in again.text
        assert ApiKey.objects.count() == 1
        form["submission"] = re.search(r'name="submission" value="(.+?)"', again.text)[1]
        assert page.post("/accounts/keys", form).status_code == 200
        assert ApiKey.objects.count() == 2

    def test_a_refused_form_names_its_fields_and_stands_above_the_keys(self, page, user):
        api_keys.make(user, "Working CRM")
        refused = page.post("/accounts/keys", {"name": ""}).text
        assert "This field is required" not in refused
        for said in (
            "Look at: <strong>What uses it</strong>. <strong>What it may do</strong>.",
            "Write what will use the key.",
            "Tick at least one thing it may do.",
            "Choose all of your accounts, or those you tick.",
            "Choose how long it works.",
        ):
            assert refused.index(said) < refused.index("Working CRM")

    def test_revoked_and_expired_keys_are_folded_away_below(self, page, user):
        api_keys.make(user, "Working CRM")
        api_keys.make(user, "Expired CRM", lifetime=timedelta(seconds=-1))
        api_keys.revoke(api_keys.make(user, "Old CRM")[0])
        above, below = page.get("/accounts/keys").text.split("Revoked and expired keys</summary>")
        assert "Working CRM" in above
        assert "Expired CRM" not in above
        assert "Old CRM" not in above
        assert "Expired CRM" in below
        assert "Old CRM" in below

    def test_accounts_ticked_beside_all_of_them_make_no_key(self, page, account, other_account):
        response = page.post("/accounts/keys", self.FORM | {"accounts": [account.pk]})
        assert response.status_code == 422
        assert list(response.context["form"].errors) == ["reach"]
        assert "or untick them" in response.text
        assert not ApiKey.objects.exists()

    def test_who_has_too_many_is_told(self, page, user, monkeypatch):
        monkeypatch.setattr(api_keys, "MOST", 1)
        api_keys.make(user, "CRM")
        response = page.post("/accounts/keys", self.FORM)
        assert response.status_code == 422
        assert "mara has 1 API keys that work" in response.text
        assert ApiKey.objects.count() == 1

    def test_the_account_of_another_cannot_be_chosen(self, page, account, other_account):
        other_account.memberships.all().delete()
        form = self.FORM | {"reach": "chosen", "accounts": [other_account.pk]}
        assert page.post("/accounts/keys", form).status_code == 422
        assert not ApiKey.objects.exists()

    def test_it_is_revoked_there(self, page, user):
        key, secret = api_keys.make(user, "CRM")
        page.post(f"/accounts/keys/{key.pk}/revoke")
        assert page.get(ACCOUNTS, headers=bearer(secret)).status_code == 401
        assert "Revoked" in page.get("/accounts/keys").text

    def test_the_key_of_another_is_not_there(self, page, stranger):
        key, _ = api_keys.make(stranger, "Otto's CRM")
        assert page.post(f"/accounts/keys/{key.pk}/revoke").status_code == 404
        assert "Otto" not in page.get("/accounts/keys").text
        key.refresh_from_db()
        assert key.revoked_at is None


class TestAdmin:
    def test_a_superuser_sees_and_revokes_keys(self, admin_client, user):
        key, _ = api_keys.make(user, "CRM")
        listed = admin_client.get("/admin/accounts/apikey/")
        assert "CRM" in listed.text
        shown = admin_client.get(f"/admin/accounts/apikey/{key.pk}/change/")
        assert key.digest not in shown.text
        chosen = {"action": "revoke", "_selected_action": [key.pk]}
        admin_client.post("/admin/accounts/apikey/", chosen)
        key.refresh_from_db()
        assert key.revoked_at


class TestCommand:
    def run(self, capsys, *args):
        call_command("create_api_key", *args)
        return capsys.readouterr()

    def test_who_has_too_many_gets_none(self, capsys, user, monkeypatch):
        monkeypatch.setattr(api_keys, "MOST", 0)
        with pytest.raises(CommandError, match="Revoke those"):
            self.run(capsys, "mara")
        assert not ApiKey.objects.exists()

    def test_it_prints_the_key_and_nothing_else_to_stdout(self, capsys, user):
        out, err = self.run(capsys, "mara", "--name", "CRM")
        assert re.fullmatch(r"imsg_\w{49}\n", out)
        assert "read, send" in err
        assert out.strip() not in err
        key = api_keys.find(out.strip())
        assert (key.user, key.name, key.scopes) == (user, "CRM", ["read", "send"])

    def test_it_tells_programs_in_json(self, capsys, user, account):
        args = [
            "mara",
            "--json",
            "--scope",
            "read",
            "manage",
            "--account",
            account.pk,
            "--days",
            "7",
        ]
        told = json.loads(self.run(capsys, *args).out)
        key = api_keys.find(told["api_key"])
        assert told["scopes"] == key.scopes == ["read", "manage"]
        assert told["account_ids"] == [account.pk]
        assert key.expires_at - key.created_at < timedelta(days=7, seconds=5)

    @pytest.mark.parametrize(
        "args",
        [["nobody"], ["mara", "--account", "acc_unknown"], ["mara", "--days", "0"],
         ["mara", "--days", "366"]],
    )  # fmt: skip
    def test_what_it_cannot_do_is_wrong_usage_and_makes_no_key(self, user, args):
        with pytest.raises(CommandError) as stopped:
            call_command("create_api_key", *args)
        assert stopped.value.returncode == Exit.USAGE
        assert not ApiKey.objects.exists()
