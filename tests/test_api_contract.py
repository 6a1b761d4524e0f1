"""The API does what its own document says, whatever it is asked: no 500, nothing undeclared."""

import os

import pytest
import schemathesis
from django.core.files.base import ContentFile
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from accounts import api_keys
from accounts.models import Scope
from messaging import endpoints, history
from messaging.models import Attachment, Delivery, Message
from tests.waiting import free_port

pytestmark = pytest.mark.django_db

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "12"))
"""For each operation and mode; more by hand."""

ROUNDS = 10
"""Of so many examples each, in one of which an operation does what it is asked: in a single one all
may be of what no schema tells."""

NO_SCHEMA_TELLS = {
    "send_message": "how many bytes a text has, nor that there must be a text or a file",
    "react_to_message": "what an emoji is",
    "get_attachment": "how long a file is",
    "get_picture": "how long a file is",
    "add_webhook_endpoint": "what an address is, nor how many an account has",
    "change_webhook_endpoint": "what an address is",
    "replay_deliveries": "that all of them want a time, which ends after it begins",
}


NEVER_BY_CHANCE = {
    # Nobody guesses a password, nor the number of a key; and the file is here.
    "begin_session", "make_API_key_by_password", "get_api_key", "revoke_api_key",
    "fetch_attachment_again",
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_connection():
    """The site answers within the test's transaction, as Django's own test client sees to."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def document(settings):
    settings.API_RATE_LIMIT = 0
    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())


@pytest.fixture
def key(user, account):
    return api_keys.make(user, "CRM", scopes=Scope)[1]


@pytest.fixture
def real(conversation):
    """What operations find under these names, once chance has named something else."""
    now = timezone.now()
    message = Message.objects.create(
        account=conversation.account, conversation=conversation, direction="out", mid="mid.1",
        status="unconfirmed", text="Yes, it is", timestamp=now, due_at=None,
    )  # fmt: skip
    file = Attachment(message=message, kind="image", state="stored", content_type="image/png")
    file.file.save("contract.png", ContentFile(b"\x89PNG" * 100))
    conversation.picture_type = "image/png"
    conversation.picture.save("contract.png", ContentFile(b"\x89PNG" * 100))
    history.begin(conversation.account, history.Reason.ASKED)
    # Nobody listens there, and that is known at once.
    endpoint, _ = endpoints.add(conversation.account, f"http://127.0.0.1:{free_port()}/")
    delivery = Delivery.objects.create(
        endpoint=endpoint, conversation=conversation, message=message, state="failed",
        type="message.sent", body=b'{"type":"message.sent"}', due_at=None,
    )  # fmt: skip
    return {
        "account_id": conversation.account_id,
        "recipient_id": conversation.igsid,
        "conversation_id": conversation.pk,
        "message_id": message.public_id,
        "attachment_id": file.public_id,
        "emoji": "❤️",
        "endpoint_id": endpoint.public_id,
        "delivery_id": delivery.public_id,
        "url": endpoint.url,
    }


# Its way of calling the site leaves open what the site answers with a file.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("mode", GenerationMode)
def test_every_operation_answers_as_it_declares(document, key, real, mode):
    for found in document.get_all_operations():
        operation = found.ok()
        name = operation.definition.raw["operationId"]
        does_it = mode is GenerationMode.POSITIVE and name not in NEVER_BY_CHANCE
        for _ in range(ROUNDS if does_it else 1):
            with transaction.atomic():
                answered = ask_at_random(operation, name, mode, key, real)
                transaction.set_rollback(True)  # The next operation finds all that was there.
            if min(answered) < 400:
                break
        assert min(answered) < 400 or not does_it, f"{name} refuses all that its schema allows"


def ask_at_random(operation, name, mode, key, real) -> set[int]:
    """Fails when an answer is not as declared; returns the statuses that came."""
    answered = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=False,  # Hypothesis would try the same again in each round, where CI is set.
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        database=None,
    )
    def check(case):
        if mode is GenerationMode.POSITIVE:
            name_what_is_real(case, real)
        # No schema tells a cursor of ours from another text.
        is_beyond = "cursor" in case.query or name in NO_SCHEMA_TELLS
        response = case.call_and_validate(
            headers={"Authorization": f"Bearer {key}"},
            excluded_checks=[positive_data_acceptance] if is_beyond else [],
        )
        answered.add(response.status_code)

    check()
    return answered


def name_what_is_real(case, real) -> None:
    """Let it be about what is there, so that more than 404 is tried."""
    for place in (case.path_parameters, case.query, case.body):
        if isinstance(place, dict):
            place.update({name: real[name] for name in place.keys() & real.keys()})
