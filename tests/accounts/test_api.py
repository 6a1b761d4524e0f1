"""The API's manners and its accounts: who is let in, what a refusal looks like."""

import json
import re
import time
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.db.models import F
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from accounts import api, api_keys, rate_limits
from accounts.models import Account, ApiKey, Membership, Role, Scope
from crypto.models import SecurityEvent

pytestmark = pytest.mark.django_db

V1 = "/api/v1"
LOGIN = {"username": "mara", "password": "correct horse 41"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def key(user):
    return api_keys.make(user, "CRM", scopes=Scope)[1]


@pytest.fixture
def ask(client, key):
    """Calls the API with a key that may do everything."""

    def ask(method, path, body=None, **options):
        options = {"headers": bearer(key)} | options
        if body is not None:
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(client, method)(V1 + path, **options)

    return ask


def assert_problem(response, status):
    assert response.status_code == status
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"].startswith("urn:instamsg:problem:")
    assert problem["status"] == status
    assert {"title", "detail", "instance"} <= problem.keys()
    assert problem["detail"]
    return problem


class TestWhoAsks:
    def test_a_key_opens_what_its_user_sees(self, ask, account):
        response = ask("get", "/accounts")
        assert response.status_code == 200
        [shown] = response.json()["accounts"]
        assert shown == {
            "account_id": account.pk,
            "instagram_account_id": account.instagram_account_id,
            "username": "luna.ceramics",
            "profile_picture_url": "",
            "status": "connected",
            "token_expires_at": shown["token_expires_at"],
            "linked_at": shown["linked_at"],
        }
        assert ask("get", "/accounts/me").json() == response.json()

    def test_without_credentials_the_answer_says_what_to_send(self, client):
        response = client.get(f"{V1}/accounts")
        assert assert_problem(response, 401)["reason"] == "missing"
        assert response.headers["WWW-Authenticate"].startswith("Bearer")

    def test_the_web_login_opens_it_as_well(self, client, user, account):
        client.force_login(user)
        assert client.get(f"{V1}/accounts").json()["accounts"]

    def test_what_changes_something_needs_the_csrf_token_of_the_page(self, user, account):
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(user)
        path = f"{V1}/accounts/{account.pk}"
        assert_problem(browser.delete(path), 403)
        assert account.memberships.exists()
        browser.get("/accounts/")
        token = browser.cookies["csrftoken"].value
        assert browser.delete(path, headers={"X-CSRFToken": token}).status_code == 200

    def test_a_wrong_header_beside_a_good_cookie_is_refused(self, client, user, account):
        client.force_login(user)
        for header in ("Bearer imsg_wrong", "Bearer wrong", "Bearer ", "Basic bWFyYQ==", "x", ""):
            response = client.get(f"{V1}/accounts", headers={"Authorization": header})
            assert assert_problem(response, 401)["reason"]

    def test_a_key_needs_no_csrf_token(self, account, key):
        browser = Client(enforce_csrf_checks=True)
        response = browser.delete(f"{V1}/accounts/{account.pk}", headers=bearer(key))
        assert response.status_code == 200

    def test_a_program_on_the_same_machine_needs_no_https(self, settings, account, key):
        settings.SECURE_SSL_REDIRECT = True
        response = Client().get(f"{V1}/accounts", headers={**bearer(key), "Host": "localhost:8000"})
        assert response.status_code == 200

    def test_a_key_leaves_no_cookie(self, ask, account):
        assert not ask("get", "/accounts").cookies


class TestSession:
    def log_in(self, client, path="/auth/session", **changes):
        body = json.dumps(LOGIN | changes)
        return client.post(V1 + path, body, content_type="application/json")

    def test_a_token_does_what_its_user_may(self, client, user, account):
        answer = self.log_in(client).json()
        assert answer["token"].startswith("eyJ")
        assert answer["expires_in"] == 24 * 3600
        left = Session.objects.get().expire_date - timezone.now()
        assert timedelta(hours=23) < left <= timedelta(hours=24)
        headers = bearer(answer["token"])
        assert client.get(f"{V1}/accounts", headers=headers).json()["accounts"]
        assert client.get(f"{V1}/api-keys", headers=headers).status_code == 200

    def test_it_sets_no_cookie(self, client, user):
        response = self.log_in(client)
        assert response.status_code == 200
        assert not response.cookies

    def test_it_ends_with_its_session_its_password_or_its_user(self, client, user):
        def opens(token):
            return client.get(f"{V1}/accounts", headers=bearer(token)).status_code == 200

        first, second, third = (self.log_in(client).json()["token"] for _ in range(3))
        assert opens(first)
        Session.objects.first().delete()
        assert [opens(token) for token in (first, second, third)].count(True) == 2
        user.set_password("another horse 42")
        user.save()
        assert not any(opens(token) for token in (first, second, third))
        token = self.log_in(client, password="another horse 42").json()["token"]
        assert opens(token)
        user.is_active = False
        user.save()
        assert not opens(token)

    def test_by_password_a_key_is_made_that_reads_and_sends(self, client, user, account):
        answer = self.log_in(client, "/auth/token").json()
        key = api_keys.find(answer["api_key"])
        assert key.scopes == ["read", "send"]
        assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)
        headers = bearer(answer["api_key"])
        assert client.get(f"{V1}/accounts", headers=headers).status_code == 200
        assert client.get(f"{V1}/api-keys", headers=headers).status_code == 403

    @pytest.mark.parametrize("path", ["/auth/session", "/auth/token"])
    def test_guessing_is_slowed_down_as_on_the_login_page(self, client, user, path):
        for _ in range(4):
            problem = assert_problem(self.log_in(client, path, password="wrong"), 401)
            assert problem["reason"] == "password"
        refused = self.log_in(client, path, password="wrong")
        assert_problem(refused, 429)
        assert int(refused.headers["Retry-After"]) == 15 * 60
        assert_problem(self.log_in(client, path), 429)
        page = client.post("/login", LOGIN)
        assert page.status_code == 429

    def test_logins_are_recorded(self, client, user):
        self.log_in(client, password="wrong")
        self.log_in(client)
        logged_in, failed = SecurityEvent.objects.all()
        assert (failed.kind, failed.subject) == ("login_failed", "mara")
        assert (logged_in.kind, logged_in.actor) == ("logged_in", "mara")

    def test_a_refusal_never_echoes_what_was_sent(self, client, db):
        body = {"username": "m" * 200, "password": ["my-secret-password"]}
        response = self.log_in(client, **body)
        problem = assert_problem(response, 422)
        assert {error["field"] for error in problem["errors"]} == {"username", "password"}
        assert "secret" not in response.text
        assert "mmm" not in response.text


