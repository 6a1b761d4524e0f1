"""Who sent an account's events where, and when, can be read afterwards."""

import pytest
from django.db import DatabaseError, connection

from crypto.models import SecurityEvent
from messaging import endpoints
from messaging.models import CrmEndpoint

from .forwards import endpoint_to, forward, say

pytestmark = pytest.mark.django_db(transaction=True)


def recorded():
    events = SecurityEvent.objects.filter(kind__startswith="endpoint_").order_by("pk")
    return [(event.kind, event.details) for event in events]


def test_all_that_owners_do_to_an_endpoint_is_recorded_once(account, receiver):
    endpoint = endpoint_to(account, receiver)
    endpoints.change(endpoint, url=f"{receiver.url}/?key=open-sesame", events=["message.read"])
    secret = endpoints.rotate(endpoint)
    for act in (endpoints.disable, endpoints.enable, endpoints.delete):
        act(endpoint)
        act(endpoint)
    host = {"host": endpoint.host}
    assert recorded() == [
        ("endpoint_made", host),
        ("endpoint_changed", {**host, "before": endpoint.host, "events": ["message.read"]}),
        ("endpoint_rotated", host),
        ("endpoint_off", host),
        ("endpoint_on", host),
        ("endpoint_deleted", host),
    ]
    everything = str(list(SecurityEvent.objects.values()))
    assert f"endpoint {endpoint.public_id} of account {account.pk}" in everything
    assert not [one for one in (secret, endpoint.plain, "open-sesame") if one in everything]


def test_so_is_one_that_this_site_switched_off_and_why(account, receiver, conversation):
    endpoint_to(account, receiver)
    receiver.answers = [410]
    say(conversation)
    forward()
    kind, details = recorded()[-1]
    assert kind == "endpoint_off"
    assert "410" in details["reason"]


def test_nothing_is_done_without_its_record(account, receiver):
    endpoint = endpoint_to(account, receiver)
    before = CrmEndpoint.objects.values().get()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE security_events RENAME TO elsewhere")
    try:
        for act in (endpoints.rotate, endpoints.disable, endpoints.delete):
            with pytest.raises(DatabaseError, match="security_events"):
                act(endpoint)
        with pytest.raises(DatabaseError, match="security_events"):
            endpoints.add(account, receiver.url)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO security_events")
    after = CrmEndpoint.objects.values().get()
    assert {k: str(v) for k, v in after.items()} == {k: str(v) for k, v in before.items()}
