import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, ConnectAttempt, Invitation, User
from crypto.keyring import KeyRing
from messaging import outbox
from messaging.models import (
    Attachment,
    Message,
    Rule,
    RuleSettings,
    SenderAction,
    SendingPace,
    WebhookEvent,
)

pytestmark = pytest.mark.django_db

OURS = [
    model for app in ("accounts", "messaging") for model in apps.get_app_config(app).get_models()
]


@pytest.fixture
def rows(account, conversation, user):
    """One row of everything, so that every list and form has something to show."""
    message = outbox.queue_reply(conversation, "Yes")
    SendingPace.objects.create(account=account)
    SenderAction.objects.create(conversation=conversation, kind="typing_on")
    Attachment.objects.create(message=message, kind="image", state="stored", due_at=None)
    WebhookEvent.objects.create(body=b"\xff\x00not json")
    Rule.objects.create(account=account, name="Greeting", kind="any", text="Hello")
    RuleSettings.objects.create(account=account)
    Invitation.issue(Invitation.LIFETIME, account=account, invited_by=user)
    ConnectAttempt.issue(ConnectAttempt.LIFETIME, user=user, browser="x")
    return account


def test_every_model_is_registered():
    assert [m.__name__ for m in OURS if not admin.site.is_registered(m)] == []
    for model in OURS:
        options = admin.site.get_model_admin(model)
        assert options.search_fields, model
        assert options.list_filter, model
        assert len(options.list_display) > 2, model


@pytest.mark.parametrize("ring", ["right key", "wrong key"])
@pytest.mark.parametrize("model", OURS, ids=lambda m: m.__name__)
def test_lists_and_forms_open_with_and_without_the_key(rows, admin_client, settings, model, ring):
    ciphertext = rows.access_token.ciphertext
    if ring == "wrong key":
        settings.KEYRING = KeyRing("another-S3cret-that-opens-nothing-here-99")
        admin_client.force_login(User.objects.get(is_superuser=True))
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    pages = [reverse(f"{name}_changelist"), f"{reverse(f'{name}_changelist')}?q=x"]
    pages += [
        # The admin's own way to write a key into an address: it reads "_25" as a sign.
        reverse(f"{name}_change", args=[quote(pk)])
        for pk in model.objects.values_list("pk", flat=True)
    ]
    for url in pages:
        response = admin_client.get(url)
        assert response.status_code == 200, url
        html = response.content.decode()
        assert "IGAATest" not in html
        assert ciphertext not in html


def test_only_superusers_come_in(client, user, rows):
    user.is_staff = True
    user.save()
    client.force_login(user)
    assert client.get("/admin/").status_code == 302
    assert client.get("/admin/accounts/account/").status_code == 302


@pytest.mark.parametrize("is_empty", [0, 1])
def test_accounts_can_be_filtered_by_whether_a_token_is_stored(rows, admin_client, is_empty):
    url = reverse("admin:accounts_account_changelist")
    html = admin_client.get(url, {"access_token__isempty": is_empty}).content.decode()
    assert (rows.pk in html) is not bool(is_empty)


def test_what_instagram_wrote_cannot_be_changed_there(rows, admin_client):
    before = Account.objects.values().get()
    url = reverse("admin:accounts_account_change", args=[quote(rows.pk)])
    no_members = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    admin_client.post(url, {"username": "evil", "access_token": "evil"} | no_members)
    after = Account.objects.values().get()
    assert after["username"] == before["username"]
    message = Message.objects.get()
    url = reverse("admin:messaging_message_change", args=[message.pk])
    assert admin_client.post(url, {"text": "evil"}).status_code == 403


def test_lists_cost_the_same_queries_for_few_rows_and_many(
    rows, admin_client, django_assert_max_num_queries
):
    Message.objects.bulk_create(
        Message(account=rows, conversation=rows.conversations.get(), direction="in",
                status="received", mid=str(n), timestamp=timezone.now(), due_at=None)
        for n in range(60)
    )  # fmt: skip
    with django_assert_max_num_queries(12):
        admin_client.get(reverse("admin:messaging_message_changelist"))
