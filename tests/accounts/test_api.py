"""The API's manners: who is let in, and what a refusal looks like."""

import json

import pytest

from accounts import api_keys
from accounts.models import Scope


@pytest.fixture
def key(user):
    return api_keys.make(user, "CRM", scopes=Scope)[1]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_opens_what_its_user_sees(client, account, key):
    response = client.get("/api/v1/accounts", headers=bearer(key))
    assert response.status_code == 200
    assert [a["account_id"] for a in response.json()["accounts"]] == [account.pk]
    assert "Token" not in response.text


def test_without_credentials_the_answer_says_what_to_send(client):
    response = client.get("/api/v1/accounts")
    assert response.status_code == 401
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.json()["reason"] == "missing"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/api/v1/nothing", 404),
        ("get", "/api/", 404),
        ("get", "/api/v1/accounts?limit=%00", 400),
        ("put", "/api/v1/accounts", 405),
    ],
)
def test_every_refusal_has_one_shape(client, method, path, status):
    response = getattr(client, method)(path)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(response.content)
    assert problem["type"].startswith("urn:instamsg:problem:")
    assert problem["status"] == status
    assert {"title", "detail", "instance"} <= problem.keys()


def test_the_document_names_every_refusal(client):
    document = client.get("/api/v1/openapi.json").json()
    listing = document["paths"]["/api/v1/accounts"]["get"]
    assert {"401", "403", "429", "500"} <= listing["responses"].keys()
    assert set(document["components"]["securitySchemes"]) == {"BearerAuth", "SessionCookie"}
