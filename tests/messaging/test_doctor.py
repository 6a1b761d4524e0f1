"""The doctor: each finding is true, and says what to do."""

import json
import socket
import threading
from contextlib import closing
from datetime import timedelta

import pytest
from django.core.management import call_command

from accounts.instagram_errors import NO_ROLE
from accounts.models import Account
from crypto.heartbeat import Heartbeat
from messaging import doctor, sightings, signatures
from messaging.models import Sighting
from tests.conftest import sign

from . import events

pytestmark = pytest.mark.django_db

BODY = events.as_bytes(events.body(events.message("mid-1", "Hello")))


@pytest.fixture
def examine():
    """Title → finding of a look at everything."""

    def examine():
        return {finding.title: finding for finding in doctor.examine().findings}

    return examine


@pytest.fixture
def real_instagram(settings):
    """Its addresses; nobody answers there."""
    settings.INSTAGRAM_AUTHORIZE_URL = "https://instagram.invalid/oauth/authorize"
    settings.INSTAGRAM_TOKEN_URL = "https://instagram.invalid/oauth/access_token"
    settings.INSTAGRAM_GRAPH_URL = "https://instagram.invalid"


def test_a_site_on_the_sandbox_has_nothing_to_mend(
    examine, live_server, connected, settings, post_webhook
):
    settings.PUBLIC_BASE_URL = live_server.url
    worker = Heartbeat("worker")
    worker.beat()
    post_webhook(BODY)
    found = examine()
    assert [one for one in found.values() if one.state == "bad"] == []
    good = [title for title, one in found.items() if one.state == "good"]
    assert {"Public address", "Worker", "Clock", "Time-outs", "Redirect address"} <= set(good)
    assert {"Signed webhooks", "Permissions granted", "Subscribed fields"} <= set(good)
    worker.stop()


class TestPublicAddress:
    def test_it_must_be_https_for_the_real_instagram(self, examine, settings, real_instagram):
        settings.PUBLIC_BASE_URL, settings.IS_HTTPS = "http://dm.shop.example", False
        found = examine()["Public address"]
        assert found.state == "bad"
        assert "PUBLIC_BASE_URL=https://" in found.fix

    def test_nobody_there_is_to_mend_unless_webhooks_come_all_the_same(
        self, examine, settings, post_webhook
    ):
        settings.PUBLIC_BASE_URL = "http://127.0.0.1:9"
        found = examine()["Public address"]
        assert (found.state, "No connection" in found.says) == ("bad", True)
        assert "http://127.0.0.1:9/health" in found.fix
        post_webhook(BODY)
        assert examine()["Public address"].state == "unknown"

    def test_somebody_else_there_is_noticed(self, examine, settings, instagram):
        settings.PUBLIC_BASE_URL = instagram.url
        assert examine()["Public address"].state == "bad"


class TestHandshake:
    @pytest.fixture
    def shake(self, client):
        def shake(token):
            query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": "1"}
            return client.get("/webhooks/instagram", query).status_code

        return shake

    def test_the_last_one_counts(self, examine, shake, settings, real_instagram):
        assert "has not verified" in examine()["Handshake"].says
        assert shake("something else") == 403
        found = examine()["Handshake"]
        assert (found.state, "another verify token" in found.says) == ("bad", True)
        assert shake(settings.INSTAGRAM_VERIFY_TOKEN) == 200
        assert examine()["Handshake"].state == "good"

    def test_a_token_that_is_not_set_is_missing(self, examine, settings):
        settings.INSTAGRAM_VERIFY_TOKEN = ""
        assert examine()["Verify token"].is_missing