class TestShape:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("get", "/nothing", 404),
            ("get", "/", 404),
            ("get", "/accounts/acc_unknown", 404),
            ("get", "/accounts/%00", 400),
            ("get", "/api-keys?cursor=%00", 400),
            ("get", "/api-keys?cursor=garbage", 422),
            ("get", "/api-keys?limit=0", 422),
            ("get", "/api-keys/x", 422),
            ("get", "/api-keys/" + "9" * 40, 404),
            ("put", "/accounts", 405),
        ],
    )
    def test_every_refusal_has_one(self, ask, method, path, status):
        assert_problem(ask(method, path), status)

    def test_outside_of_the_versions_as_well(self, client, db):
        assert_problem(client.get("/api/"), 404)
        assert_problem(client.get("/api/v2/accounts"), 404)

    def test_a_405_lists_what_is_allowed(self, ask):
        assert ask("put", "/accounts").headers["Allow"] == "GET"

    @pytest.mark.parametrize(
        ("body", "content_type", "status"),
        [
            ("{", "application/json", 400),
            ('{"name": "\\u0000"}', "application/json", 400),
            ('{"name": "\\ud800"}', "application/json", 400),
            (b'{"name": "\xff"}', "application/json", 400),
            ("[" * 100_000, "application/json", 400),
            ("{}", "text/plain", 415),
            ("name=CRM", "application/x-www-form-urlencoded", 415),
            ("[]", "application/json", 422),
            ("", "application/json", 422),
            ('{"name": "CRM", "expires_in_days": 1e400}', "application/json", 422),
        ],
    )
    def test_a_body_that_cannot_be_used(self, ask, body, content_type, status):
        response = ask("post", "/api-keys", data=body, content_type=content_type)
        assert_problem(response, status)
        assert ApiKey.objects.count() == 1

    def test_a_body_that_does_not_tell_its_length(self, ask):
        chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
        problem = assert_problem(ask("post", "/api-keys", {"name": "CRM"}, **chunked), 411)
        assert "Content-Length" in problem["detail"]

    def test_a_body_that_is_too_large(self, ask, settings):
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
        assert_problem(ask("post", "/api-keys", {"name": "x" * 100}), 413)

    def test_json_above_1_mb(self, ask):
        assert_problem(ask("post", "/api-keys", {"name": "x" * 1_000_000}), 422)
        assert_problem(ask("post", "/api-keys", {"name": "x" * 1_100_000}), 413)

    @pytest.mark.parametrize("path", ["/auth/session", "/auth/token"])
    def test_json_above_16_kb_of_who_is_not_known_yet(self, ask, user, path):
        assert_problem(ask("post", path, LOGIN | {"more": "x" * 15_000}, headers={}), 422)
        assert_problem(ask("post", path, LOGIN | {"more": "x" * 17_000}, headers={}), 413)

    def test_what_says_that_it_is_too_large_is_not_read(self, ask, db, monkeypatch):
        monkeypatch.setattr(HttpRequest, "body", property(lambda self: pytest.fail("read")))
        assert_problem(ask("post", "/auth/token", {"more": "x" * 17_000}, headers={}), 413)

    def test_json_that_nests_costs_no_more_than_flat_json(self, ask):
        deep = json.loads("[" * 500 + '"",' * 4_000 + '""' + "]" * 500)
        wide, seconds = [[deep]] * 40, time.thread_time()
        assert_problem(ask("post", "/api-keys", wide), 422)
        assert time.thread_time() - seconds < 1

    @pytest.mark.parametrize(
        ("failure", "status"),
        [
            (RuntimeError("secret detail"), 500),
            (OperationalError("secret detail"), 503),
            (RequestDataTooBig("secret detail"), 413),
        ],
    )
    def test_what_fails_here_is_told_without_details(
        self, ask, client, monkeypatch, failure, status
    ):
        def fail(*args):
            raise failure

        monkeypatch.setattr(api, "_detailed", fail)
        client.raise_request_exception = False
        response = ask("get", "/accounts/acc_1")
        assert_problem(response, status)
        assert "secret detail" not in response.text

    def test_a_host_that_is_not_ours(self, ask):
        assert_problem(ask("get", "/accounts", SERVER_NAME="elsewhere.example"), 400)

    def test_pages_keep_their_own(self, client, db):
        assert "html" in client.get("/nothing").headers["Content-Type"]


