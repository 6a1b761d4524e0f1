"""`Idempotency-Key`: a request that is sent again does its work once, and is answered alike.

A row says that the work is under way, under a lease. The work and its answer are then one
transaction: a crash before its commit leaves nothing done, one after it leaves the answer, and
whoever lost the lease meanwhile does nothing.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac
from ninja import Schema, Status

from . import problems
from .api_access import caller
from .api_middleware import answer_headers
from .models import IdempotentRequest
from .problems import Problem

HEADER = "Idempotency-Key"
LONGEST = 255
LEASE = timedelta(seconds=60)
KEPT_HEADERS = ("Location",)

PARAMETER = {
    "in": "header",
    "name": HEADER,
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[!-~]+$"},
    "description": "Any value that is new for each wish, such as a UUID. Sent again within 24 "
    "hours with the same request, it gives the same answer and does nothing twice.",
}
"""For the OpenAPI document of an operation that uses once()."""


class LeaseLost(Exception):
    """It took so long that another request has taken over."""


def once(request: HttpRequest, work: Callable[[], Status]) -> Status:
    """The answer of `work`, done once for each Idempotency-Key of the caller.

    `work` runs in a transaction and returns a ninja Status of a Schema or of plain values; what
    it raises undoes it and is not kept, so the same key may be tried again. Do validate before:
    `work` keeps its transaction short. Without the header it is simply done.
    """
    key = request.headers.get(HEADER)
    if key is None:
        with transaction.atomic():
            return work()
    if not 0 < len(key) <= LONGEST or not key.isascii() or not key.isprintable() or " " in key:
        text = f"1 to {LONGEST} printable ASCII characters, without blanks."
        raise problems.invalid(HEADER, text, "header")
    who = caller(request)
    row, answer = _begin(who, key, _fingerprints(request, who, key))
    return _replay(request, row) if answer else _work(request, row, work)


def old() -> QuerySet[IdempotentRequest]:
    """What is older than the 24 hours for which answers are kept."""
    return IdempotentRequest.objects.filter(created_at__lt=timezone.now() - IdempotentRequest.KEPT)


def _begin(caller: str, key: str, fingerprints: list[str]) -> tuple[IdempotentRequest, bool]:
    """The row of this key, leased to this request; or the one that holds its answer."""
    now, lease = timezone.now(), uuid4()
    mine = {"fingerprint": fingerprints[0], "lease": lease, "leased_until": now + LEASE}
    row, is_new = IdempotentRequest.objects.get_or_create(caller=caller, key=key, defaults=mine)
    if is_new:
        return row, False
    if row.created_at < now - IdempotentRequest.KEPT and _take(row, created_at=now, **mine):
        return row, False
    if row.fingerprint not in fingerprints:
        text = "It was used for another request within the last 24 hours. Take a new one."
        raise Problem(problems.KEY_REUSED, text)
    if row.lease is None:
        return row, True
    if row.leased_until < now and _take(row, **mine):  # A crash: nothing of it was done.
        return row, False
    text = "The first request with this Idempotency-Key has not ended. Ask again in a moment."
    raise Problem(problems.STILL_RUNNING, text, headers={"Retry-After": "1"})


def _take(row: IdempotentRequest, **mine: Any) -> bool:
    """Take the row over from whoever has it, unless somebody else just did."""
    same = IdempotentRequest.objects.filter(pk=row.pk, lease=row.lease)
    if not same.update(status=None, body=None, headers={}, **mine):
        return False
    row.lease = mine["lease"]
    return True


def _work(request: HttpRequest, row: IdempotentRequest, work: Callable[[], Status]) -> Status:
    mine = IdempotentRequest.objects.filter(pk=row.pk, lease=row.lease)
    try:
        with transaction.atomic():
            answer = work()
            answer = Status(answer.status_code, _plain(answer.value))
            told = answer_headers(request)
            if not mine.update(
                lease=None,
                leased_until=None,
                status=answer.status_code,
                body=answer.value,
                headers={name: told[name] for name in KEPT_HEADERS if name in told},
            ):
                raise LeaseLost
    except LeaseLost:
        text = "It took too long, and the same request was begun again. Ask again in a moment."
        raise Problem(problems.STILL_RUNNING, text, headers={"Retry-After": "1"}) from None
    except BaseException:
        mine.delete()
        raise
    return answer


def _replay(request: HttpRequest, row: IdempotentRequest) -> Status:
    answer_headers(request).update({**row.headers, "Idempotency-Replayed": "true"})
    return Status(row.status, row.body)


def _plain(value: Any) -> Any:
    if isinstance(value, Schema):
        return value.model_dump(mode="json")
    return value


def _fingerprints(request: HttpRequest, caller: str, key: str) -> list[str]:
    """What tells this request from others: by the secret in use, and by those before it.

    It outlives the text that was asked to be sent, so whoever has the database alone must not
    find out by trying which that was: a salt beside it would not keep them.
    """
    asked = _asked(request)
    return [
        salted_hmac(f"{caller} {key}", asked, secret=secret, algorithm="sha256").hexdigest()
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]


def _asked(request: HttpRequest) -> str:
    """What was asked; a multipart body by its fields and files, since its boundary is random."""
    parts = [request.method, request.get_full_path()]
    if request.content_type == "multipart/form-data":
        parts += [[name, values] for name, values in sorted(request.POST.lists())]
        parts += [
            [name, [[file.name, file.content_type, _file_digest(file)] for file in files]]
            for name, files in sorted(request.FILES.lists())
        ]
    else:
        parts.append(hashlib.sha256(request.body).hexdigest())
    return json.dumps(parts)


def _file_digest(file) -> str:
    found = hashlib.sha256()
    for chunk in file.chunks():
        found.update(chunk)
    file.seek(0)
    return found.hexdigest()
