"""Security events are only ever added, and superusers read and export them."""

import csv
import getpass
import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.models import User
from crypto import actor
from crypto.actor import ActorMiddleware
from crypto.models import SecurityEvent

Kind = SecurityEvent.Kind
LIST = "/admin/crypto/securityevent/"
EXPORT = f"{LIST}export/"
pytestmark = pytest.mark.django_db


def add(kind=Kind.ROTATED, **fields):
    return SecurityEvent.objects.create(kind=kind, **({"actor": "root on shop"} | fields))


class TestOnlyAdded:
    @pytest.mark.parametrize(
        "change",
        [
            lambda event: event.save(),
            lambda event: event.save(update_fields=["actor"]),
            lambda event: event.delete(),
            lambda event: SecurityEvent.objects.get().save(),
            lambda event: SecurityEvent.objects.update(actor="x"),
            lambda event: SecurityEvent.objects.all().delete(),
            lambda event: SecurityEvent.objects.filter(pk=event.pk).delete(),
            lambda event: SecurityEvent.objects.bulk_update([event], ["actor"]),
            lambda event: SecurityEvent.objects.update_or_create(
                pk=event.pk, defaults={"actor": "x"}
            ),
        ],
    )
    def test_what_is_recorded_is_not_changed_or_removed(self, change):
        event = add()
        before = list(SecurityEvent.objects.values())
        event.actor = "somebody else"
        with pytest.raises(TypeError, match="only ever added"):
            change(event)
        assert list(SecurityEvent.objects.values()) == before

    @pytest.mark.parametrize(
        "overwrite",
        [
            lambda other: other.save(),
            lambda other: SecurityEvent.objects.bulk_create(
                [other], update_conflicts=True, unique_fields=["id"], update_fields=["actor"]
            ),
        ],
        ids=["save", "upsert"],
    )
    def test_an_id_that_is_taken_overwrites_nothing(self, overwrite):
        other = SecurityEvent(pk=add().pk, kind=Kind.RESET, actor="somebody else")
        with pytest.raises((IntegrityError, TypeError)), transaction.atomic():
            overwrite(other)
        assert SecurityEvent.objects.get().actor == "root on shop"

    def test_many_can_be_added_at_once(self):
        SecurityEvent.objects.bulk_create(SecurityEvent(kind=Kind.RESET) for _ in range(3))
        assert SecurityEvent.objects.count() == 3

    def test_a_fixture_brings_them_back(self, tmp_path):
        add(at=datetime(2025, 3, 1, tzinfo=UTC), details={"rotated": 3})
        before = list(SecurityEvent.objects.values())
        call_command("dumpdata", "crypto.securityevent", output=str(tmp_path / "events.json"))
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM security_events")
        call_command("loaddata", str(tmp_path / "events.json"), verbosity=0)
        assert list(SecurityEvent.objects.values()) == before


class TestActor:
    def ask(self, request):
        seen = []

        def view(request):
            seen.append(actor.current())
            return HttpResponse()

        ActorMiddleware(view)(request)
        return seen[0]

    def test_in_a_request_it_is_the_person_and_their_address(self, user):
        request = RequestFactory(REMOTE_ADDR="2001:db8::7").get("/")
        request.user = user
        assert self.ask(request) == actor.Actor("mara", "2001:db8::7")

    def test_before_anybody_is_known_it_says_so(self):
        request = RequestFactory(REMOTE_ADDR="192.0.2.7").get("/")
        assert self.ask(request) == actor.Actor("somebody not logged in", "192.0.2.7")

    @pytest.mark.parametrize("address", ["", "unix:", "'; DROP TABLE"])
    def test_what_is_no_address_is_none(self, address):
        assert self.ask(RequestFactory(REMOTE_ADDR=address).get("/")).address is None

    def test_a_header_that_anybody_can_send_is_not_believed(self):
        request = RequestFactory(REMOTE_ADDR="192.0.2.7").get(
            "/", headers={"X-Forwarded-For": "198.51.100.1"}
        )
        assert self.ask(request).address == "192.0.2.7"

    def test_elsewhere_it_is_whoever_runs_the_process(self):
        assert actor.current().name.startswith(f"{getpass.getuser()} on ")
        assert actor.current().address is None

    def test_a_request_is_forgotten_when_it_is_over_even_if_it_failed(self):
        def fail(request):
            raise ZeroDivisionError

        self.ask(RequestFactory().get("/"))
        with pytest.raises(ZeroDivisionError):
            ActorMiddleware(fail)(RequestFactory().get("/"))
        assert actor.current().address is None

    def test_the_site_uses_it(self, client, user):
        client.post("/login", {"username": "mara", "password": "correct horse 41"})
        assert SecurityEvent.objects.get(kind=Kind.LOGGED_IN).actor == "mara"


