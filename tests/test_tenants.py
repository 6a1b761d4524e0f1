"""Nobody reaches what is another tenant's: every route, by session and by API key.

The table below holds every route of the site; one that is new fails the first test until it is
entered here.
"""

import json
import re
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from accounts import api_keys
from accounts.models import Account, ApiKey, Invitation, Membership, Role, Scope, User
from messaging import endpoints, history
from messaging.models import (
    Attachment,
    Conversation,
    CrmEndpoint,
    Delivery,
    DeliveryAttempt,
    HistorySync,
    Message,
    Rule,
    SenderAction,
)

pytestmark = pytest.mark.django_db

API = "api/v1/"
FORWARDING = "accounts/<slug:pk>/forwarding/<slug:endpoint_id>"
THEIR_FORWARDING = "accounts/{account}/forwarding/{endpoint}"

FOREIGN = {
    # Route: the path, with something of another tenant in it.
    "conversations/<int:pk>/": "conversations/{conversation}/",
    "conversations/<int:pk>/reply": "conversations/{conversation}/reply",
    "conversations/<int:pk>/updates": "conversations/{conversation}/updates",
    "conversations/<int:pk>/typing": "conversations/{conversation}/typing",
    "conversations/<int:pk>/picture": "conversations/{conversation}/picture",
    "messages/<slug:public_id>/reaction": "messages/{message}/reaction",
    r"messages/(?P<public_id>msg_\w+)/(?P<outcome>arrived|not-arrived)": (
        "messages/{message}/not-arrived"
    ),
    "media/<slug:public_id>": "media/{attachment}",
    "media/<slug:public_id>/again": "media/{attachment}/again",
    "accounts/<slug:pk>/": "accounts/{account}/",
    "accounts/<slug:pk>/delete": "accounts/{account}/delete",
    "accounts/<slug:pk>/disconnect": "accounts/{account}/disconnect",
    "accounts/<slug:pk>/health": "accounts/{account}/health",
    "accounts/<slug:pk>/history": "accounts/{account}/history",
    "accounts/<slug:pk>/invite": "accounts/{account}/invite",
    "accounts/<slug:pk>/leave": "accounts/{account}/leave",
    "accounts/<slug:pk>/reconnect": "accounts/{account}/reconnect",
    "accounts/<slug:pk>/subscribe": "accounts/{account}/subscribe",
    "accounts/keys/<int:pk>/revoke": "accounts/keys/{key}/revoke",
    r"conversations/(?P<pk>\d{1,18})/automation/(?P<state>on|paused)": (
        "conversations/{conversation}/automation/paused"
    ),
    "accounts/<slug:pk>/rules": "accounts/{account}/rules",
    "accounts/<slug:pk>/rules/new": "accounts/{account}/rules/new",
    "accounts/<slug:pk>/rules/settings": "accounts/{account}/rules/settings",
    # These show every tenant's, to superusers.
    "setup/": "setup/",
    "setup/verify-token": "setup/verify-token",
    "rules/<int:pk>/": "rules/{rule}/",
    "rules/<int:pk>/delete": "rules/{rule}/delete",
    r"rules/(?P<pk>\d{1,18})/(?P<state>on|off)": "rules/{rule}/off",
    r"rules/(?P<pk>\d{1,18})/(?P<direction>up|down)": "rules/{rule}/up",
    "accounts/<slug:pk>/forwarding/": "accounts/{account}/forwarding/",
    f"{FORWARDING}/": f"{THEIR_FORWARDING}/",
    **{
        f"{FORWARDING}/{act}": f"{THEIR_FORWARDING}/{act}"
        for act in ("enable", "disable", "rotate", "end-overlap", "test", "replay", "deliveries/")
    },
    f"{FORWARDING}/deliveries/<slug:delivery_id>/": f"{THEIR_FORWARDING}/deliveries/{{delivery}}/",
    f"{FORWARDING}/deliveries/<slug:delivery_id>/replay": (
        f"{THEIR_FORWARDING}/deliveries/{{delivery}}/replay"
    ),
    f"{FORWARDING}/delete": f"{THEIR_FORWARDING}/delete",
    f"{API}accounts/<account_id>": f"{API}accounts/{{account}}",
    f"{API}accounts/<account_id>/sync": f"{API}accounts/{{account}}/sync",
    f"{API}accounts/<account_id>/delete-permanently": (
        f"{API}accounts/{{account}}/delete-permanently"
    ),
    f"{API}api-keys/<key_id>": f"{API}api-keys/{{key}}",
    f"{API}attachments/<attachment_id>": f"{API}attachments/{{attachment}}",
    f"{API}attachments/<attachment_id>/again": f"{API}attachments/{{attachment}}/again",
    f"{API}conversations/<conversation_id>": f"{API}conversations/{{conversation}}",
    f"{API}conversations/<conversation_id>/messages": (
        f"{API}conversations/{{conversation}}/messages"
    ),
    f"{API}conversations/<conversation_id>/picture": f"{API}conversations/{{conversation}}/picture",
    f"{API}conversations/<conversation_id>/read": f"{API}conversations/{{conversation}}/read",
    f"{API}conversations/<conversation_id>/seen": f"{API}conversations/{{conversation}}/seen",
    f"{API}conversations/<conversation_id>/typing": f"{API}conversations/{{conversation}}/typing",
    f"{API}deliveries/<delivery_id>": f"{API}deliveries/{{delivery}}",
    f"{API}deliveries/<delivery_id>/replay": f"{API}deliveries/{{delivery}}/replay",
    f"{API}messages/<message_id>": f"{API}messages/{{message}}",
    f"{API}messages/<message_id>/reaction": f"{API}messages/{{message}}/reaction",
    f"{API}messages/<message_id>/settle": f"{API}messages/{{message}}/settle",
    f"{API}messages/<message_id>/status": f"{API}messages/{{message}}/status",
    f"{API}webhook-endpoints/<endpoint_id>": f"{API}webhook-endpoints/{{endpoint}}",
    **{
        f"{API}webhook-endpoints/<endpoint_id>/{act}": f"{API}webhook-endpoints/{{endpoint}}/{act}"
        for act in ("secret", "previous-secret", "test", "replay")
    },
}

