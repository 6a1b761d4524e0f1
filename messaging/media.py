"""Pictures and other files: fetched by the worker, kept under opaque names, deleted for good."""

import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import requests
from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import models, transaction
from django.utils import timezone

from . import media_policy, media_types, outbound_http
from .events import AttachmentEvent
from .models import Attachment, Conversation, FileToDelete, Message
from .queues import Drain, rest

logger = logging.getLogger(__name__)

MAX_BYTES = 25 * 1024 * 1024
SECONDS = 30
"""For one download, well below a lease."""

WAITS = [
    timedelta(seconds=20), timedelta(minutes=2), timedelta(minutes=10), timedelta(hours=1),
    timedelta(hours=6), timedelta(hours=24),
]  # fmt: skip
"""After each failure but the last."""

ATTEMPTS = len(WAITS) + 1
ATTEMPTS_IF_GONE = 4
"""While the server itself says that there is no such file."""

STORAGE_PAUSE = timedelta(minutes=5)
ORPHANED = timedelta(minutes=10)
"""How long a file may lie there without a row that names it; above every lease."""

BATCH = 20


class NotFetched(Exception):
    """It did not come this time. `is_gone` when the server says that it is not there."""

    def __init__(self, reason: str, *, is_gone: bool = False):
        super().__init__(reason)
        self.is_gone = is_gone


# --- Attachments ----------------------------------------------------------------------------------


def attachment(message: Message, position: int, event: AttachmentEvent) -> Attachment:
    """An unsaved attachment, due for download if its kind is one that we keep."""
    policy = media_policy.of(event.kind)
    state = Attachment.State.NOT_KEPT
    if policy.is_kept and event.url:
        is_old = (limit := _retention_limit()) is not None and message.timestamp < limit
        state = Attachment.State.EXPIRED if is_old else Attachment.State.PENDING
    return Attachment(
        message=message,
        position=position,
        kind=event.kind,
        url=event.url if policy.link_for else "",
        title=event.title,
        state=state,
        due_at=timezone.now() if state == Attachment.State.PENDING else None,
    )


@Drain
def fetch() -> int:
    """Download the next due attachment; returns how many there were."""
    claimed = Attachment.objects.claim(1)
    for one in claimed:
        _fetch(one)
    return len(claimed)


def try_again(one: Attachment) -> bool:
    """Somebody asks for a file once more. False when it is under way, kept or refused by now."""
    with transaction.atomic():
        change = one.message.conversation.next_change()
        failed = Attachment.objects.filter(
            pk=one.pk, state=Attachment.State.UNAVAILABLE, error=Attachment.NOT_FETCHED
        )
        if not failed.update(
            state=Attachment.State.PENDING, error="", due_at=timezone.now(), lease=None, attempts=0
        ):
            return False
        Message.objects.filter(pk=one.message_id).update(change=change)
        fetch.hint()
        return True


def forget(attachments: models.QuerySet[Attachment]) -> int:
    """Delete rows now, inside the caller's transaction, and their files after its commit.

    Returns how many files go. A kill in between loses none of them: each has a row of its own.
    """
    names = list(attachments.exclude(file="").values_list("file", flat=True))
    delete_later(names)
    attachments.delete()
    return len(names)


def old() -> models.QuerySet[Attachment]:
    """Stored files whose message is older than MEDIA_RETENTION_DAYS."""
    if (limit := _retention_limit()) is None:
        return Attachment.objects.none()
    stored = Attachment.objects.filter(state=Attachment.State.STORED)
    return stored.filter(message__timestamp__lt=limit)


def prune() -> int:
    """Let go of files that are `old`; returns how many."""
    stored = Attachment.objects.filter(state=Attachment.State.STORED)
    rows = old().order_by("pk").values_list("pk", "file")
    gone, last = 0, 0
    while batch := list(rows.filter(pk__gt=last)[:BATCH]):
        last = batch[-1][0]
        with transaction.atomic():
            delete_later(name for _, name in batch)
            # No page is told: nobody looks at a thread that is so old without opening it.
            gone += stored.filter(pk__in=[pk for pk, _ in batch]).update(
                state=Attachment.State.EXPIRED, file="", url="", content_type=""
            )
        rest()
    return gone


def _retention_limit() -> datetime | None:
    days = settings.MEDIA_RETENTION_DAYS
    return timezone.now() - timedelta(days=days) if days > 0 else None


def _fetch(one: Attachment) -> None:
    try:
        data = download(one.url, MAX_BYTES)
        if one.kind != "file" and media_types.is_page(data):
            raise NotFetched("a web page came in its place", is_gone=True)
    except outbound_http.Forbidden as exc:
        _settle(one, state=Attachment.State.UNAVAILABLE, error=f"Not fetched: {exc}.")
    except NotFetched as exc:
        logger.warning("attachment %s: not fetched (%s)", one.public_id, exc)
        _try_later(one, exc)
    else:
        _keep(one, data)


def _try_later(one: Attachment, exc: NotFetched) -> None:
    if one.attempts < (ATTEMPTS_IF_GONE if exc.is_gone else ATTEMPTS):
        due_at = timezone.now() + WAITS[one.attempts - 1]
        _settle(one, due_at=due_at, error=Attachment.NOT_FETCHED)
    else:
        _settle(one, state=Attachment.State.UNAVAILABLE, error=Attachment.NOT_FETCHED)