class TestSignedWebhooks:
    def test_it_says_which_secret_signed_by_its_place(self, examine, post_webhook, settings):
        assert examine()["Signed webhooks"].state == "unknown"
        first, second = settings.INSTAGRAM_APP_SECRETS
        post_webhook(BODY, sign(BODY, second))
        assert "signed by secret 2 of 2" in examine()["Signed webhooks"].says
        settings.INSTAGRAM_APP_SECRETS = [first]
        assert "no longer in INSTAGRAM_APP_SECRET" in examine()["Signed webhooks"].says

    def test_a_signature_by_no_secret_is_to_mend_until_a_good_one_comes(
        self, examine, post_webhook
    ):
        assert post_webhook(BODY, sign(BODY, "the secret of the Meta app")).status_code == 403
        found = examine()["Signed webhooks"]
        assert (found.state, "Instagram app secret" in found.fix) == ("bad", True)
        post_webhook(BODY)
        assert examine()["Signed webhooks"].state == "good"

    def test_webhooks_by_the_hundred_are_noted_once(self, post_webhook, monkeypatch):
        post_webhook(BODY)
        noted = Sighting.objects.get().at
        for _ in range(20):
            post_webhook(BODY)
        assert Sighting.objects.get().at == noted
        monkeypatch.setattr(sightings, "PAUSE", 0)
        post_webhook(BODY)
        assert Sighting.objects.get().at > noted

    def test_forged_ones_do_not_make_it_write_more_often(self, post_webhook):
        for _ in range(5):
            post_webhook(BODY)
            post_webhook(BODY, "sha256=forged")
        signed, forged = Sighting.objects.order_by("pk").values_list("at", flat=True)
        assert signed < forged
        post_webhook(BODY)
        assert Sighting.objects.get(kind="signed").at == signed

    def test_what_is_kept_does_not_tell_the_secret(self, post_webhook, settings):
        post_webhook(BODY)
        secret = settings.INSTAGRAM_APP_SECRETS[0]
        kept = Sighting.objects.get().subject
        assert kept == signatures.fingerprint(secret)
        assert len(kept) == 12
        assert kept not in secret


def test_an_account_without_a_role_tells_the_mode_of_the_app(examine, account, real_instagram):
    assert examine()["App mode"].state == "unknown"
    Account.objects.update(problem="held", problem_reason=NO_ROLE)
    found = examine()["App mode"]
    assert (found.state, "tester" in found.fix) == ("bad", True)


def test_an_account_of_which_no_messages_come_is_named(examine, connected, instagram):
    connected.client().unsubscribe()
    found = examine()["Subscribed fields"]
    assert (found.state, "@luna.ceramics" in found.says) == ("bad", True)


def test_a_permission_that_was_not_granted_is_named(examine, account):
    Account.objects.update(permissions=["instagram_business_basic"])
    found = examine()["Permissions granted"]
    assert (found.state, "@luna.ceramics" in found.says) == ("bad", True)


def test_a_wrong_clock_is_told_in_seconds(examine, instagram, monkeypatch):
    from django.utils import timezone as clock

    now = clock.now
    monkeypatch.setattr("messaging.doctor_site.timezone.now", lambda: now() + timedelta(minutes=5))
    found = examine()["Clock"]
    assert (found.state, "timedatectl" in found.fix) == ("bad", True)


def test_an_instagram_out_of_reach_is_one_thing_to_mend(examine):
    found = examine()
    assert found["Way to Instagram"].state == "bad"
    assert found["Clock"].state == found["Time-outs"].state == "unknown"


class TestMail:
    @pytest.fixture
    def mail_server(self, settings):
        """Greets, and refuses every login."""
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            settings.EMAIL_IS_CONFIGURED = True
            settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
            settings.EMAIL_HOST, settings.EMAIL_PORT = server.getsockname()
            settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "mara", "pa55word-of-mail"
            settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False

            def serve():
                with server.accept()[0] as line:
                    line.sendall(b"220 ready\r\n")
                    while said := line.recv(1000):
                        is_hello = said.startswith(b"ehlo")
                        is_login = said.startswith(b"AUTH")
                        line.sendall(
                            b"250-mail\r\n250 AUTH PLAIN\r\n" if is_hello
                            else b"535 pa55word-of-mail is wrong\r\n" if is_login
                            else b"221 bye\r\n"
                        )  # fmt: skip

            threading.Thread(target=serve, daemon=True).start()
            yield server

    def test_a_login_that_is_refused_is_told_without_the_password(self, examine, mail_server):
        found = examine()["Mail"]
        assert (found.state, "refuses the login (code 535)" in found.says) == ("bad", True)
        assert "pa55word" not in found.says + found.fix

    def test_without_mail_a_production_site_has_something_to_mend(self, examine, settings):
        assert examine()["Mail"].state == "unknown"
        settings.IS_PRODUCTION = True
        assert "EMAIL_URL" in examine()["Mail"].says


