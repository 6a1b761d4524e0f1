"""Pictures and other files: fetched by the worker, kept under opaque names, served to members."""

import logging
import time
from datetime import timedelta
from urllib.parse import SplitResult, urlsplit

import requests
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import models, transaction
from django.utils import timezone

from . import outbound_http
from .models import Attachment, FileToDelete, Message
from .queues import Drain
from .wire import AttachmentEvent

logger = logging.getLogger(__name__)

MAX_BYTES = 25 * 1024 * 1024
SECONDS = 30
"""For one download, well below a lease."""

ATTEMPTS = 4
BATCH = 20
KEPT = {"image", "video", "audio", "file", "sticker"}
"""What customers send themselves. Stories and shared posts are others' work: never stored."""

HOSTS = (".fbsbx.com", ".cdninstagram.com", ".fbcdn.net", ".giphy.com")

SIGNATURES = [
    (b"\x89PNG\r\n\x1a\n", 0, "image/png", "png"),
    (b"\xff\xd8\xff", 0, "image/jpeg", "jpg"),
    (b"GIF8", 0, "image/gif", "gif"),
    (b"WEBP", 8, "image/webp", "webp"),
    (b"ftyp", 4, "video/mp4", "mp4"),
    (b"OggS", 0, "audio/ogg", "ogg"),
    (b"%PDF-", 0, "application/pdf", "pdf"),
]
"""Magic bytes, where they stand, and what they tell. Nothing else is believed."""


def attachment(message: Message, position: int, event: AttachmentEvent) -> Attachment:
    """An unsaved attachment, due for download if its kind is one that we keep."""
    is_kept = bool(event.url) and event.kind in KEPT
    return Attachment(
        message=message,
        position=position,
        kind=event.kind,
        url=event.url,
        title=event.title,
        state=Attachment.State.PENDING if is_kept else Attachment.State.NOT_KEPT,
        due_at=timezone.now() if is_kept else None,
    )


def forget(attachments: models.QuerySet[Attachment]) -> int:
    """Delete rows now, inside the caller's transaction, and their files after its commit.

    Returns how many files go. A kill in between loses none of them: each has a row of its own.
    """
    names = list(attachments.exclude(file="").values_list("file", flat=True))
    FileToDelete.objects.bulk_create(FileToDelete(name=name) for name in names)
    attachments.delete()
    if names:
        delete_files.hint()
    return len(names)


@Drain
def delete_files() -> int:
    """Delete a batch of files that nothing refers to any more; returns how many."""
    claimed = FileToDelete.objects.claim(BATCH)
    for one in claimed:
        try:
            default_storage.delete(one.name)
        except OSError as exc:
            logger.warning("file %s: not deleted yet (%s)", one.name, type(exc).__name__)
            one.retry_later(timedelta(minutes=5))
        else:
            one.delete()
    return len(claimed)


@Drain
def fetch() -> int:
    """Download the next due attachment; returns how many there were."""
    claimed = Attachment.objects.claim(1)
    for one in claimed:
        _fetch(one)
    return len(claimed)


def _fetch(one: Attachment) -> None:
    try:
        data = _download(one.url)
        _keep(one, data)
    except outbound_http.Forbidden as exc:
        _settle(one, state=Attachment.State.UNAVAILABLE, error=str(exc))
    except Exception as exc:  # The network's, the disk's, or what nobody thought of.
        logger.warning("attachment %s: %s", one.public_id, type(exc).__name__)
        if one.attempts < ATTEMPTS:
            one.retry_later(timedelta(seconds=5 * 4**one.attempts))
        else:
            _settle(one, state=Attachment.State.UNAVAILABLE, error="It could not be fetched.")


def _keep(one: Attachment, data: bytes) -> None:
    content_type, extension = _type_of(data)
    # The name says nothing, and cannot be guessed from the message.
    one.file.save(f"{one.public_id}.{extension}", ContentFile(data), save=False)
    name = one.file.name
    if not _settle(one, state=Attachment.State.STORED, content_type=content_type, file=name):
        one.file.storage.delete(name)  # Another worker has it, or the message is gone.


def _settle(one: Attachment, **changes: str) -> bool:
    """Record the outcome, if the row is still ours, and let open pages hear of it."""
    with transaction.atomic():
        change = one.message.conversation.next_change()
        if not one.settle(**changes):
            return False
        Message.objects.filter(pk=one.message_id).update(change=change)
        return True


def _download(url: str) -> bytes:
    with outbound_http.get(url, allow=_is_instagrams) as answer:
        answer.raise_for_status()
        data = bytearray()
        deadline = time.monotonic() + SECONDS
        # What has come, however little: a larger unit would wait past the deadline.
        while chunk := answer.raw.read1(64 * 1024, decode_content=True):
            data += chunk
            if len(data) > MAX_BYTES:
                raise outbound_http.Forbidden("it is larger than 25 MB")
            if time.monotonic() > deadline:
                raise requests.Timeout("it comes too slowly")
        return bytes(data)


def _is_instagrams(parts: SplitResult) -> bool:
    sandbox = urlsplit(settings.INSTAGRAM_GRAPH_URL)
    if not settings.IS_PRODUCTION and sandbox.scheme == "http" and parts.netloc == sandbox.netloc:
        return parts.scheme == "http"
    return parts.scheme == "https" and f".{parts.hostname}".endswith(HOSTS)


def _type_of(data: bytes) -> tuple[str, str]:
    for magic, start, content_type, extension in SIGNATURES:
        if data[start : start + len(magic)] == magic:
            return content_type, extension
    return "application/octet-stream", "bin"