class TestPollers:
    def test_who_has_the_answer_already_is_told_so(self, ask, key, account):
        etag = ask("get", "/accounts").headers["ETag"]
        headers = bearer(key) | {"If-None-Match": etag}
        again = ask("get", "/accounts", headers=headers)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == etag
        assert "RateLimit" in again.headers
        account.username = "luna.pottery"
        account.save()
        changed = ask("get", "/accounts", headers=headers)
        assert changed.status_code == 200
        assert changed.headers["ETag"] != etag

    def test_other_conditions_mean_nothing_to_who_only_reads(self, ask, key):
        headers = bearer(key) | {"If-Match": '"another"'}
        assert ask("get", "/accounts", headers=headers).status_code == 200

    def test_no_cache_on_the_way_keeps_it(self, ask):
        assert ask("get", "/accounts").headers["Cache-Control"] == "private, no-cache"


class TestLimits:
    @pytest.fixture(autouse=True)
    def two_a_minute(self, settings, monkeypatch):
        settings.API_RATE_LIMIT = 2
        monkeypatch.setattr(rate_limits.time, "time", lambda: 1_800_000_017)
        rate_limits.forget()
        yield
        rate_limits.forget()

    def test_each_answer_tells_how_many_are_left(self, ask):
        headers = ask("get", "/accounts").headers
        assert headers["RateLimit-Policy"] == '"requests";q=2;w=60'
        assert headers["RateLimit"] == '"requests";r=1;t=43'

    def test_one_too_many_is_told_when_to_come_back(self, ask, user):
        for _ in range(2):
            assert ask("get", "/accounts").status_code == 200
        refused = ask("get", "/accounts")
        assert_problem(refused, 429)
        assert refused.headers["Retry-After"] == "43"
        assert refused.headers["RateLimit"] == '"requests";r=0;t=43'

    def test_another_key_of_the_same_user_is_no_way_around_it(self, ask, user, client, stranger):
        for _ in range(3):
            ask("get", "/accounts")
        _, another = api_keys.make(user, "Another")
        assert_problem(client.get(f"{V1}/accounts", headers=bearer(another)), 429)
        _, others = api_keys.make(stranger, "CRM")
        assert client.get(f"{V1}/accounts", headers=bearer(others)).status_code == 200

    def test_the_next_minute_is_a_new_one(self, ask, monkeypatch):
        for _ in range(3):
            ask("get", "/accounts")
        monkeypatch.setattr(rate_limits.time, "time", lambda: 1_800_000_060)
        assert ask("get", "/accounts").status_code == 200

    def test_a_storage_that_cannot_count_refuses_nobody(self, ask, monkeypatch, caplog):
        tried = []

        def broken(key, amount):
            tried.append(key)
            raise OSError("disk full")

        monkeypatch.setattr(rate_limits.HUEY.storage, "incr", broken)
        monkeypatch.setattr(rate_limits, "_resting_until", 0.0)
        assert [ask("get", "/accounts").status_code for _ in range(4)] == [200] * 4
        assert "not counted" in caplog.text
        assert len(tried) == 1

    def test_the_storage_is_asked_once_for_a_hundredth_of_the_limit(self, ask, settings):
        settings.API_RATE_LIMIT = 300
        left = [ask("get", "/accounts").headers["RateLimit"] for _ in range(4)]
        assert left == [f'"requests";r={300 - used};t=43' for used in (1, 2, 3, 4)]
        counted = rate_limits.HUEY.storage.sql("select value from counter", results=True)
        assert counted == [(6,)]

    def test_what_another_process_has_taken_counts(self, ask, settings, user):
        settings.API_RATE_LIMIT = 300
        rate_limits.HUEY.storage.incr(f"api:user:{user.pk}:{1_800_000_017 // 60}", 298)
        assert [ask("get", "/accounts").status_code for _ in range(3)] == [200, 200, 429]

    def test_old_counters_do_not_pile_up(self, ask, monkeypatch):
        for minute in range(5):
            now = 1_800_000_017 + 60 * minute
            monkeypatch.setattr(rate_limits.time, "time", lambda now=now: now)
            ask("get", "/accounts")
        counters = rate_limits.HUEY.storage.sql("select key from counter", results=True)
        assert len(counters) == 1


