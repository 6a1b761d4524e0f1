from datetime import timedelta

import jwt
import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.sessions import SessionStore
from crypto.bearer_tokens import LEEWAY
from crypto.keyring import KeyRing

pytestmark = pytest.mark.django_db

OLD = "an-0lder-secret-of-this-installation-2024"
NEW = "the-N3wer-secret-of-this-installation-2025"


@pytest.fixture
def ring(settings):
    """Puts secrets on the ring, as a restart with another environment does."""

    def put(primary, *fallbacks):
        ring = KeyRing(primary, fallbacks)
        settings.KEYRING = ring
        settings.SECRET_KEY = ring.primary.django_key
        settings.SECRET_KEY_FALLBACKS = [key.django_key for key in ring.fallbacks]

    put(OLD)
    return put


def cookie(client):
    return client.cookies["sessionid"].value


def test_the_cookie_is_a_jwt_that_names_the_row(ring, client, user):
    client.force_login(user)
    header = jwt.get_unverified_header(cookie(client))
    claims = jwt.decode(cookie(client), options={"verify_signature": False})
    assert (header["alg"], header["kid"]) == ("HS256", KeyRing(OLD).primary.fingerprint)
    assert claims["sid"] == Session.objects.get().session_key
    assert claims["exp"] - claims["iat"] == SessionStore().get_session_cookie_age()


def test_the_rows_key_alone_opens_nothing(ring, client, user):
    client.force_login(user)
    client.cookies["sessionid"] = Session.objects.get().session_key
    assert client.get("/").status_code == 302


@pytest.mark.parametrize("tail", ["", "x", "."])
def test_a_forged_cookie_opens_nothing_and_is_no_error(ring, client, user, tail):
    client.force_login(user)
    client.cookies["sessionid"] = cookie(client)[:-5] + tail
    assert client.get("/").status_code == 302


def test_an_expired_one_opens_nothing_even_if_its_row_is_left(ring, client, user, settings):
    settings.SESSION_COOKIE_AGE = -LEEWAY - 1
    client.force_login(user)
    Session.objects.update(expire_date=timezone.now() + timedelta(days=1))
    assert client.get("/").status_code == 302


def test_a_rotation_keeps_everybody_logged_in_and_renews_the_cookie(ring, client, user):
    client.force_login(user)
    before = cookie(client)
    ring(NEW, OLD)
    assert client.get("/").status_code == 200
    assert cookie(client) != before
    assert jwt.get_unverified_header(cookie(client))["kid"] == KeyRing(NEW).primary.fingerprint
    ring(NEW)
    assert client.get("/").status_code == 200


def test_requests_side_by_side_at_a_rotation_all_stay_logged_in(ring, client, user):
    client.force_login(user)
    before = cookie(client)
    ring(NEW, OLD)
    for _ in range(3):  # Each with the cookie of before.
        client.cookies["sessionid"] = before
        assert client.get("/").status_code == 200


def test_a_secret_that_left_the_ring_logs_everybody_out(ring, client, user):
    client.force_login(user)
    ring(NEW)
    assert client.get("/").status_code == 302


def test_a_current_cookie_is_not_sent_again(ring, client, user):
    client.force_login(user)
    assert "sessionid" not in client.get("/").cookies


def test_the_session_survives_a_restart(ring, client, user):
    client.force_login(user)
    ring(OLD)
    assert client.get("/").status_code == 200


def test_a_new_login_gets_a_new_row(ring, client, user, stranger):
    client.force_login(user)
    first = Session.objects.get().session_key
    client.force_login(stranger)
    assert Session.objects.get().session_key != first
