"""What the processes of these tests do. Each runs in a process of its own, told by a Host."""

import os
import resource
import sys
import time
from pathlib import Path
from signal import SIG_DFL, SIGKILL, SIGXFSZ, signal

from django.core.management import call_command, execute_from_command_line
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Account
from crypto import rotation
from crypto.keyring import get_keyring
from crypto.rotation import Watcher

TOKEN = "IGAATokenOfShop{:0165}"
"""As long as real ones."""
FRESH = "IGAAFreshTokenThatCameMeanwhile"


def fill(size: int) -> None:
    """The tables, `size` connected accounts and a disconnected one."""
    call_command("migrate", verbosity=0, run_syncdb=True)
    accounts = [
        Account(
            id=f"acc_{n:012}",
            instagram_account_id=str(17841400000000000 + n),
            username=f"shop.{n}",
            access_token=TOKEN.format(n),
            token_expires_at=timezone.now(),
        )
        for n in range(size)
    ]
    Account.objects.bulk_create(accounts)
    Account.objects.create(id="acc_none", instagram_account_id="1", username="disconnected")


def manage(*command: str) -> None:
    sys.argv = ["manage.py", *command]
    execute_from_command_line(sys.argv)


# Deaths


def end(how: int) -> None:
    os.kill(os.getpid(), how)
    time.sleep(10)  # It comes at once, but not at this very instruction.


def rotate_and_die_at_page(page: int) -> None:
    pages = iter(range(1, 1000))
    rotation.rotate(
        get_keyring(),
        watcher=Watcher(page_done=lambda _: end(SIGKILL) if next(pages) == page else None),
    )


def rotate_and_die_after_statement(number: int) -> None:
    """Of those that the swap asks of the database: from its BEGIN on."""
    steps = _Steps(number, SIGKILL)
    watcher = Watcher(swapping=steps.begin)
    with connection.execute_wrapper(steps.statement):
        rotation.rotate(get_keyring(), watcher=watcher)


def manage_and_end_at_step(number: int, how: int, folder: str, *command: str) -> None:
    """It gets the signal `how` at a step: a statement, or something done to a file in `folder`.

    They count from the first one done to an .env file, before which nothing can be half done.
    """
    steps = _Steps(number, how)

    def look(event: str, args: tuple) -> None:
        if event in FILE_EVENTS and str(args[0]).startswith(f"{folder}/.env."):
            steps.begin()
        if event in FILE_EVENTS and str(args[0]).startswith(folder):
            steps.count()

    sys.addaudithook(look)
    with connection.execute_wrapper(steps.statement):
        manage(*command)
    if steps.number < steps.last:
        print(TOO_FEW)  # noqa: T201


TOO_FEW = "There were not so many steps."
FILE_EVENTS = {"open", "os.chown", "os.remove", "os.rename"}


class _Steps:
    """Counts, from `begin` on, and gives this process the signal `how` at the last."""

    def __init__(self, last: int, how: int):
        self.last, self.how, self.number, self.has_begun = last, how, 0, False

    def begin(self) -> None:
        self.has_begun = True

    def count(self) -> None:
        self.number += self.has_begun
        if self.number == self.last:
            self.number += 1  # Those that follow are none of ours.
            end(self.how)

    def statement(self, execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        self.count()
        return result


# A full disk


def manage_with_files_of(size: int, *command: str) -> None:
    """No file may grow beyond `size` bytes: writing more fails, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    manage(*command)


def manage_and_die_writing(size: int, *command: str) -> None:
    """It is killed in the middle of the write that would make a file larger than `size`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal(SIGXFSZ, SIG_DFL)  # Python ignores it.
    manage_with_files_of(size, *command)


# Others, at the same time


def rotate_and_tell() -> None:
    rotation.rotate(get_keyring(), watcher=Watcher(swapping=lambda: print("swapping")))  # noqa: T201


def wait(word: str, go: str) -> None:
    print(word)  # noqa: T201
    while not Path(go).exists():
        time.sleep(0.002)


def rotate_and_wait(moment: str, go: str) -> None:
    """Stands still at `page_done` or `swapping`, until there is a file called `go`."""
    watcher = Watcher(**{moment: lambda *args: wait(moment, go)})
    done = rotation.rotate(get_keyring(), watcher=watcher)
    print(f"raced: {done.raced}")  # noqa: T201


def live_on() -> None:
    """What a site does within a moment."""
    reconnected = Account.objects.get(username="shop.1")
    reconnected.access_token = FRESH
    reconnected.save(update_fields=["access_token"])
    Account.objects.get(username="shop.2").delete()
    Account.objects.filter(username="shop.3").update(access_token=None)
    Account.objects.filter(username="shop.4").update(name="Renamed meanwhile")
    Account.objects.create(
        id="acc_new", instagram_account_id="2", username="new", access_token=FRESH
    )


def write_late(moment: str, go: str) -> None:
    """Writes a token, and stands still until there is a file called `go`: when it is `encrypted`,
    or when it is `allowed`, with the registry asked and only the UPDATE to come."""

    def statement(execute, sql, params, many, context):
        if moment == "allowed" and sql.startswith("UPDATE"):
            wait(moment, go)
        return execute(sql, params, many, context)

    account = Account.objects.get(username="shop.1")
    account.access_token = FRESH
    if moment == "encrypted":
        wait(moment, go)
    with connection.execute_wrapper(statement):
        account.save(update_fields=["access_token"])


def rotate_and_wait_twice(before: str, after: str) -> None:
    """Stands still when it is `swapping`, and again when it has `committed`."""
    swaps = []

    def statement(execute, sql, params, many, context):
        if connection.in_atomic_block and not swaps:
            swaps.append(sql)
            transaction.on_commit(lambda: wait("committed", after))
        return execute(sql, params, many, context)

    watcher = Watcher(swapping=lambda: wait("swapping", before))
    with connection.execute_wrapper(statement):
        rotation.rotate(get_keyring(), watcher=watcher)


def fill_second_columns() -> None:
    """Five rows in each table of tests.second_column."""
    from tests.second_column.models import Shop, Vault

    for n in range(5):
        Shop.objects.create(name=f"shop-{n}", api_key=f"key {n}")
        Vault.objects.create(name=f"vault-{n}", code=f"code {n}", opened_at=timezone.now())
