"""Receivers for what is forwarded, and what the tests of the API's messages share."""

import json

import pytest

from accounts import api_keys
from accounts.models import Scope
from tests.accounts.test_api import V1, bearer
from tests.receiver import Receiver


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def other_receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def key(user):
    return api_keys.make(user, "CRM", scopes=Scope)[1]


@pytest.fixture
def ask(client, key):
    """Calls the API with a key that may do everything; a body goes as JSON."""

    def ask(method, path, body=None, **headers):
        options = {"headers": bearer(key) | headers}
        if body is not None:
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(client, method)(V1 + path, **options)

    return ask