class TestAdmin:
    def shown(self, client, **query):
        response = client.get(LIST, query)
        assert response.status_code == 200
        events = response.context["cl"].result_list
        return [event.pk for event in events if event.kind != Kind.LOGGED_IN]

    @pytest.fixture
    def client(self, admin_client):
        return admin_client

    def test_the_newest_stands_on_top(self, client):
        old = add(at=timezone.now() - timedelta(days=1))
        new = add()
        assert self.shown(client) == [new.pk, old.pk]

    @pytest.mark.parametrize("word", ["mara", "acc_0123", "192.0.2.7", "ROOT"])
    def test_it_is_searched_by_who_to_what_and_from_where(self, client, word):
        add(actor="otto", address="192.0.2.8", subject="secret 1")
        found = add(actor="mara for root", address="192.0.2.7", subject="account acc_0123 @luna")
        assert self.shown(client, q=word) == [found.pk]

    def test_it_is_filtered_by_kind_and_date(self, client):
        add(at=datetime(2025, 3, 1, tzinfo=UTC))
        add(at=datetime(2025, 2, 1, tzinfo=UTC), kind=Kind.RESET)
        wanted = add(at=datetime(2025, 2, 1, tzinfo=UTC))
        query = {"kind__exact": "rotated", "at__year": 2025, "at__month": 2}
        assert self.shown(client, **query) == [wanted.pk]
        html = client.get(LIST).content.decode()
        for link in ("?kind__exact=rotated", "?at__gte=", "?at__year=2025"):
            assert f'href="{link}' in html

    def test_details_are_readable(self, client):
        event = add(details={"by": "ümit <b>", "rotated": 12, "kept": None, "keys": {"a1": 3}})
        html = client.get(f"{LIST}{event.pk}/change/").content.decode()
        for line in (
            "by: ümit &lt;b&gt;",
            "rotated: 12",
            "kept: null",
            "keys: {&quot;a1&quot;: 3}",
        ):
            assert line in html

    def test_nothing_is_added_changed_or_deleted_there(self, client):
        event = add()
        assert client.get(f"{LIST}add/").status_code == 403
        assert client.post(f"{LIST}add/", {"kind": "reset"}).status_code == 403
        assert client.post(f"{LIST}{event.pk}/change/", {"actor": "x"}).status_code == 403
        assert client.post(f"{LIST}{event.pk}/delete/", {"post": "yes"}).status_code == 403
        order = {"action": "delete_selected", "_selected_action": [event.pk], "post": "yes"}
        client.post(LIST, order)
        assert SecurityEvent.objects.get(pk=event.pk).actor == "root on shop"
        for page in (LIST, f"{LIST}{event.pk}/change/"):
            html = client.get(page).content.decode()
            assert "/delete/" not in html
            assert "delete_selected" not in html
            assert f"{LIST}add/" not in html

    def test_a_long_list_costs_the_queries_of_a_short_one(
        self, client, django_assert_max_num_queries
    ):
        SecurityEvent.objects.bulk_create(SecurityEvent(kind=Kind.RESET) for _ in range(500))
        with django_assert_max_num_queries(8) as queries:
            assert len(self.shown(client)) == 100
        assert sum("COUNT(*)" in query["sql"] for query in queries) == 1

    @pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by what is there")
    def test_a_page_of_it_is_read_by_the_index(self):
        plan = SecurityEvent.objects.all()[:100].explain()
        assert "USING INDEX security_events_at" in plan
        assert "TEMP B-TREE" not in plan

    def test_only_superusers_see_it(self, client, user):
        User.objects.filter(pk=user.pk).update(is_staff=True)
        client.force_login(user)
        assert client.get(LIST).status_code == 302
        assert client.post(EXPORT).status_code == 302
        assert not SecurityEvent.objects.filter(kind=Kind.EXPORTED).exists()