BODIES = {
    # What the API wants beside the path, so that it is not refused for lack of it.
    f"{API}accounts/{{account}}": {"status": "disconnected"},
    f"{API}conversations/{{conversation}}": {"automation": "paused"},
    f"{API}messages/{{message}}/reaction": {"emoji": "❤️"},
    f"{API}messages/{{message}}/settle": {"arrived": True},
    f"{API}webhook-endpoints/{{endpoint}}": {"is_enabled": False},
    f"{API}webhook-endpoints/{{endpoint}}/replay": {"which": "failed"},
}

ELSEWHERE = [
    # Something of another tenant, named in the query or the body.
    ("get", "?account={account}", None),
    ("get", "updates?account={account}", None),
    ("get", f"{API}conversations?account_id={{account}}", None),
    ("post", f"{API}messages/send", {"account_id": "{account}", "recipient_id": "{igsid}",
                                     "message": "Hello"}),
    ("get", f"{API}webhook-endpoints?account_id={{account}}", None),
    ("get", f"{API}deliveries?endpoint_id={{endpoint}}", None),
    ("post", f"{API}webhook-endpoints", {"account_id": "{account}", "url": "https://crm.example"}),
    ("post", f"{API}api-keys", {"name": "CRM", "account_ids": ["{account}"]}),
]  # fmt: skip

OWN = {
    # These show everybody their own.
    "", "updates", "accounts/", "accounts/keys", f"{API}accounts", f"{API}accounts/me",
    f"{API}api-keys", f"{API}conversations", f"{API}deliveries", f"{API}webhook-endpoints",
}  # fmt: skip