class TestAccounts:
    def test_one_account_tells_more(self, ask, account):
        account.problem, account.problem_reason = "held", "Instagram wants to see a person."
        account.save()
        shown = ask("get", f"/accounts/{account.pk}").json()
        assert (shown["role"], shown["status"]) == ("owner", "held")
        assert shown["status_reason"] == "Instagram wants to see a person."

    def test_patch_disconnects_for_owners(self, ask, connected):
        path = f"/accounts/{connected.pk}"
        for _ in range(2):
            response = ask("patch", path, {"status": "disconnected"})
            assert (response.status_code, response.json()["status"]) == (200, "disconnected")
        connected.refresh_from_db()
        assert connected.access_token is None
        assert_problem(ask("patch", path, {"status": "connected"}), 422)
        assert_problem(ask("patch", path, {}), 422)

    def test_a_member_may_not_disconnect(self, ask, account):
        account.memberships.update(role=Role.MEMBER)
        problem = assert_problem(
            ask("patch", f"/accounts/{account.pk}", {"status": "disconnected"}), 403
        )
        assert "owner" in problem["detail"]
        account.refresh_from_db()
        assert account.access_token is not None

    def test_delete_unlinks_the_caller_alone(self, ask, account, stranger):
        Membership.objects.create(user=stranger, account=account, role=Role.OWNER)
        answer = ask("delete", f"/accounts/{account.pk}").json()
        assert answer["unlinked_account_id"] == account.pk
        assert [m.user for m in account.memberships.all()] == [stranger]
        account.refresh_from_db()
        assert account.access_token is not None
        assert_problem(ask("delete", f"/accounts/{account.pk}"), 404)

    def test_the_only_owner_of_others_stays(self, ask, account, stranger):
        Membership.objects.create(user=stranger, account=account, role=Role.MEMBER)
        problem = assert_problem(ask("delete", f"/accounts/{account.pk}"), 409)
        assert problem["type"].endswith(":only-owner")
        assert account.memberships.count() == 2


