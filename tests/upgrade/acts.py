"""What the processes of these tests do; see tests.rotation.processes."""

import hashlib
import io
import json
from datetime import timedelta

from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import Account, ApiKey, Membership, User
from messaging import inbound
from messaging.models import CrmEndpoint, Delivery, FileToDelete, Message, Rule
from tests.running_site import PASSWORD


def contents() -> None:
    """What people and programs have here, by what it means; secrets as their digests."""
    told = {
        "tokens": {
            account.username: _digest(account.access_token.reveal())
            for account in Account.objects.filter(access_token__isnull=False)
        },
        "members": sorted(
            Membership.objects.values_list("account__username", "user__username", "role")
        ),
        "threads": _threads(),
        "rules": list(Rule.objects.values_list("name", "kind", "words", "text", "is_enabled")),
        "keys": sorted(ApiKey.objects.values_list("name", "user__username", "scopes")),
        "endpoints": {
            one.url: [_digest(one.secret.reveal()), _digest(one.previous_secret.reveal())]
            for one in CrmEndpoint.objects.filter(previous_secret__isnull=False)
        },
        "deliveries": [
            [delivery.endpoint.url, delivery.type, delivery.state, _digest(delivery.text),
             [attempt.status for attempt in delivery.log.all()]]
            for delivery in Delivery.objects.order_by("pk")
        ],
    }  # fmt: skip
    print(json.dumps(told))  # noqa: T201


def _threads() -> dict[str, list[dict]]:
    threads = {}
    for message in Message.objects.order_by("conversation", "timestamp", "pk"):
        thread = f"@{message.account.username} {message.conversation.igsid}"
        threads.setdefault(thread, []).append(
            {
                "direction": message.direction,
                "status": message.status,
                "text": message.text,
                "attachments": [one.kind for one in message.attachments.all()],
                "reactions": message.emoji(),
                "taken_back": message.unsent_at is not None,
            }
        )
    return threads


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def replay() -> None:
    """Read all that is in the ledger once more, and say what is there then."""
    call_command("replay_webhooks", "--all", stdout=io.StringIO())
    inbound.process.run()
    contents()


def pages() -> None:
    """What a browser is shown: path → HTML."""
    client = Client(SERVER_NAME="127.0.0.1")
    logged_in = client.post("/login", {"username": "mara", "password": PASSWORD})
    assert logged_in.status_code == 302, logged_in.content
    threads = [f"/conversations/{pk}/" for pk in Message.objects.values_list(
        "conversation", flat=True).order_by().distinct()]  # fmt: skip
    accounts = [f"/accounts/{pk}/" for pk in Account.objects.values_list("pk", flat=True)]
    logs = [f"{one.get_absolute_url()}deliveries/" for one in CrmEndpoint.objects.all()]
    shown = {}
    for path in ["/", "/accounts/", "/accounts/keys", *threads, *accounts, *logs]:
        answer = client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        shown[path] = answer.content.decode()
    print(json.dumps(shown))  # noqa: T201


def ask_api(key: str) -> None:
    """With a key whose time is not over: how old the database is makes no difference here."""
    ApiKey.objects.filter(revoked_at=None).update(expires_at=timezone.now() + timedelta(days=1))
    answer = Client(SERVER_NAME="127.0.0.1").get(
        "/api/v1/conversations", headers={"Authorization": f"Bearer {key}"}
    )
    print(json.dumps([answer.status_code, answer.json()]))  # noqa: T201


def fill_what_passes() -> None:
    """Rows that only a superuser makes, or that a worker deletes within moments."""
    group, permission = Group.objects.get(), Permission.objects.get(codename="view_message")
    group.permissions.add(permission)
    jan = User.objects.get(username="jan")
    jan.groups.add(group)
    jan.user_permissions.add(permission)
    FileToDelete.objects.create(name=f"attachments/{0:032}.jpg")
