"""What CRMs are told: payloads, written down as deliveries in the transaction of the change."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account

from . import forwarding
from .models import TEST, Attachment, Conversation, CrmEndpoint, Delivery, EventType, Message

LARGEST = 20_000
"""Bytes of a body; what would be longer tells less."""

TEXT, WORD = 4_000, 1_000
"""Characters of a text, and of what a payload or a story's address may have."""


CAME = (EventType.RECEIVED, EventType.SENT)
"""What is told of a message first, and once."""


class News(NamedTuple):
    """Something that happened in a conversation. `at` is when, `more` what only this type has."""

    type: EventType
    conversation: Conversation
    message: Message | None = None
    at: datetime | None = None
    more: dict[str, Any] = {}


def tell(news: Iterable[News]) -> None:
    """Write down what the endpoints of these accounts shall be told.

    Belongs into the transaction of the change, while its conversation is locked: so the rows are
    in the order in which things happened. One query when nobody listens.
    """
    if not (news := list(news)):
        return
    listening = _listening({one.conversation.account_id for one in news})
    wanted = [
        (one, [e for e in listening[one.conversation.account_id] if e.wants(one.type)])
        for one in news
    ] if listening else []  # fmt: skip
    wanted = [(one, endpoints) for one, endpoints in wanted if endpoints]
    if not wanted:
        return
    attachments = _attachments([one.message for one, _ in wanted if one.message])
    rows = []
    for one, endpoints in wanted:
        at = one.at or (one.message.timestamp if one.type in CAME else timezone.now())
        body = _body(one.type, at, _about(one, attachments) | one.more)
        rows += [
            Delivery(
                endpoint=endpoint,
                type=one.type,
                conversation=one.conversation,
                message=one.message,
                order_key=one.conversation.pk,
                body=body,
            )
            for endpoint in endpoints
        ]
    # The answer to a send, and its echo: whichever is first has told it.
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)
    forwarding.forward.hint()


def came(message: Message, conversation: Conversation | None = None) -> News:
    """A message is here, or with the customer."""
    kind = EventType.SENT if message.is_out else EventType.RECEIVED
    return News(kind, conversation or message.conversation, message)


def failed(message: Message) -> News:
    return News(EventType.FAILED, message.conversation, message, more={"error": message.error})


def look_at_accounts() -> None:
    """Tell of accounts whose status is another than the one that was last told.

    The status is computed, so nothing says when it changes. Two workers may both look: the row of
    the endpoint decides who tells.
    """
    endpoints = CrmEndpoint.objects.listening().select_related("account")
    for endpoint in endpoints.defer("secret", "previous_secret"):
        status = str(endpoint.account.status)
        if status == endpoint.status_told:
            continue
        with transaction.atomic():
            seen = CrmEndpoint.objects.filter(pk=endpoint.pk, status_told=endpoint.status_told)
            if seen.update(status_told=status) and endpoint.wants(EventType.STATUS):
                _write_alone(endpoint, EventType.STATUS, _about_account(endpoint.account))


def test(endpoint: CrmEndpoint) -> Delivery:
    """What the test button sends; not written for a worker to find."""
    body = _body(TEST, timezone.now(), {"account_id": endpoint.account_id, "text": "It works."})
    return Delivery(endpoint=endpoint, type=TEST, body=body, is_out_of_order=True, due_at=None)


def _listening(accounts: set[str]) -> dict[str, list[CrmEndpoint]]:
    found: dict[str, list[CrmEndpoint]] = defaultdict(list)
    rows = CrmEndpoint.objects.listening().filter(account__in=accounts)
    for endpoint in rows.only("account_id", "events"):
        found[endpoint.account_id].append(endpoint)
    return found


def _attachments(messages: list[Message]) -> dict[int, list[Attachment]]:
    found: dict[int, list[Attachment]] = defaultdict(list)
    for one in Attachment.objects.filter(message__in=messages).order_by("position"):
        found[one.message_id].append(one)
    return found


def _write_alone(endpoint: CrmEndpoint, kind: EventType, data: dict[str, Any]) -> None:
    Delivery.objects.create(endpoint=endpoint, type=kind, body=_body(kind, timezone.now(), data))
    forwarding.forward.hint()


# --- Payloads -------------------------------------------------------------------------------------


def _body(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    body = _encode(kind, at, data)
    if len(body) > LARGEST:
        body = _encode(kind, at, _thinned(data))
    return body


def _encode(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    payload = {"type": str(kind), "timestamp": _moment(at), "data": data}
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def _thinned(data: dict[str, Any]) -> dict[str, Any]:
    """The same without what can be asked for."""
    attachments = [{"kind": one["kind"], "path": one["path"]} for one in data["attachments"]]
    return data | {
        "text": data["text"][: TEXT // 8], "attachments": attachments, "context": {},
        "is_shortened": True,
    }  # fmt: skip


def _about(news: News, attachments: dict[int, list[Attachment]]) -> dict[str, Any]:
    conversation, message = news.conversation, news.message
    data = {
        "account_id": conversation.account_id,
        "conversation_id": conversation.pk,
        "participant": {
            "igsid": conversation.igsid,
            "username": conversation.username,
            "name": conversation.name,
        },
    }
    if message is None:
        return data
    data |= {"message_id": message.public_id, "mid": message.mid, "direction": message.direction}
    if news.type == EventType.DELETED:
        return data
    is_long = len(message.text) > TEXT
    return data | {
        "text": message.text[:TEXT],
        **({"is_shortened": True} if is_long else {}),
        "sent_at": None if news.type == EventType.FAILED else _moment(message.timestamp),
        "is_from_here": message.is_from_here,
        "attachments": [_attachment(one) for one in attachments[message.pk]],
        "context": {name: _shortened(value) for name, value in message.context.items()
                    if name in ("reply_to", "story", "referral", "payload")},
    }  # fmt: skip


def _attachment(one: Attachment) -> dict[str, str]:
    # A program has a key for the API, and no login for the pages.
    path = reverse("api:attachment", args=[one.public_id])
    return {"kind": one.kind, "title": one.title[:200], "path": path}


def _about_account(account: Account) -> dict[str, Any]:
    ends = account.token_expires_at
    return {
        "account_id": account.pk,
        "instagram_account_id": account.instagram_account_id,
        "username": account.username,
        "status": str(account.status),
        "reason": account.problem_reason,
        "token_expires_at": ends and _moment(ends),
    }


def _shortened(value: Any) -> Any:
    return value[:WORD] if isinstance(value, str) else value


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