NOBODYS = {
    # Nothing of a tenant is behind these, or only for who holds a secret that the path carries.
    "login", "logout", "password/change", "password/change/done", "password/reset",
    "password/reset/sent", "password/reset/<uidb64>/<token>", "password/reset/done",
    "accounts/connect", "accounts/invitation", "accounts/invitations/<slug:secret>",
    "oauth/instagram/callback", "oauth/instagram/deauthorize", "oauth/instagram/data-deletion",
    "oauth/instagram/data-deletion/<slug:code>", "webhooks/instagram",
    "media/offered/<str:token>", "livez", "readyz", "health", "metrics",
    API, f"{API}auth/session", f"{API}auth/token", f"{API}docs", f"{API}messages/send",
    f"{API}openapi.json",
}  # fmt: skip

REFUSED = {403, 404, 405}
METHODS = ("get", "post", "put", "patch", "delete")
WATCHED = (
    Account, ApiKey, Attachment, Conversation, CrmEndpoint, Delivery, DeliveryAttempt, HistorySync,
    Invitation, Membership, Message, Rule, SenderAction,
)  # fmt: skip


@pytest.fixture
def theirs(user, account, conversation):
    """One of everything that a tenant has, under the names that the table uses."""
    message = Message.objects.create(
        account=account, conversation=conversation, direction="out", status="unconfirmed",
        text="The blue one is yours", mid="mid.1", timestamp=timezone.now(), due_at=None,
    )  # fmt: skip
    attachment = Attachment(message=message, kind="image", state="stored", due_at=None)
    attachment.content_type = conversation.picture_type = "image/png"
    attachment.file.save("cup.png", ContentFile(b"\x89PNG"))
    conversation.picture.save("mila.png", ContentFile(b"\x89PNG"))
    history.begin(account, history.Reason.ASKED)
    key, _ = api_keys.make(user, "Bottega CRM", scopes=Scope)
    endpoint, _ = endpoints.add(account, "https://bottega-crm.example/hook")
    delivery = Delivery.objects.create(
        endpoint=endpoint, conversation=conversation, message=message, state="failed",
        type="message.sent", body=b'{"type":"message.sent"}', due_at=None,
    )  # fmt: skip
    delivery.log.create(url=endpoint.url, started_at=timezone.now(), duration=timedelta(seconds=1))
    return {
        "account": account.pk,
        "conversation": conversation.pk,
        "igsid": conversation.igsid,
        "message": message.public_id,
        "attachment": attachment.public_id,
        "key": key.pk,
        "endpoint": endpoint.public_id,
        "delivery": delivery.public_id,
        "rule": Rule.objects.create(account=account, name="Bottega hours", text="Later").pk,
    }


@pytest.fixture
def other_account():
    return Account.objects.create(instagram_account_id="17841499", username="other.shop")


@pytest.fixture
def callers(user, stranger, other_account, theirs):
    """Who must not get in: another tenant, by session and key, and a key limited to elsewhere."""
    for one in (user, stranger):
        Membership.objects.create(user=one, account=other_account, role=Role.OWNER)
    session = Client()
    session.force_login(stranger)
    _, key = api_keys.make(stranger, "Other CRM", scopes=Scope)
    _, limited = api_keys.make(user, "Limited", scopes=Scope, accounts=[other_account])
    by_key, by_limited = (
        Client(headers={"authorization": f"Bearer {secret}"}) for secret in (key, limited)
    )
    return {"session": session, "key": by_key, "limited key": by_limited}


@pytest.fixture(autouse=True)
def no_limit(settings):
    settings.API_RATE_LIMIT = 0


def routes(resolver=None, prefix=""):
    """The whole URL map, but for the admin's."""
    for entry in (resolver or get_resolver()).url_patterns:
        route = re.sub(r"\^|\$", "", prefix + str(entry.pattern))
        if route == "admin/":
            continue
        if hasattr(entry, "url_patterns"):
            yield from routes(entry, route)
        else:
            yield route


