"""Forwarding by the API: owners manage, members look, and no secret is shown a second time."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import api_keys
from accounts.models import Account, Membership, Role, Scope, User
from messaging import endpoints
from messaging.models import CrmEndpoint, Delivery, DeliveryAttempt, EventType
from tests.accounts.test_api import V1, assert_problem, bearer

from .forwards import endpoint_to, forward, say, tell_read

pytestmark = pytest.mark.django_db(transaction=True)

HOME = "/webhook-endpoints"


@pytest.fixture
def endpoint(account, receiver):
    return endpoint_to(account, receiver)


@pytest.fixture
def path(endpoint):
    return f"{HOME}/{endpoint.public_id}"


@pytest.fixture
def delivery(endpoint, conversation):
    """One that was delivered."""
    say(conversation, "Hello there")
    forward()
    return Delivery.objects.get()


def asker(client, user, scopes=Scope):
    """As `ask`, for another user or with fewer scopes."""
    _, key = api_keys.make(user, "Another", scopes=scopes)

    def ask(method, path, body=None):
        options = {"data": json.dumps(body), "content_type": "application/json"} if body else {}
        return getattr(client, method)(V1 + path, headers=bearer(key), **options)

    return ask


@pytest.fixture
def member(client, account):
    colleague = User.objects.create_user("nils", password="correct horse 43")
    Membership.objects.create(user=colleague, account=account, role=Role.MEMBER)
    return asker(client, colleague)


def acts(path, delivery, account):
    """All that changes something."""
    return [
        ("post", HOME, {"account_id": account.pk, "url": "https://crm.example/"}),
        ("patch", path, {"events": ["message.read"], "is_enabled": False}),
        ("post", f"{path}/secret", None),
        ("delete", f"{path}/previous-secret", None),
        ("post", f"{path}/test", None),
        ("post", f"{path}/replay", {"which": "failed"}),
        ("post", f"/deliveries/{delivery.public_id}/replay", None),
        ("delete", path, None),
    ]


def listed(answer):
    assert answer.status_code == 200
    return [one["delivery_id"] for one in answer.json()["deliveries"]]


class TestEndpoints:
    def test_one_is_added_and_posted_to(self, ask, account, receiver, conversation):
        events = ["message.received"]
        body = {"account_id": account.pk, "url": receiver.url, "events": events}
        answer = ask("post", HOME, body)
        assert answer.status_code == 201
        made, endpoint = answer.json(), CrmEndpoint.objects.get()
        assert [made.pop("secret")] == endpoint.secrets()
        assert answer.headers["Location"] == f"{V1}{HOME}/{endpoint.public_id}"
        assert (made["url"], made["host"], made["events"]) == (receiver.url, "127.0.0.1", events)
        assert (made["state"], made["account_id"]) == ("on", account.pk)
        assert ask("get", f"{HOME}/{made['endpoint_id']}").json() == made
        say(conversation, "Hello")
        forward()
        assert receiver.texts == ["Hello"]

    def test_its_secret_is_never_shown_again(self, ask, endpoint, path, delivery):
        ask("post", f"{path}/secret")  # Both sign now.
        current, before = CrmEndpoint.objects.get().secrets()
        for answer in (
            ask("get", HOME),
            ask("get", path),
            ask("patch", path, {"events": []}),
            ask("get", "/deliveries"),
            ask("get", f"/deliveries/{delivery.public_id}"),
            ask("post", f"{path}/test"),
        ):
            assert answer.status_code == 200
            for secret in (current, before):
                assert secret.removeprefix("whsec_") not in answer.text
            assert "whsec_" not in answer.text

    def test_those_of_one_account_are_listed_and_paged(self, ask, user, account, receiver):
        other = Account.objects.create(instagram_account_id="178999", username="other")
        Membership.objects.create(user=user, account=other, role=Role.OWNER)
        mine = [endpoint_to(account, receiver).public_id for _ in range(3)]
        theirs = endpoint_to(other, receiver).public_id

        def ids(query):
            answer = ask("get", f"{HOME}?{query}").json()
            return [one["endpoint_id"] for one in answer["webhook_endpoints"]], answer["next"]

        assert ids("") == ([*mine, theirs], None)
        assert ids(f"account_id={account.pk}") == (mine, None)
        first, cursor = ids("limit=2")
        assert (first, ids(f"cursor={cursor}")[0]) == (mine[:2], [mine[2], theirs])
        assert_problem(ask("get", f"{HOME}?account_id=acc_unknown"), 404)

    def test_only_what_is_named_is_changed(self, ask, endpoint, path, other_receiver):
        shown = ask("patch", path, {"events": ["message.read"]}).json()
        assert (shown["url"], shown["events"]) == (endpoint.url, ["message.read"])
        shown = ask("patch", path, {"url": other_receiver.url}).json()
        assert (shown["url"], shown["events"]) == (other_receiver.url, ["message.read"])
        assert ask("patch", path, {"events": []}).json()["events"] == []
        assert ask("patch", path, {}).json()["url"] == other_receiver.url

    def test_what_is_not_named_may_change_meanwhile(self, ask, path, other_receiver, monkeypatch):
        change = endpoints.change

        def second(one, **changes):
            monkeypatch.setattr(endpoints, "change", change)
            ask("patch", path, {"url": other_receiver.url})
            change(one, **changes)

        monkeypatch.setattr(endpoints, "change", second)
        shown = ask("patch", path, {"events": ["message.read"]}).json()
        assert (shown["url"], shown["events"]) == (other_receiver.url, ["message.read"])

    def test_what_waited_goes_out_when_it_is_switched_on(
        self, ask, endpoint, path, receiver, conversation
    ):
        say(conversation, "Hello")
        shown = ask("patch", path, {"is_enabled": False}).json()
        assert (shown["is_enabled"], shown["state"]) == (False, "off")
        forward()
        assert receiver.got == []
        assert ask("patch", path, {"is_enabled": True}).json()["state"] == "on"
        forward()
        assert receiver.texts == ["Hello"]

    def test_an_address_that_cannot_be_used_changes_nothing(
        self, ask, endpoint, path, account, settings
    ):
        settings.ALLOW_PRIVATE_WEBHOOK_TARGETS = False
        for url in (
            "http://crm.example/",
            "ftp://crm.example",
            "https://",
            "crm",
            "https://é.example",
        ):
            added = ask("post", HOME, {"account_id": account.pk, "url": url})
            changed = ask("patch", path, {"url": url, "events": [], "is_enabled": False})
            for answer in (added, changed):
                assert assert_problem(answer, 422)["type"].endswith(":address-not-taken")
        unknown = {"account_id": account.pk, "url": endpoint.url, "events": ["message.sold"]}
        assert assert_problem(ask("post", HOME, unknown), 422)["type"].endswith(":invalid-input")
        kept = CrmEndpoint.objects.get()
        assert (kept.url, kept.is_enabled) == (endpoint.url, True)

    def test_one_whose_address_is_no_longer_allowed_is_refused_and_may_be_switched_off(
        self, ask, path, settings
    ):
        settings.ALLOW_PRIVATE_WEBHOOK_TARGETS = False
        problem = assert_problem(ask("patch", path, {"events": []}), 422)
        assert problem["type"].endswith(":address-not-taken")
        assert ask("patch", path, {"is_enabled": False}).json()["state"] == "off"

    def test_an_account_has_so_many(self, ask, account, receiver, monkeypatch):
        monkeypatch.setattr("messaging.endpoints.MOST", 1)
        body = {"account_id": account.pk, "url": receiver.url}
        assert ask("post", HOME, body).status_code == 201
        assert assert_problem(ask("post", HOME, body), 409)["type"].endswith(":too-many-endpoints")

    def test_a_new_secret_signs_beside_the_one_before_until_that_is_ended(
        self, ask, endpoint, path
    ):
        answer = ask("post", f"{path}/secret").json()
        assert answer["secret"] != endpoint.plain
        assert CrmEndpoint.objects.get().secrets() == [answer["secret"], endpoint.plain]
        assert answer["previous_secret_until"] > timezone.now().isoformat()
        for _ in range(2):
            assert ask("delete", f"{path}/previous-secret").status_code == 204
        assert CrmEndpoint.objects.get().secrets() == [answer["secret"]]
        assert ask("get", path).json()["previous_secret_until"] is None

    def test_a_deleted_one_is_gone_with_its_log(self, ask, path, delivery):
        assert ask("delete", path).status_code == 204
        for gone in (path, f"/deliveries/{delivery.public_id}"):
            assert_problem(ask("get", gone), 404)
        assert ask("get", HOME).json()["webhook_endpoints"] == []
        assert listed(ask("get", "/deliveries")) == []


class TestTests:
    def test_the_outcome_is_the_answer(self, ask, endpoint, path, receiver):
        receiver.answers = [(500, {}, b"no such tenant")]
        endpoints.disable(endpoint)  # It can be tried before it is switched on.
        told = ask("post", f"{path}/test").json()
        assert receiver.types == ["test"]
        assert (told["type"], told["state"]) == ("test", "failed")
        [attempt] = told["attempts"]
        assert (attempt["status"], attempt["answer"]) == (500, "no such tenant")
        assert attempt["error"] == "HTTP 500"
        assert attempt["duration_ms"] >= 0
        assert ask("post", f"{path}/test").json()["state"] == "delivered"

    def test_one_at_a_time(self, ask, endpoint, path, receiver):
        Delivery.objects.create(endpoint=endpoint, type="test", body=b"{}", due_at=None)
        problem = assert_problem(ask("post", f"{path}/test"), 409)
        assert problem["type"].endswith(":no-test-now")
        assert receiver.got == []

    def test_not_without_a_secret(self, ask, endpoint, path, receiver):
        CrmEndpoint.objects.update(secret=None)
        problem = assert_problem(ask("post", f"{path}/test"), 409)
        assert "no secret any more" in problem["detail"]
        assert ask("get", path).json()["state"] == "waiting"


class TestDeliveries:
    def test_one_tells_what_was_posted_and_answered(self, ask, endpoint, receiver, conversation):
        def echo(got):
            """A receiver that repeats whatever it was sent, and more."""
            return 200, {}, f"{got.headers} {endpoint.plain}".encode()

        receiver.think = echo
        say(conversation, "Hello there")
        forward()
        [got] = receiver.got
        answer = ask("get", f"/deliveries/{got.id}")
        told = answer.json()
        assert told["body"].encode() == got.body
        assert (told["endpoint_id"], told["state"]) == (endpoint.public_id, "delivered")
        assert (told["conversation_id"], told["attempt_count"]) == (conversation.pk, 1)
        [attempt] = told["attempts"]
        assert (attempt["url"], attempt["status"]) == (receiver.url, 200)
        assert attempt["headers"]["webhook-id"] == got.id
        assert attempt["error"] is None
        assert told["next_attempt_at"] is None
        for secret in (
            endpoint.plain.removeprefix("whsec_"),
            got.headers["webhook-signature"].removeprefix("v1,"),
            got.headers["X-Hub-Signature-256"].removeprefix("sha256="),
        ):
            assert secret not in answer.text

    def test_what_waits_says_until_when(self, ask, endpoint, receiver, conversation):
        receiver.answers = [503]
        say(conversation)
        forward()
        [told] = ask("get", "/deliveries").json()["deliveries"]
        assert (told["state"], told["attempt_count"]) == ("waiting", 1)
        assert told["next_attempt_at"] > told["created_at"]

    def test_what_was_taken_back_is_not_told(self, ask, endpoint, delivery):
        Delivery.objects.update(state="forgotten", body=b"", due_at=None)
        path = f"/deliveries/{delivery.public_id}"
        assert ask("get", path).json()["body"] is None
        problem = assert_problem(ask("post", f"{path}/replay"), 409)
        assert problem["type"].endswith(":nothing-to-post")

    def test_they_are_narrowed_down(self, ask, account, endpoint, other_receiver, conversation):
        for n in range(3):
            say(conversation, str(n))
        tell_read(conversation)
        a, b, c, read = Delivery.objects.order_by("pk")
        now = timezone.now()
        Delivery.objects.filter(pk=a.pk).update(state="failed", due_at=None)
        Delivery.objects.filter(pk=b.pk).update(created_at=now - timedelta(days=2))
        other = endpoint_to(account, other_receiver)
        alone = Delivery.objects.create(endpoint=other, type="account.status", body=b"{}")

        def found(query):
            return listed(ask("get", f"/deliveries?{query}"))

        def ids(*rows):
            return [one.public_id for one in rows]

        hour_ago = (now - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        assert found("") == ids(alone, read, c, b, a)
        assert found(f"endpoint_id={endpoint.public_id}") == ids(read, c, b, a)
        assert found("state=failed") == ids(a)
        assert found("type=message.read") == ids(read)
        assert found(f"since={hour_ago}") == ids(alone, read, c, a)
        assert found(f"type=message.received&since={hour_ago}&state=waiting") == ids(c)
        assert_problem(ask("get", "/deliveries?state=lost"), 422)
        assert_problem(ask("get", "/deliveries?endpoint_id=whe_unknown"), 404)

    def test_pages_miss_none_whatever_comes(self, ask, endpoint, conversation):
        for n in range(5):
            say(conversation, str(n))
        first = ask("get", "/deliveries?limit=2")
        say(conversation, "meanwhile")
        seen, cursor = listed(first), first.json()["next"]
        while cursor:
            page = ask("get", f"/deliveries?limit=2&cursor={cursor}")
            seen, cursor = seen + listed(page), page.json()["next"]
        rows = Delivery.objects.filter(message__text__in="01234").order_by("-pk")
        assert seen == list(rows.values_list("public_id", flat=True))

    def test_a_list_costs_the_same_however_long(
        self, ask, endpoint, conversation, django_assert_max_num_queries
    ):
        for n in range(20):
            say(conversation, str(n))
        ask("get", "/deliveries")
        with django_assert_max_num_queries(3):  # The key, its user, and the deliveries.
            assert len(listed(ask("get", "/deliveries"))) == 20


class TestReplay:
    def test_one_is_posted_again_with_the_same_bytes(self, ask, receiver, delivery):
        answer = ask("post", f"/deliveries/{delivery.public_id}/replay")
        assert answer.status_code == 202
        assert (answer.json()["state"], answer.json()["attempt_count"]) == ("waiting", 0)
        forward()
        first, again = receiver.got
        assert (first.id, first.body) == (again.id, again.body)
        assert len(ask("get", f"/deliveries/{delivery.public_id}").json()["attempts"]) == 2

    def test_a_test_is_not(self, ask, path):
        tested = ask("post", f"{path}/test").json()["delivery_id"]
        assert_problem(ask("post", f"/deliveries/{tested}/replay"), 409)

    def test_a_range_is(self, ask, path, receiver, conversation):
        for n in range(3):
            say(conversation, str(n))
        forward()
        now = timezone.now()
        Delivery.objects.filter(message__text="0").update(created_at=now - timedelta(days=2))
        around = {
            "which": "all",
            "since": (now - timedelta(hours=1)).isoformat(),
            "until": (now + timedelta(hours=1)).isoformat(),
        }
        answer = ask("post", f"{path}/replay", around)
        assert (answer.status_code, answer.json()) == (202, {"count": 2})
        forward()
        assert receiver.texts[3:] == ["1", "2"]

    def test_those_given_up_are_without_a_range(self, ask, path, conversation):
        for n in range(2):
            say(conversation, str(n))
        Delivery.objects.filter(message__text="1").update(state="failed", due_at=None)
        assert ask("post", f"{path}/replay", {}).json() == {"count": 1}

    def test_all_without_a_range_are_not(self, ask, path, delivery):
        now = timezone.now().isoformat()
        numbers = {"since": 1767225600, "until": 1798761600}
        for wrong in ({}, {"since": now}, {"since": now, "until": now}, numbers):
            assert_problem(ask("post", f"{path}/replay", {"which": "all"} | wrong), 422)
        delivery.refresh_from_db()
        assert delivery.state == "delivered"


class TestWhoMay:
    def test_a_member_sees_the_host_alone_and_changes_nothing(
        self, member, account, path, receiver, delivery
    ):
        CrmEndpoint.objects.update(url=f"{receiver.url}?key=of-the-crm")
        DeliveryAttempt.objects.update(url=f"{receiver.url}?key=of-the-crm")
        for url in (HOME, path, "/deliveries", f"/deliveries/{delivery.public_id}"):
            shown = member("get", url)
            assert shown.status_code == 200
            assert "of-the-crm" not in shown.text
        shown = member("get", path).json()
        assert (shown["host"], shown["url"]) == ("127.0.0.1", None)
        before = list(CrmEndpoint.objects.values("url", "events", "is_enabled", "previous_until"))
        for method, url, body in acts(path, delivery, account):
            assert "owner" in assert_problem(member(method, url, body), 403)["detail"]
        after = list(CrmEndpoint.objects.values("url", "events", "is_enabled", "previous_until"))
        assert after == before
        assert len(receiver.got) == 1

    def test_a_key_without_manage_looks_and_sees_no_address(
        self, client, user, account, endpoint, path, delivery
    ):
        reader = asker(client, user, [Scope.READ, Scope.SEND])
        for url in (HOME, path, "/deliveries", f"/deliveries/{delivery.public_id}"):
            shown = reader("get", url)
            assert shown.status_code == 200
            assert endpoint.url not in shown.text
        for method, url, body in acts(path, delivery, account):
            assert assert_problem(reader(method, url, body), 403)["scope"] == "manage"
        assert_problem(asker(client, user, [Scope.MANAGE])("get", path), 403)

    def test_a_session_does_what_its_user_may(self, client, user, endpoint, path):
        client.force_login(user)
        assert client.get(V1 + path).json()["url"] == endpoint.url

    def test_strangers_and_limited_keys_find_nothing(
        self, client, user, stranger, account, endpoint, path, delivery
    ):
        other = Account.objects.create(instagram_account_id="178999", username="other")
        for one in (user, stranger):
            Membership.objects.create(user=one, account=other, role=Role.OWNER)
        _, limited = api_keys.make(user, "Limited", scopes=Scope, accounts=[other])
        _, foreign = api_keys.make(stranger, "Other", scopes=Scope)
        looks = [("get", path, None), ("get", f"/deliveries/{delivery.public_id}", None)]
        for key in (limited, foreign):
            for method, url, body in looks + acts(path, delivery, account):
                answer = client.generic(
                    method.upper(), V1 + url, json.dumps(body) if body else "",
                    content_type="application/json", headers=bearer(key),
                )  # fmt: skip
                assert_problem(answer, 404)
            for url in (HOME, "/deliveries"):
                assert endpoint.public_id not in client.get(V1 + url, headers=bearer(key)).text
        endpoint.refresh_from_db()
        assert endpoint.is_enabled

    def test_events_are_those_that_are_written(self, ask):
        document = ask("get", "/openapi.json").json()
        schema = document["components"]["schemas"]["EventType"]
        assert schema["enum"] == EventType.values
