"""Files that go out: checked by what they are, and offered to Instagram, which fetches them."""

from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256
from itertools import groupby
from typing import NamedTuple

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.core.signing import BadSignature, TimestampSigner
from django.urls import reverse

from . import media, media_types
from .models import Attachment, Message

MB = 1024 * 1024
TAKEN = {
    # What the Send API takes (4.1), and how large it may be.
    "image": ({"image/png", "image/jpeg", "image/gif"}, 8 * MB),
    "video": (
        {"video/mp4", "video/ogg", "video/x-msvideo", "video/quicktime", "video/webm"},
        25 * MB,
    ),
    "audio": ({"audio/aac", "audio/mp4", "audio/wav"}, 25 * MB),
    "file": ({"application/pdf"}, 25 * MB),
}
MOST_FILES = 10
"""In one request; Instagram takes as many images in one message."""

LARGEST_REQUEST = MOST_FILES * 8 * MB + MB
LARGEST_WITHOUT_FILES = MB
TAKE_FILES = {"reply", "api:send"}
"""The names of the paths to which files are sent."""

BEGINNING = 1024
"""Bytes that tell what a file is."""

OFFERED_FOR = timedelta(hours=1)
"""Instagram fetches a file while it is being sent; nobody else is told of the address."""

signer = TimestampSigner(salt="messaging.uploads")


class NotTaken(Exception):
    """Instagram would not take the file; the text says why."""


class Checked(NamedTuple):
    """A file that Instagram takes, under the name that it will be stored by."""

    kind: str
    content_type: str
    name: str
    file: UploadedFile
    digest: bytes
    """SHA-256. Storages may close the file."""

    def attachment(self, message: Message, position: int) -> Attachment:
        """It, as what comes with `message`; unsaved."""
        return Attachment(
            message=message,
            position=position,
            kind=self.kind,
            state=Attachment.State.STORED,
            file=self.name,
            content_type=self.content_type,
            due_at=None,
        )


def check(file: UploadedFile) -> Checked:
    """Raises NotTaken for a type or a size that the Send API refuses (4.1)."""
    if not file.size:
        raise NotTaken(f"{file.name} is empty.")
    if file.size > max(limit for _, limit in TAKEN.values()):
        raise NotTaken(f"{file.name} is too large: Instagram takes files up to 25 MB.")
    content_type, ending = media_types.of(next(file.chunks(BEGINNING)))
    kind = next((kind for kind, (types, _) in TAKEN.items() if content_type in types), None)
    if kind is None:
        raise NotTaken(
            f"Instagram does not take {file.name}. It takes pictures (PNG, JPEG, GIF), videos "
            "(MP4, MOV, WebM, AVI, Ogg), sound (M4A, AAC, WAV) and PDF."
        )
    limit = TAKEN[kind][1]
    if file.size > limit:
        raise NotTaken(
            f"{file.name} has {file.size / MB:.1f} MB: Instagram takes at most {limit // MB} MB "
            f"of this kind."
        )
    return Checked(kind, content_type, media.new_name("attachments", ending), file, _digest(file))


def grouped(files: Iterable[Checked]) -> list[list[Checked]]:
    """What goes into one message each, in order: pictures together, others by themselves."""
    groups = []
    for kind, run in groupby(files, key=lambda one: one.kind):
        run = list(run)
        groups += [run] if kind == "image" else [[one] for one in run]
    return groups


def offer(attachment: Attachment) -> str:
    """The address from which Instagram may fetch the file for an hour."""
    path = reverse("offered_media", args=[signer.sign(attachment.public_id)])
    return f"{settings.PUBLIC_BASE_URL}{path}"


def offered(token: str) -> Attachment | None:
    """What is offered under `token`, while it is, and unless it was taken back."""
    try:
        public_id = signer.unsign(token, max_age=OFFERED_FOR)
    except BadSignature:
        return None
    stored = Attachment.objects.filter(state=Attachment.State.STORED, message__is_from_here=True)
    return stored.filter(public_id=public_id).first()


def _digest(file: UploadedFile) -> bytes:
    found = sha256()
    for chunk in file.chunks():
        found.update(chunk)
    return found.digest()


class LimitedUpload(FileUploadHandler):
    """Ends an upload that is larger than any message may be, or than any form without files
    where none are taken, or from people whom nobody knows."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.received = 0

    def handle_raw_input(self, *args, **kwargs):
        path = self.request.resolver_match
        takes_files = path and path.view_name in TAKE_FILES and self.request.user.is_authenticated
        self.limit = LARGEST_REQUEST if takes_files else LARGEST_WITHOUT_FILES

    def receive_data_chunk(self, raw_data, start):
        self.received += len(raw_data)
        if self.received > self.limit:
            raise RequestDataTooBig("The files are too large.")
        return raw_data

    def file_complete(self, file_size):
        return None
