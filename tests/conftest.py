"""The few fixtures that all tests share."""

import hashlib
import hmac
import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from accounts import connecting
from accounts.models import Account, Membership, Role, User
from crypto import workers
from instamsg.sandbox.server import Sandbox
from messaging import history, queues, sightings, tasks
from messaging.models import Conversation

from . import emptying, environment
from .instagram import CONTROL_TOKEN, Instagram

WEBHOOKS = Path(__file__).parent / "fixtures" / "webhooks"
CALLBACK = "http://127.0.0.1:8000/oauth/instagram/callback"


def pytest_configure():
    # A password is hashed hundreds of times here, and none of them is worth guessing.
    django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    emptying.install()


def pytest_collection_modifyitems(items):
    """What starts programs takes longest, and comes first: nothing long is begun at the end."""
    items.sort(key=lambda item: item.get_closest_marker("processes") is None)


@pytest.fixture(scope="session", autouse=True)
def clean_up_scratch():
    from huey.contrib.djhuey import HUEY

    HUEY.storage.initialize_schema()
    yield
    shutil.rmtree(environment.scratch, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request):
    """In memory each process has its own database. pytest-django knows that of Django's engine."""
    if not django_settings.IS_SQLITE:
        request.getfixturevalue("django_db_modify_db_settings_parallel_suffix")


@pytest.fixture(autouse=True)
def a_worker_was_seen(monkeypatch):
    """What a page finds when it wonders whether a worker runs; until a test has it look anew."""
    monkeypatch.setattr(workers, "_asked_at", float("inf"))
    monkeypatch.setattr(workers, "_away", False)


@pytest.fixture(autouse=True)
def nothing_was_sighted():
    sightings.forget()


@pytest.fixture(autouse=True)
def nobody_works_unasked(monkeypatch):
    """In memory a database has no second thread: what tests wait for, they let be done."""
    monkeypatch.setattr(queues.Drain, "ask_here", lambda drain: None)


@pytest.fixture
def user(db):
    return User.objects.create_user("mara", password="correct horse 41")


@pytest.fixture
def stranger(db):
    """Somebody who signs in here, but belongs to no account."""
    return User.objects.create_user("otto", password="wrong account 42")


@pytest.fixture
def account(user):
    account = Account.objects.create(
        instagram_account_id="17841405309213877",
        app_scoped_id="26487013356149208",
        username="luna.ceramics",
        access_token="IGAATestTokenThatOpensNothing00000000000",
        token_expires_at=timezone.now() + timedelta(days=60),
    )
    Membership.objects.create(user=user, account=account, role=Role.OWNER)
    return account


@pytest.fixture
def conversation(account):
    return Conversation.objects.create(
        account=account,
        igsid="1184527390664218",
        username="mila.tests",
        last_message_at=timezone.now(),
        last_inbound_at=timezone.now(),
        last_inbound_change=1,
        change=1,
    )


def sign(body: bytes, secret: str | None = None) -> str:
    secret = secret or django_settings.INSTAGRAM_APP_SECRETS[0]
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.fixture
def post_webhook(client):
    """Posts a signed body as Meta does; returns the response."""

    def post(body: bytes | dict, signature: str | None = None):
        if not isinstance(body, bytes):
            body = json.dumps(body, separators=(",", ":")).encode()
        return client.post(
            "/webhooks/instagram",
            data=body,
            content_type="application/json",
            headers={"X-Hub-Signature-256": sign(body) if signature is None else signature},
        )

    return post


@pytest.fixture
def deliver(post_webhook):
    """Delivers a recorded webhook by name, with `changes` to its message."""

    def deliver(name: str, **changes):
        body = json.loads((WEBHOOKS / f"{name}.json").read_text())
        body["entry"][0]["messaging"][0]["message"] |= changes
        response = post_webhook(body)
        assert response.status_code == 200
        return body

    return deliver


def work() -> None:
    """Let every queue run dry, as the worker does.

    But for the walk that begins a few seconds after connecting: it would settle what a test means
    to be open.
    """
    for queue in tasks.QUEUES:
        if queue is not history.sync:
            queue.run()


@pytest.fixture(scope="session")
def sandbox_server():
    with Sandbox(
        app_id=django_settings.INSTAGRAM_APP_ID,
        app_secret=",".join(django_settings.INSTAGRAM_APP_SECRETS),
        verify_token=django_settings.INSTAGRAM_VERIFY_TOKEN,
        control_token=CONTROL_TOKEN,
        redirect_uris=[CALLBACK],
    ) as sandbox:
        yield sandbox


@pytest.fixture
def instagram(sandbox_server, settings):
    """The offline Instagram, fresh, with the site pointed at it. It delivers no webhooks."""
    sandbox_server.reset()
    settings.INSTAGRAM_AUTHORIZE_URL = f"{sandbox_server.url}/oauth/authorize"
    settings.INSTAGRAM_TOKEN_URL = f"{sandbox_server.url}/oauth/access_token"
    settings.INSTAGRAM_GRAPH_URL = sandbox_server.url
    return Instagram(sandbox_server)


@pytest.fixture
def connected(instagram, user):
    """@luna.ceramics, connected by `user` through OAuth."""
    url = connecting.begin(user, "browser")
    return connecting.finish(user, "browser", instagram.consent(url)).account


@pytest.fixture
def open_conversation(instagram, connected):
    """A conversation in which the customer has just written."""
    said = instagram.say("Is it still available?")
    return Conversation.objects.create(
        account=connected,
        igsid=said["igsid"],
        username="mila.tests",
        last_message_at=timezone.now(),
        last_inbound_at=timezone.now(),
    )
