"""Answers are written down here first; a worker sends them from there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.dispatch import Signal

from accounts.models import Account, User

from . import media, uploads
from .events import UNSTORABLE
from .models import Attachment, Conversation, FileToDelete, Message, Rule
from .uploads import Checked

MAX_BYTES = 1000
"""Instagram counts UTF-8 bytes, not characters (Send API, 4.1)."""

MAX_QUICK_REPLIES = 13
MAX_TITLE = 20
MAX_PAYLOAD = 1000


reply_queued = Signal()
"""Sent inside the transaction that writes a message down."""


class Reason(Enum):
    """Why a reply is refused, for programs to tell."""

    NO_TEXT = auto()
    TOO_LONG = auto()
    QUICK_REPLIES = auto()
    FILE = auto()
    REACTION = auto()
    DISCONNECTED = auto()
    NOT_WRITTEN = auto()
    WINDOW_CLOSED = auto()


class ReplyRefused(Exception):
    """The reply cannot be sent as it is; the text says why. Nothing was stored."""

    def __init__(self, reason: Reason, text: str):
        super().__init__(text)
        self.reason = reason


class Kept(NamedTuple):
    """Files that are stored, and not yet named by a message."""

    files: list[Checked]
    marks: list[FileToDelete]


def queue_reply(
    conversation: Conversation,
    text: str,
    *,
    by: User | None = None,
    quick_replies: Sequence[dict[str, str]] = (),
    is_by_person: bool = False,
    submission: UUID | None = None,
    rule: Rule | None = None,
    answers: Message | None = None,
) -> Message:
    """Write `text` down as the next message of the conversation, to be sent by a worker.

    Args:
        by: who wrote it.
        quick_replies: up to 13 of `title` (20 characters) and `payload`, for the customer to tap.
        is_by_person: a person wrote it, so it may go out until 7 days after the customer wrote.
        submission: the form that was filled in: the same text from the same form, a second
            click, gives the message of the first.
        rule, answers: the rule that wrote it by itself, and the message that it answers; a second
            answer to the same one gives the first.

    Raises ReplyRefused.
    """
    text = _plain(text)
    _check_text(text)
    choices = _checked_choices(quick_replies, text)
    tag = _tag(conversation, is_by_person)
    if submission:  # Another text from a form that the Back button brought back is a new message.
        submission = uuid5(submission, text)
    how = {
        "written_by": by, "submission": submission, "tag": tag, "rule": rule, "answers": answers,
    }  # fmt: skip
    try:
        with transaction.atomic():
            return _write(conversation, text=text, quick_replies=choices, **how)
    except IntegrityError:
        if answers:
            return Message.objects.get(answers=answers)
        if not submission:
            raise
        return Message.objects.get(conversation=conversation, submission=submission)


def queue_files(
    conversation: Conversation,
    files: Sequence[UploadedFile],
    text: str = "",
    *,
    by: User | None = None,
    quick_replies: Sequence[dict[str, str]] = (),
    is_by_person: bool = False,
    submission: UUID | None = None,
) -> list[Message]:
    """Keep `files` and write them down as the next messages, and `text`, if any, as the one after.

    Instagram takes no text with a file, and of files only images together. The arguments are those
    of `queue_reply`. Raises ReplyRefused; nothing is kept then.
    """
    _tag(conversation, is_by_person)  # Nothing is stored for nothing.
    with keep(files) as kept:
        try:
            return queue_kept(
                conversation,
                kept,
                text,
                by=by,
                quick_replies=quick_replies,
                is_by_person=is_by_person,
                submission=submission,
            )
        except IntegrityError:
            if not submission:
                raise
            keys = _keys(submission, kept.files, _plain(text))
            written = Message.objects.filter(conversation=conversation, submission__in=keys)
            return list(written.order_by("pk"))


@contextmanager
def keep(files: Sequence[UploadedFile]) -> Iterator[Kept]:
    """Check and store `files`, outside of any transaction: disks are slow.

    Those that no committed message has named when the block ends are deleted again. Raises
    ReplyRefused.
    """
    if not files:
        yield Kept([], [])
        return
    if len(files) > uploads.MOST_FILES:
        text = f"At most {uploads.MOST_FILES} files go at once; these are {len(files)}."
        raise ReplyRefused(Reason.FILE, text)
    try:
        checked = [uploads.check(file) for file in files]
    except uploads.NotTaken as exc:
        raise ReplyRefused(Reason.FILE, str(exc)) from None
    marks = media.write({one.name: one.file for one in checked})
    try:
        yield Kept(checked, marks)
    finally:
        media.abandon(marks)  # Those that are still there: adopting takes them away.


def queue_kept(
    conversation: Conversation,
    kept: Kept,
    text: str = "",
    *,
    by: User | None = None,
    quick_replies: Sequence[dict[str, str]] = (),
    is_by_person: bool = False,
    submission: UUID | None = None,
) -> list[Message]:
    """As `queue_files`, for files that are stored already, or none.

    Raises IntegrityError for what the same form sent before.
    """
    tag = _tag(conversation, is_by_person)
    if text := _plain(text):
        _check_text(text)
    choices = _checked_choices(quick_replies, text)
    how = {"written_by": by, "tag": tag}
    groups = uploads.grouped(kept.files)
    keys = _keys(submission, kept.files, text)
    texts = {"text": text, "quick_replies": choices, "submission": keys[-1]}
    if not groups:  # Alone it needs no transaction around it.
        return [_write(conversation, **how | texts)]
    messages = []
    with transaction.atomic():
        for key, group in zip(keys, groups, strict=False):
            message = _write(conversation, submission=key, **how)
            Attachment.objects.bulk_create(
                one.attachment(message, position) for position, one in enumerate(group)
            )
            messages.append(message)
        if text:
            messages.append(_write(conversation, **how | texts))
        if len(media.adopt(kept.marks)) < len(kept.marks):
            text = "A file took so long to store that it is gone again. Send it once more."
            raise ReplyRefused(Reason.FILE, text)
    return messages


def check_account(account: Account) -> None:
    """Whatever else is wrong with an account may pass, so its queue is kept.

    Raises ReplyRefused.
    """
    if account.status == Account.Status.DISCONNECTED:
        text = f"@{account.username} is disconnected. Connect it again to answer."
        raise ReplyRefused(Reason.DISCONNECTED, text)


def _keys(submission: UUID | None, files: Sequence[Checked], text: str) -> list[UUID | None]:
    """One for each message that these become; another text or file in a form that the Back
    button brought back is no second click."""
    count = len(uploads.grouped(files)) + bool(text)
    if not submission:
        return [None] * count
    content = sha256(text.encode())
    for file in files:
        content.update(file.digest)
    return [uuid5(submission, f"{content.hexdigest()} {n}") for n in range(count)]


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _check_text(text: str) -> None:
    if not text:
        raise ReplyRefused(Reason.NO_TEXT, "Write something first.")
    if UNSTORABLE.search(text):
        raise ReplyRefused(Reason.NO_TEXT, "The text holds a character that cannot be sent.")
    if (size := len(text.encode())) > MAX_BYTES:
        raise ReplyRefused(
            Reason.TOO_LONG,
            f"Instagram takes at most {MAX_BYTES} bytes; this text has {size}. Letters outside "
            "the Latin alphabet and emoji count two to four each. Send it in two parts.",
        )


def _checked_choices(choices: Sequence[dict[str, str]], text: str) -> list[dict[str, str]]:
    if len(choices) > MAX_QUICK_REPLIES:
        text = f"Instagram shows at most {MAX_QUICK_REPLIES} quick replies."
        raise ReplyRefused(Reason.QUICK_REPLIES, text)
    if choices and not text:
        raise ReplyRefused(Reason.QUICK_REPLIES, "Quick replies go below a text: write one.")
    return [_checked_choice(choice) for choice in choices]


def _checked_choice(choice: dict[str, str]) -> dict[str, str]:
    title = choice.get("title", "").strip()
    payload = choice.get("payload", "") or title
    if not title or UNSTORABLE.search(title + payload):
        raise ReplyRefused(Reason.QUICK_REPLIES, "A quick reply needs a title to tap.")
    if len(title) > MAX_TITLE:
        raise ReplyRefused(
            Reason.QUICK_REPLIES,
            f"Instagram cuts a quick reply after {MAX_TITLE} characters: shorten “{title}”.",
        )
    if len(payload) > MAX_PAYLOAD:
        text = f"A quick reply brings back at most {MAX_PAYLOAD} characters."
        raise ReplyRefused(Reason.QUICK_REPLIES, text)
    return {"title": title, "payload": payload}


def _tag(conversation: Conversation, is_by_person: bool) -> str:
    """How Instagram will let it go out. Raises ReplyRefused when it would not."""
    check_account(conversation.account)
    if conversation.is_open:
        return ""
    if conversation.last_inbound_at is None:
        text = "Instagram lets you answer once the customer has written to you."
        raise ReplyRefused(Reason.NOT_WRITTEN, text)
    if not is_by_person:
        raise ReplyRefused(
            Reason.WINDOW_CLOSED,
            "The 24-hour window is closed: Instagram lets you answer again once the customer "
            "has written.",
        )
    if not conversation.is_open_for_people:
        raise ReplyRefused(
            Reason.WINDOW_CLOSED,
            "The customer last wrote more than 7 days ago: Instagram lets you answer again once "
            "they have written.",
        )
    return Message.Tag.HUMAN_AGENT


def _write(conversation: Conversation, **fields: Any) -> Message:
    message = conversation.append(**fields)
    reply_queued.send(Message)
    return message