class TestKeys:
    def test_one_is_made_listed_and_revoked(self, ask, account, client):
        made = ask("post", "/api-keys", {"name": "Bot", "account_ids": [account.pk]})
        assert made.status_code == 201
        answer = made.json()
        assert (answer["scopes"], answer["account_ids"]) == (["read", "send"], [account.pk])
        path = f"/api-keys/{answer['id']}"
        assert made.headers["Location"] == V1 + path
        headers = bearer(answer["api_key"])
        assert client.get(f"{V1}/accounts", headers=headers).status_code == 200
        listed = ask("get", "/api-keys")
        assert [key["name"] for key in listed.json()["api_keys"]] == ["Bot", "CRM"]
        assert answer["api_key"] not in listed.text
        assert ask("delete", path).status_code == 204
        assert ask("delete", path).status_code == 204
        assert_problem(client.get(f"{V1}/accounts", headers=headers), 401)
        assert ask("get", path).json()["revoked_at"]

    def test_they_come_in_pages(self, ask, user):
        for number in range(4):
            api_keys.make(user, f"{number}")
        first = ask("get", "/api-keys?limit=3").json()
        second = ask("get", f"/api-keys?limit=3&cursor={first['next']}").json()
        names = [key["name"] for page in (first, second) for key in page["api_keys"]]
        assert names == ["3", "2", "1", "0", "CRM"]
        assert second["next"] is None

    @pytest.mark.parametrize(
        "wrong",
        [{"name": ""}, {"name": "  "}, {"scopes": []}, {"scopes": ["admin"]},
         {"expires_in_days": 366}, {"expires_in_days": 0}, {"account_ids": []},
         {"scope": ["read"]}],
    )  # fmt: skip
    def test_what_makes_no_sense_makes_no_key(self, ask, wrong):
        assert_problem(ask("post", "/api-keys", {"name": "Bot"} | wrong), 422)
        assert ApiKey.objects.count() == 1

    def test_a_key_makes_none_that_may_do_more(self, client, user):
        _, secret = api_keys.make(user, "CRM", scopes=[Scope.READ, Scope.MANAGE])
        body = json.dumps({"name": "Bot", "scopes": ["send"]})
        response = client.post(
            f"{V1}/api-keys", body, content_type="application/json", headers=bearer(secret)
        )
        assert assert_problem(response, 403)["scope"] == "send"

    def test_what_a_key_makes_ends_when_that_expires(self, ask, key):
        maker = api_keys.find(key)
        made = ask("post", "/api-keys", {"name": "Bot", "expires_in_days": 365}).json()
        assert ApiKey.objects.get(pk=made["id"]).expires_at == maker.expires_at
        soon = ask("post", "/api-keys", {"name": "Bot", "expires_in_days": 2}).json()
        assert ApiKey.objects.get(pk=soon["id"]).expires_at < maker.expires_at

    def test_and_when_that_is_revoked_with_all_that_it_made_itself(self, ask, client, key, user):
        body = {"name": "Bot", "scopes": ["manage", "read"]}
        first = ask("post", "/api-keys", body).json()["api_key"]
        second = ask("post", "/api-keys", body, headers=bearer(first)).json()["api_key"]
        _, apart = api_keys.make(user, "Apart")
        api_keys.revoke(api_keys.find(key))
        for ended in (first, second):
            answer = client.get(f"{V1}/accounts", headers=bearer(ended))
            assert assert_problem(answer, 401)["reason"] == "revoked"
        assert client.get(f"{V1}/accounts", headers=bearer(apart)).status_code == 200
        assert SecurityEvent.objects.filter(kind="api_key_revoked").count() == 3

    def test_a_key_that_was_revoked_meanwhile_makes_none(self, user, key):
        maker = api_keys.find(key)
        ApiKey.objects.update(revoked_at=timezone.now())
        with pytest.raises(api_keys.KeyRefused):
            api_keys.make(user, "Bot", made_by=maker)
        assert ApiKey.objects.count() == 1

    def test_so_many_that_work_and_no_more(self, ask, client, user, stranger, monkeypatch):
        monkeypatch.setattr(api_keys, "MOST", 2)
        api_keys.make(user, "Old", lifetime=timedelta(seconds=-1))
        made = ask("post", "/api-keys", {"name": "Bot"}).json()
        for path, body in (("/api-keys", {"name": "Bot"}), ("/auth/token", LOGIN)):
            problem = assert_problem(ask("post", path, body), 409)
            assert problem["type"].endswith(":too-many-keys")
            assert "Revoke" in problem["detail"]
        api_keys.make(stranger, "CRM")
        ask("delete", f"/api-keys/{made['id']}")
        assert ask("post", "/auth/token", LOGIN).status_code == 200

    def test_who_logs_in_at_each_start_goes_on_and_loses_no_key_in_use(
        self, client, user, key, monkeypatch
    ):
        monkeypatch.setattr(api_keys, "MOST", 4)
        login = json.dumps(LOGIN)
        kept = client.post(f"{V1}/auth/token", login, content_type="application/json").json()
        made = []
        for n in range(8):
            ApiKey.objects.filter(name="Made by password").update(
                created_at=F("created_at") - timedelta(hours=1),
                last_used_at=F("last_used_at") - timedelta(hours=1),
            )
            in_use = client.get(f"{V1}/accounts", headers=bearer(kept["api_key"]))
            assert in_use.status_code == 200, n
            answer = client.post(f"{V1}/auth/token", login, content_type="application/json")
            assert answer.status_code == 200, n
            made.append(answer.json()["api_key"])
        assert ApiKey.objects.filter(user=user).working().count() == 4
        opened = [
            client.get(f"{V1}/accounts", headers=bearer(one)).status_code
            for one in (key, kept["api_key"], *made)
        ]
        assert opened == [200, 200, *[401] * 6, 200, 200]
        ended = SecurityEvent.objects.filter(kind=SecurityEvent.Kind.API_KEY_REVOKED)
        assert ended.count() == 6

    def test_a_limited_key_makes_and_sees_none(self, client, user, account):
        _, secret = api_keys.make(user, "CRM", scopes=Scope, accounts=[account])
        response = client.post(
            f"{V1}/api-keys",
            json.dumps({"name": "Bot"}),
            content_type="application/json",
            headers=bearer(secret),
        )
        assert_problem(response, 403)
        listed = client.get(f"{V1}/api-keys", headers=bearer(secret)).json()
        assert listed["api_keys"] == []


