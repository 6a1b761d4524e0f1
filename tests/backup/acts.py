"""What the processes of these tests do; see tests.rotation.processes."""

import io
import itertools
import json
import resource
import sys
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL

from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from accounts.models import Account, Membership, Role, User
from messaging import archive
from messaging.models import Attachment, Conversation, InboundEvent, Message, WebhookEvent
from tests.rotation import acts

STATUSES = ["received", "sent", "failed", "queued", "sending", "unconfirmed"]


def fill(size: int) -> None:
    """Some rows in every table that matters, texts that are hard to carry, and a file."""
    acts.fill(size)
    user = User.objects.create_user("mara", password="correct horse 41")
    for n, account in enumerate(Account.objects.order_by("pk")):
        Membership.objects.create(user=user, account=account, role=Role.OWNER)
        conversation = Conversation.objects.create(
            account=account, igsid=str(118452739066421 + n), last_message_at=timezone.now()
        )
        for status in STATUSES:
            message = Message.objects.create(
                account=account,
                conversation=conversation,
                direction="in" if status == "received" else "out",
                is_from_here=status != "received",
                status=status,
                text=f"Grüße 🐈‍⬛ ' \" \\ \t № {n}\r\n{status}",
                timestamp=timezone.now() - timedelta(minutes=n),
            )
        name = f"attachments/{n:032x}.jpg"
        path = settings.MEDIA_ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(range(256)) * (n % 7) + b"end")
        Attachment.objects.create(message=message, kind="image", state="stored", file=name)
    hook = WebhookEvent.objects.create(body=b'{"\x00\xff not UTF-8"}', state="unhandled")
    InboundEvent.objects.create(webhook=hook, position=0, kind="unknown", state="unhandled")


def migrate_back(app: str, name: str) -> None:
    call_command("migrate", app, name, verbosity=0)


def manage_while_files_vanish(folder: str, *command: str) -> None:
    """Every file in `folder` but the first that is read goes when that one is opened."""

    def look(event: str, args: tuple) -> None:
        if event == "open" and str(args[0]).startswith(folder):
            for path in Path(folder).iterdir():
                if path != Path(str(args[0])):
                    path.unlink(missing_ok=True)

    sys.addaudithook(look)
    acts.manage(*command)


def manage_and_measure(*command: str) -> None:
    """Says last how many MiB it needed at most."""
    acts.manage(*command)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)  # noqa: T201


def write_without_end() -> None:
    account = Account.objects.first()
    number = 0
    while True:
        number += 1
        # Two rows that belong together: no moment may show one of them alone.
        hook = WebhookEvent.objects.create(body=b"%d" % number, state="unhandled")
        InboundEvent.objects.create(webhook=hook, position=0, kind="unknown", state="unhandled")
        Account.objects.filter(pk=account.pk).update(name=f"name {number}")
        if number == 1:
            print("writing")  # noqa: T201


def manage_and_die_at(moment: str, number: int, *command: str) -> None:
    """Killed when it opens, renames or deletes a file called …`moment` for the so-manieth time."""
    steps = itertools.count(1)

    def look(event: str, args: tuple) -> None:
        is_one = event in acts.FILE_EVENTS and str(args[0]).endswith(moment)
        if is_one and next(steps) == number:
            acts.end(SIGKILL)

    sys.addaudithook(look)
    acts.manage(*command)


def manage_and_wait(word: str, go: str, *command: str) -> None:
    """Says `word` when it opens a dump to read it, and stands still until there is `go`."""
    seen = []

    def look(event: str, args: tuple) -> None:
        is_read = event == "open" and "r" in str(args[1]) and ".database.partial" in str(args[0])
        if is_read and not seen:
            seen.append(args)
            acts.wait(word, go)

    sys.addaudithook(look)
    acts.manage(*command)


def rewrite(path: str, to: str, **changes: object) -> None:
    """The same backup, with other words in its manifest: whole, and not what this code makes."""
    members = {}

    class Kept(io.BytesIO):
        def close(self) -> None:
            pass

    with open(path, "rb") as file:
        archive.read(file, lambda name: members.setdefault(name, Kept()))
    manifest = json.loads(members["manifest.json"].getvalue())
    for name, value in changes.items():
        *way, last = name.split("__")
        inside = manifest
        for step in way:
            inside = inside[step]
        inside[last] = value
    members["manifest.json"] = io.BytesIO(json.dumps(manifest).encode())
    with open(to, "wb") as file, archive.Writer(file, 0) as writer:
        for name, content in members.items():
            size = content.seek(0, 2)
            content.seek(0)
            writer.add(name, content, size)
