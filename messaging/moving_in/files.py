"""Attachments, and the files that are kept of them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from django.db import transaction
from django.utils import timezone

from .. import media, media_policy, media_types
from ..events import AttachmentEvent
from ..models import Attachment, Conversation, Message
from .messages import digest
from .report import Report
from .routes import Lost, Routes
from .source import Row, Source, moment, text

State = Attachment.State

AT_ONCE = 8 * 1024 * 1024
"""Bytes of files that are in memory at a time, give or take one file."""

ENDINGS = [
    "jpg", "jpeg", "png", "gif", "webp", "mp4", "mov", "webm", "ogg", "ogv", "avi", "m4a", "aac",
    "mp3", "wav", "pdf", "bin",
]  # fmt: skip

NO_MESSAGE = "their message is not in the file, or did not come along"
OUTSIDE = "their path leads out of the media folder; what lies there was not touched"
MISSING = "their file is not in the media folder"
TOO_LARGE = f"their file is larger than {media.MAX_BYTES // 1024**2} MB"
A_PAGE = "a web page lies in the place of their file"
NOT_KEPT = "stories and shared posts are the work of others; of these no file is kept"
NO_FILE = "Its file did not come along when this site was moved in."


class NoFile(Exception):
    """The file does not come along; the text says why."""


class Placed(NamedTuple):
    """A row, and the message that it came with; in a dry run one that is not here yet."""

    row: Row
    message: Message
    position: int


class FileMover:
    """Moves attachments; their files are copied, and those in the folder stay as they are."""

    def __init__(self, source: Source, folder: Path, routes: Routes, report: Report):
        self.source, self.folder = source, folder.resolve()
        self.routes, self.report = routes, report

    def move_attachments(self) -> Iterator[int]:
        for rows in self.source.attachments():
            part: list[tuple[Attachment, bytes]] = []
            for placed in self._new(rows):
                part.append(self._read(placed))
                if sum(len(data) for _, data in part) >= AT_ONCE:
                    self._store(part)
                    part = []
            self._store(part)
            yield len(rows)

    def _new(self, rows: list[Row]) -> list[Placed]:
        """Those that are not here."""
        digests = {text(row["id"]): self._digest(row) for row in rows}
        found = Message.objects.filter(mid_digest__in=filter(None, digests.values()))
        messages = {bytes(message.mid_digest): message for message in found}
        here = set(Attachment.objects.filter(message__in=found).values_list("message", "position"))
        new = []
        for row in rows:
            pk, position = text(row["id"]), _position(row)
            mid_digest = digests[pk]
            message = messages.get(mid_digest) or self._to_come(mid_digest, row)
            if message is None:
                self.report.leave("attachments", NO_MESSAGE, pk)
            elif message.unsent_at or (message.pk, position) in here:
                self.report.count("attachments", "here")
            else:
                here |= {(message.pk, position)} if message.pk else set()
                new.append(Placed(row, message, position))
        return new

    def _digest(self, row: Row) -> bytes | None:
        if row["of_id"] is None:
            return None
        message = {name.removeprefix("of_"): value for name, value in row.items()}
        with suppress(Lost):
            return digest(self.routes.of_message(message).account, text(row["of_id"]))
        return None

    def _to_come(self, mid_digest: bytes | None, row: Row) -> Message | None:
        if not self.report.is_dry or mid_digest is None:
            return None
        return Message(timestamp=moment(row["of_timestamp"]) or timezone.now())

    def _read(self, placed: Placed) -> tuple[Attachment, bytes]:
        """The unsaved attachment, and the bytes of its file if that comes along."""
        kind = text(placed.row["media_type"]).lower()[:64]
        event = AttachmentEvent(kind, text(placed.row["media_url"]))
        one = media.attachment(placed.message, placed.position, event)
        self.report.count("attachments", "new")
        if not media_policy.of(kind).is_kept:
            self.report.leave("files", NOT_KEPT, is_loss=False)
            return one, b""
        if one.state == State.EXPIRED:  # By MEDIA_RETENTION_DAYS.
            return one, b""
        try:
            data = self._bytes(placed.row, kind)
        except NoFile as exc:
            self._go_without(one, placed.row, str(exc))
            return one, b""
        self.report.count("files", "new")
        one.content_type, ending = media_types.of(data, kind)
        one.file, one.state = media.new_name("attachments", ending), State.STORED
        one.due_at = None
        return one, data

    def _bytes(self, row: Row, kind: str) -> bytes:
        """Raises NoFile."""
        try:
            with self._path(row).open("rb") as file:
                data = file.read(media.MAX_BYTES + 1)
        except (OSError, ValueError):  # Not readable, or no path at all.
            raise NoFile(MISSING) from None
        if len(data) > media.MAX_BYTES:
            raise NoFile(TOO_LARGE)
        if not data or (kind != "file" and media_types.is_page(data)):
            raise NoFile(A_PAGE if data else MISSING)
        return data

    def _path(self, row: Row) -> Path:
        """Of the attachment's file: where the row says, or by the name that all of them have.

        Raises NoFile.
        """
        local = text(row["media_url_local"]).replace("\\", "/")
        # Told from its own folder, from the root of its machine, or as an address.
        _, is_found, below = f"/{local}".rpartition("/media/")
        named = [below if is_found else local] if local else []
        for name in [*named, *(f"attachments/{text(row['id'])}.{end}" for end in ENDINGS)]:
            path = (self.folder / name).resolve()
            if not path.is_relative_to(self.folder):
                raise NoFile(OUTSIDE)
            if path.is_file():
                return path
        raise NoFile(MISSING)

    def _go_without(self, one: Attachment, row: Row, why: str) -> None:
        """Instagram's own link works for some days: while it may, the worker tries."""
        lives = timezone.now() < one.message.timestamp + media_policy.LINKS_LIVE
        if one.state == State.PENDING and lives:
            self.report.count("files", "to fetch")
            return
        one.state, one.due_at, one.error = State.UNAVAILABLE, None, NO_FILE
        self.report.leave("files", why, text(row["id"]))

    def _store(self, part: list[tuple[Attachment, bytes]]) -> None:
        if self.report.is_dry or not part:
            return
        marks = media.write({one.file.name: data for one, data in part if data})
        with transaction.atomic():
            # Whoever takes a message back waits, or has done so by now.
            Conversation.objects.lock({one.message.conversation_id for one, _ in part})
            messages = Message.objects.filter(pk__in={one.message_id for one, _ in part})
            staying = set(messages.filter(unsent_at=None).values_list("pk", flat=True))
            kept = [one for one, _ in part if one.message_id in staying]
            names = {one.file.name for one in kept if one.file}
            media.adopt(mark for mark in marks if mark.name in names)
            Attachment.objects.bulk_create(kept)
        media.abandon(mark for mark in marks if mark.name not in names)
        if any(one.due_at for one in kept):
            media.fetch.hint()


def _position(row: Row) -> int:
    found = row["attachment_index"]
    if found is None:
        found = text(row["id"]).rpartition("_")[2]
    with suppress(TypeError, ValueError):
        return min(max(int(found), 0), 32767)
    return 0