class TestTenants:
    @pytest.fixture
    def foreign(self, stranger):
        """An account and a key of somebody else."""
        account = Account.objects.create(instagram_account_id="178414", username="other.shop")
        Membership.objects.create(user=stranger, account=account, role=Role.OWNER)
        return account, api_keys.make(stranger, "Otto's")[0]

    def test_what_belongs_to_another_is_not_there(self, ask, foreign):
        account, key = foreign
        for method, path, body in [
            ("get", f"/accounts/{account.pk}", None),
            ("patch", f"/accounts/{account.pk}", {"status": "disconnected"}),
            ("delete", f"/accounts/{account.pk}", None),
            ("post", "/api-keys", {"name": "Bot", "account_ids": [account.pk]}),
            ("get", f"/api-keys/{key.pk}", None),
            ("delete", f"/api-keys/{key.pk}", None),
        ]:
            assert_problem(ask(method, path, body), 404)
        assert ask("get", "/accounts").json() == {"accounts": []}
        assert len(ask("get", "/api-keys").json()["api_keys"]) == 1
        key.refresh_from_db()
        assert key.revoked_at is None
        assert account.memberships.exists()


class TestDocument:
    @pytest.fixture
    def document(self, client, db):
        return client.get(f"{V1}/openapi.json").json()

    def test_it_names_every_refusal(self, document):
        assert set(document["components"]["securitySchemes"]) == {"BearerAuth", "SessionCookie"}
        for methods in document["paths"].values():
            for operation in methods.values():
                assert {"400", "500", "503"} <= operation["responses"].keys()
                if "security" in operation:
                    assert {"401", "403", "429"} <= operation["responses"].keys()
                    assert operation["x-scope"] in Scope.values
                    assert f"`{operation['x-scope']}`" in operation["description"]

    def test_it_names_the_refusal_of_a_name_that_is_a_path_of_its_own(self, ask, document):
        found = set()
        for template, methods in document["paths"].items():
            names = re.compile(re.sub(r"\{\w+\}", "[^/{}]+", template))
            for path in filter(names.fullmatch, document["paths"].keys() - {template}):
                for method in methods.keys() - document["paths"][path].keys():
                    answer = ask(method, path.removeprefix(V1))
                    assert_problem(answer, 405)
                    assert "405" in methods[method]["responses"]
                    found.add((method, path))
        assert ("get", f"{V1}/messages/send") in found

    def test_only_what_proves_who_one_is_is_open_to_all(self, document):
        unproved = {
            path
            for path, methods in document["paths"].items()
            for operation in methods.values()
            if "security" not in operation
        }
        assert unproved == {f"{V1}/auth/session", f"{V1}/auth/token"}

    def test_its_page_loads_nothing_from_elsewhere(self, client, db):
        page = client.get(f"{V1}/docs")
        assert page.status_code == 200
        assert "://" not in page.text.replace("http://www.w3.org", "")
        assert "img-src 'self' data:" in page.headers["Content-Security-Policy"]
        other = client.get("/login").headers["Content-Security-Policy"]
        assert "data:" not in other

    def test_an_answer_that_is_no_page_may_load_nothing(self, ask):
        for path in ("/conversations", "/nothing"):
            policy = ask("get", path).headers["Content-Security-Policy"]
            assert policy == "default-src 'none'; frame-ancestors 'none'"
