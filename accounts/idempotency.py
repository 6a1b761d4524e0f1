"""`Idempotency-Key`: a request that is sent again does its work once, and is answered alike.

The key's row, the work and its answer are one transaction: a crash before its commit leaves
nothing, one after it leaves the answer. Who comes with the same key meanwhile waits at the row.
"""

import hashlib
import json
from collections.abc import Callable

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from . import api_bodies, problems
from .api_access import caller
from .api_middleware import answer_headers, header
from .models import IdempotentRequest
from .problems import Problem

HEADER = "Idempotency-Key"
LONGEST = 255
KEPT_HEADERS = ("Location",)
LOCK_NOT_AVAILABLE = "55P03"

PARAMETER = {
    "in": "header",
    "name": HEADER,
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[!-~]+$"},
    "description": "Any value that is new for each wish, such as a UUID. Sent again within 24 "
    "hours with the same request, it gives the same answer and does nothing twice.",
}
"""For the OpenAPI document of an operation that uses once()."""


def once(request: HttpRequest, work: Callable[[], HttpResponse]) -> HttpResponse:
    """The answer of `work`, in JSON, done once for each Idempotency-Key of the caller.

    `work` is done wholly or not at all. With the header it runs in the transaction of the key's
    row: what it raises undoes it and is not kept, so the same key may be tried again. Others wait
    for it: do validate before, and let it call nobody outside.
    Raises Problem; OperationalError when the database is not free in time, which on SQLite is
    all that is known of somebody else who writes.
    """
    key = header(request, HEADER)
    if key is None:
        return work()
    if not 0 < len(key) <= LONGEST or not key.isascii() or not key.isprintable() or " " in key:
        text = f"1 to {LONGEST} printable ASCII characters, without blanks."
        raise problems.invalid(HEADER, text, "header")
    who = caller(request)
    fingerprints = _fingerprints(request, who, key)
    with transaction.atomic():
        row = _begin(who, key, fingerprints[0])
        if row is None:
            return _replay(request, who, key, fingerprints)
        answer = work()
        told = answer_headers(request)
        headers = {name: told[name] for name in KEPT_HEADERS if name in told}
        body = answer.content.decode()
        IdempotentRequest.objects.answer(row, answer.status_code, body, headers)
    return answer


def old() -> QuerySet[IdempotentRequest]:
    """What is older than the 24 hours for which answers are kept."""
    return IdempotentRequest.objects.filter(created_at__lt=timezone.now() - IdempotentRequest.KEPT)


def _begin(caller: str, key: str, fingerprint: str) -> int | None:
    """The row of this key, begun by this request; None when it holds an answer."""
    try:
        return IdempotentRequest.objects.begin(caller, key, fingerprint)
    except OperationalError as exc:
        if getattr(exc.__cause__, "sqlstate", "") != LOCK_NOT_AVAILABLE:
            raise
        raise _still_running() from None


def _replay(request: HttpRequest, caller: str, key: str, fingerprints: list[str]) -> HttpResponse:
    row = IdempotentRequest.objects.get(caller=caller, key=key)
    if row.fingerprint not in fingerprints:
        text = "It was used for another request within the last 24 hours. Take a new one."
        raise Problem(problems.KEY_REUSED, text)
    if row.status is None:
        raise _still_running()
    answer_headers(request).update({**row.headers, "Idempotency-Replayed": "true"})
    return api_bodies.answer(row.status, row.body)


def _still_running() -> Problem:
    text = "The first request with this Idempotency-Key has not ended. Ask again in a moment."
    return Problem(problems.STILL_RUNNING, text, headers={"Retry-After": "1"})


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