def filled(template, theirs):
    """With something of another tenant in each place of a path or a body."""
    if isinstance(template, str):
        return template.format(**theirs)
    return json.loads(re.sub(r"\{(\w+)\}", lambda m: str(theirs[m[1]]), json.dumps(template)))


def call(client, method, path, body=None):
    options = {"data": json.dumps(body)} if body and method != "get" else {}
    return getattr(client, method)(f"/{path}", content_type="application/json", **options)


def everything():
    """All that must stay as it is; sealed values as they stand in the column."""
    return [
        {name: getattr(value, "ciphertext", value) for name, value in row.items()}
        for model in WATCHED
        for row in model.objects.order_by("pk").values()
    ]


def test_every_route_is_in_the_table():
    assert {*FOREIGN} | OWN | NOBODYS == set(routes())


@pytest.mark.parametrize("who", ["session", "key", "limited key"])
def test_what_is_anothers_is_not_there_and_stays_as_it_is(callers, who, theirs, user):
    client = callers[who]
    ApiKey.objects.update(last_used_at=timezone.now())
    before = everything()
    for route, template in FOREIGN.items():
        if who != "session" and not route.startswith(API):
            continue  # The pages know no keys.
        path, body = filled(template, theirs), BODIES.get(template)
        for method in METHODS:
            answer = call(client, method, path, body)
            assert answer.status_code in REFUSED, (method, path, answer.status_code)
    for method, template, body in ELSEWHERE:
        if who == "session" or template.startswith(API):
            answer = call(client, method, filled(template, theirs), body and filled(body, theirs))
            assert answer.status_code in REFUSED, (method, template, answer.status_code)
    assert everything() == before


@pytest.mark.parametrize("who", ["session", "key", "limited key"])
def test_lists_show_nothing_of_another(callers, who, theirs):
    for route in OWN:
        if who != "session" and not route.startswith(API):
            continue
        answer = callers[who].get(f"/{route}")
        if who == "limited key" and route == f"{API}api-keys":
            assert answer.json()["api_keys"] == []
            continue
        assert answer.status_code == 200, route
        for secret in (
            "luna.ceramics",
            "mila.tests",
            "The blue one",
            "Bottega CRM",
            theirs["igsid"],
            theirs["endpoint"],
            theirs["delivery"],
        ):
            assert secret not in answer.text, (route, secret)


def test_all_of_it_is_there_for_who_owns_it(user, theirs):
    """Otherwise the tests above would prove nothing."""
    user.is_superuser = user.is_staff = True  # For the pages that are for these alone.
    user.save()
    session, (_, secret) = Client(), api_keys.make(user, "Everything", scopes=Scope)
    session.force_login(user)
    key = Client(headers={"authorization": f"Bearer {secret}"})
    for route, template in FOREIGN.items():
        client = key if route.startswith(API) else session
        answer = call(client, "get", filled(template, theirs))
        if answer.streaming:
            list(answer)  # Closes the file.
        assert answer.status_code in (200, 204, 405), (template, answer.status_code)


def test_the_admin_is_closed_to_everybody_but_superusers(callers, theirs):
    names = [
        f"admin/{model._meta.app_label}/{model._meta.model_name}/{rest}"
        for model in (*WATCHED, User)
        for rest in ("", "add/", f"{model.objects.values_list('pk', flat=True).first()}/change/")
    ]
    names += ["admin/", "admin/crypto/secret/", "admin/crypto/securityevent/export/"]
    for who in ("session", "key"):
        for name in names:
            for method in ("get", "post"):
                answer = call(callers[who], method, name)
                is_sent_away = answer.status_code == 302 and "/login" in answer.headers["Location"]
                assert is_sent_away or answer.status_code in REFUSED, (name, answer.status_code)