class TestCommand:
    @pytest.fixture
    def run(self, capsys):
        def run(*options):
            try:
                call_command("doctor", *options)
                code = 0
            except SystemExit as exc:
                code = exc.code
            return code, capsys.readouterr().out

        return run

    def test_it_tells_what_to_do_and_fails(self, run):
        code, out = run()
        assert code == 1
        assert "[ MEND ] Worker: None is running" in out
        assert "http://127.0.0.1:8000/oauth/instagram/callback" in out

    def test_json_is_for_programs(self, run):
        code, out = run("--json")
        report = json.loads(out)
        assert (code, report["well"], report["configured"]) == (1, False, True)
        worker = next(one for one in report["groups"][0]["findings"] if one["title"] == "Worker")
        assert worker["state"] == "bad"

    def test_all_well_is_0(self, run, live_server, connected, settings):
        settings.PUBLIC_BASE_URL = live_server.url
        Heartbeat("worker").beat()
        assert run()[0] == 0

    def test_a_setting_that_is_missing_is_5(self, run, settings):
        settings.INSTAGRAM_APP_ID = ""
        assert run()[0] == 5

    def test_no_secret_is_printed(self, run, settings, account):
        text = run()[1] + run("--json")[1]
        for secret in (*settings.INSTAGRAM_APP_SECRETS, settings.INSTAGRAM_VERIFY_TOKEN):
            assert secret not in text

    def test_without_a_database_it_says_so_and_goes_on(self, run, monkeypatch):
        from django.db import OperationalError, connection

        def gone(*args, **kwargs):
            raise OperationalError("no route to the host that holds it")

        monkeypatch.setattr(connection, "cursor", gone)
        code, out = run()
        assert code == 1
        assert "no route to the host" in out
        assert "Way to Instagram" in out


class TestPage:
    @pytest.fixture
    def superuser(self, client, user):
        user.is_staff = user.is_superuser = True
        user.save()
        client.force_login(user)
        return user

    def test_it_shows_every_address_to_paste_and_every_finding(self, client, superuser):
        page = client.get("/setup/").content.decode()
        for path in ("webhooks/instagram", "oauth/instagram/callback",
                     "oauth/instagram/deauthorize", "oauth/instagram/data-deletion"):  # fmt: skip
            assert f'<code class="block">http://127.0.0.1:8000/{path}</code>' in page
        for title in ("Public address", "Handshake", "Signed webhooks", "App mode", "Clock"):
            assert f"<h3>{title}</h3>" in page

    def test_the_verify_token_is_there_when_asked_for_and_nowhere_else(
        self, client, superuser, settings, caplog
    ):
        caplog.set_level("DEBUG")
        token = settings.INSTAGRAM_VERIFY_TOKEN
        assert token not in client.get("/setup/").content.decode()
        assert client.get("/setup/verify-token").status_code == 405
        answer = client.post("/setup/verify-token")
        assert f'<code class="block">{token}</code>' in answer.content.decode()
        assert "no-store" in answer["Cache-Control"]
        assert token not in caplog.text
        assert f"shown to user {superuser.pk}" in caplog.text

    def test_no_other_secret_is_ever_on_it(self, client, superuser, settings, account):
        settings.METRICS_TOKEN = "a-token-for-prometheus"
        pages = client.get("/setup/"), client.post("/setup/verify-token")
        text = "".join(page.content.decode() for page in pages)
        secrets = [*settings.INSTAGRAM_APP_SECRETS, settings.METRICS_TOKEN, settings.SECRET_KEY,
                   "Tests-0nly-secret-never-used-anywhere-else"]  # fmt: skip
        assert [secret for secret in secrets if secret in text] == []

    @pytest.mark.parametrize("path", ["/setup/", "/setup/verify-token"])
    def test_only_superusers_see_it(self, client, user, path):
        assert client.get("/setup/").status_code == 302
        assert client.post("/setup/verify-token").status_code == 302
        user.is_staff = True
        user.save()
        client.force_login(user)
        assert client.get(path).status_code == 403
        assert client.post(path).status_code == 403