class TestExport:
    @pytest.fixture
    def client(self, admin_client):
        admin_client.defaults["REMOTE_ADDR"] = "192.0.2.7"
        return admin_client

    def export(self, client, query=""):
        response = client.post(EXPORT + query)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert "attachment" in response.headers["Content-Disposition"]
        text = b"".join(response.streaming_content).decode("utf-8")
        lines = csv.reader(io.StringIO(text, newline=""))
        return [line for line in lines if line[1] != "logged_in"]

    def test_it_has_a_head_and_times_in_utc(self, client, settings):
        settings.TIME_ZONE = "Asia/Tokyo"
        add(
            at=datetime(2025, 3, 1, 23, 30, 5, tzinfo=UTC),
            address="2001:db8::7",
            subject='two "words", ü 😀',
            details={"by": "ü", "rotated": 3},
        )
        add(at=datetime(2025, 3, 1, tzinfo=UTC), actor="")
        head, *rows = self.export(client)
        assert head == ["at", "kind", "actor", "address", "subject", "details"]
        assert rows == [
            ["2025-03-01T23:30:05+00:00", "rotated", "root on shop", "2001:db8::7",
             'two "words", ü 😀', '{"by": "ü", "rotated": 3}'],
            ["2025-03-01T00:00:00+00:00", "rotated", "", "", "", "{}"],
        ]  # fmt: skip

    def test_it_holds_all_pages_of_what_the_list_shows(self, client):
        SecurityEvent.objects.bulk_create(
            SecurityEvent(kind=Kind.RESET, actor="otto", subject=str(n)) for n in range(250)
        )
        add()
        add(kind=Kind.RESET, actor="mara")
        _, *rows = self.export(client, "?kind__exact=reset&q=otto&p=2")
        assert sorted(row[4] for row in rows) == sorted(map(str, range(250)))
        assert {row[1] for row in rows} == {"reset"}

    def test_the_list_offers_it_with_its_own_filters(self, client):
        add(kind=Kind.RESET)
        html = client.get(LIST, {"kind__exact": "reset"}).content.decode()
        assert f'<form method="post" action="{EXPORT}?kind__exact=reset">' in html
        assert "Export the 1 found as CSV" in html

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
    def test_no_cell_is_a_formula(self, client, start):
        formula = f'{start}HYPERLINK("http://evil.example")'
        add(actor=formula, subject=formula)
        add(actor="a=b", subject="user @luna")
        _, second, first = self.export(client)
        assert first[2] == first[4] == f"'{formula}"
        assert (second[2], second[4]) == ("a=b", "user @luna")

    def test_it_is_itself_recorded_and_not_in_it(self, client):
        add()
        add(kind=Kind.RESET)
        _, *rows = self.export(client, "?kind__exact=reset")
        assert len(rows) == 1
        event = SecurityEvent.objects.get(kind=Kind.EXPORTED)
        assert (event.actor, event.address) == ("admin", "192.0.2.7")
        assert event.details == {"rows": 1, "filter": "kind__exact=reset"}
        _, *rows = self.export(client)
        assert [row[1] for row in rows] == ["exported", "reset", "rotated"]

    def test_it_is_sent_while_it_is_read(self, client):
        SecurityEvent.objects.bulk_create(SecurityEvent(kind=Kind.RESET) for _ in range(5000))
        response = client.post(f"{EXPORT}?kind__exact=reset")
        assert response.streaming
        assert sum(1 for _ in response.streaming_content) == 1 + 5000

    def test_looking_at_its_address_does_nothing(self, client):
        assert client.get(EXPORT).status_code == 405
        assert not SecurityEvent.objects.filter(kind=Kind.EXPORTED).exists()

    def test_another_site_cannot_start_it(self, client):
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = client.cookies
        assert strict.post(EXPORT).status_code == 403
        assert not SecurityEvent.objects.filter(kind=Kind.EXPORTED).exists()
        html = strict.get(LIST).content.decode()
        form = re.search(f'action="{EXPORT}(.+?)</form>', html, re.DOTALL)[1]
        token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
        assert strict.post(EXPORT, {"csrfmiddlewaretoken": token}).status_code == 200

    @pytest.mark.parametrize("query", ["?at__year=x", "?nonsense=1", "?actor__password=1"])
    def test_a_filter_that_does_not_exist_exports_nothing(self, client, query):
        assert client.post(EXPORT + query).status_code == 400
        assert not SecurityEvent.objects.filter(kind=Kind.EXPORTED).exists()

    def test_odd_characters_in_the_search_do_no_harm(self, client):
        add()
        assert client.post(f"{EXPORT}?q=%00%ff").status_code == 200