def _keep(one: Attachment, data: bytes) -> None:
    content_type, ending = media_types.of(data, one.kind)
    name = new_name("attachments", ending)
    try:
        marks = write({name: data})
    except Exception:  # The disk's or the database's: no fault of this file, nor of its server.
        due_at = timezone.now() + STORAGE_PAUSE
        one.settle(due_at=due_at, attempts=one.attempts - 1)
        Attachment.objects.due().update(due_at=due_at)  # The others would fare no better now.
        return
    changes = {"content_type": content_type, "file": name, "error": ""}
    if not _settle(one, marks, state=Attachment.State.STORED, **changes):
        abandon(marks)  # Another worker has it, or the message was taken back.


def _settle(one: Attachment, marks: Iterable[FileToDelete] = (), **changes: object) -> bool:
    """Record the outcome, if the row is still ours, and let open pages hear of it."""
    marks = list(marks)
    with transaction.atomic():
        conversation = Conversation.objects.filter(messages=one.message_id).first()
        change = conversation.next_change() if conversation else 0
        if len(adopt(marks)) < len(marks) or not one.settle(**changes):
            transaction.set_rollback(True)
            return False
        Message.objects.filter(pk=one.message_id).update(change=change)
        return True


# --- Downloads ------------------------------------------------------------------------------------


def download(url: str, limit: int) -> bytes:
    """What lies at `url`, on one of Instagram's file servers.

    Raises outbound_http.Forbidden when it must not be fetched, now or ever, and NotFetched.
    """
    deadline = time.monotonic() + SECONDS
    try:
        with outbound_http.get(url, allow=media_policy.is_file_host, until=deadline) as answer:
            answer.raise_for_status()
            data = bytearray()
            # What has come, however little: a larger unit would wait past the deadline.
            while chunk := answer.raw.read1(64 * 1024, decode_content=True):
                data += chunk
                if len(data) > limit:
                    raise outbound_http.Forbidden(f"it is larger than {limit // 1024**2} MB")
                if time.monotonic() > deadline:
                    raise NotFetched("it comes too slowly")
    except (outbound_http.Forbidden, NotFetched):
        raise
    except requests.HTTPError as exc:
        status = exc.response.status_code
        is_gone = 400 <= status < 500 and status not in (408, 425, 429)
        raise NotFetched(f"HTTP {status}", is_gone=is_gone) from None
    except Exception as exc:  # The network's, or what nobody thought of. It quotes the address.
        raise NotFetched(type(exc).__name__) from None
    if not data:
        raise NotFetched("it is empty", is_gone=True)
    return bytes(data)


# --- Files ----------------------------------------------------------------------------------------

_is_told = threading.Event()
"""The log knows that files cannot be stored."""

IS_FOLDER_WELL = "Is the disk full, or the folder not writable?"
IS_STORAGE_WELL = "Is it in reach, and do its options let the site write?"


def new_name(folder: str, ending: str) -> str:
    """A name that says nothing, and cannot be guessed from anything."""
    return f"{folder}/{secrets.token_hex(16)}.{ending}"


def write(files: Mapping[str, bytes | File]) -> list[FileToDelete]:
    """Store files that no row names yet, and return the marks that they carry.

    Each is marked to be deleted before it is written, and `adopt` takes the mark away: so
    whatever ends in between, a process or a connection, leaves no file behind.
    """
    due_at = timezone.now() + ORPHANED
    marks = FileToDelete.objects.bulk_create(
        FileToDelete(name=name, due_at=due_at) for name in files
    )
    try:
        for name, data in files.items():
            default_storage.save(name, ContentFile(data) if isinstance(data, bytes) else data)
    except Exception as exc:
        if not _is_told.is_set():
            _is_told.set()
            logger.error(
                "files cannot be stored in %s: %s. %s They are tried again; this is said once.",
                "MEDIA_STORAGE" if settings.MEDIA_STORAGE else "MEDIA_ROOT",
                trouble(exc),
                IS_STORAGE_WELL if settings.MEDIA_STORAGE else IS_FOLDER_WELL,
            )
        abandon(marks)
        raise
    if _is_told.is_set():
        _is_told.clear()
        logger.warning("files can be stored again")
    return marks


def trouble(exc: Exception) -> str:
    """What a storage refused, in few words: its own may quote a signed address, or a key."""
    answer = getattr(exc, "response", None)  # Of an object store, as boto3 hands it on.
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return getattr(exc, "strerror", None) or code or type(exc).__name__


def adopt(marks: Iterable[FileToDelete]) -> set[str]:
    """The names of the files that stay; inside the transaction in which rows name them."""
    if not (pks := [mark.pk for mark in marks]):
        return set()
    mine = FileToDelete.objects.filter(pk__in=pks)
    names = set(mine.values_list("name", flat=True))
    mine.delete()
    return names


def abandon(marks: Iterable[FileToDelete]) -> None:
    """These files are not wanted after all."""
    FileToDelete.objects.filter(pk__in=[mark.pk for mark in marks]).update(due_at=timezone.now())
    delete_files.hint()


def delete_later(names: Iterable[str]) -> None:
    """Delete files once the transaction in which their rows let them go is committed."""
    if FileToDelete.objects.bulk_create(FileToDelete(name=name) for name in names):
        delete_files.hint()


@Drain
def delete_files() -> int:
    """Delete a batch of files that nothing refers to any more; returns how many."""
    claimed = FileToDelete.objects.claim(BATCH)
    for one in claimed:
        try:
            default_storage.delete(one.name)
        except Exception as exc:  # Each storage raises its own.
            logger.warning("file %s: not deleted yet (%s)", one.name, trouble(exc))
            one.retry_later(timedelta(minutes=5))
        else:
            one.delete()
    return len(claimed)
