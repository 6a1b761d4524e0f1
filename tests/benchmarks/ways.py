"""Ways to move every account's token to another secret, and a process that goes one of them.

`python -m tests.benchmarks.ways NAME` goes from the fallback to SESSION_SECRET once it is given a
line, and prints what there is to say of it as JSON.
"""

import json
import logging
import os
import re
import sys
import time
from pathlib import Path

import django
from django.db import transaction

from crypto.keyring import KeyRing

from .measuring import Figures

BATCH = 500


def rotate(ring: KeyRing) -> Figures:
    """Ours."""
    from crypto import rotation

    done = rotation.rotate(ring)
    return {"moved": done.moved.total(), "raced": done.raced, "held ms": done.held * 1000}


def django_loop(ring: KeyRing) -> Figures:
    """What one would write with Django alone; not even the field's own work is in it."""
    from accounts.models import Account
    from crypto.fields import Sealed

    old, new = ring.fallbacks[0].fernet, ring.primary.fernet
    with transaction.atomic():
        accounts = list(Account.objects.all())
        for account in accounts:
            plain = old.decrypt(account.access_token.ciphertext)
            account.access_token = Sealed(new.encrypt(plain).decode())
        Account.objects.bulk_update(accounts, ["access_token"], batch_size=BATCH)
    return {"moved": len(accounts)}


WAYS = {way.__name__: way for way in (rotate, django_loop)}


def main(name: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "instamsg.settings"
    django.setup()
    logging.disable(logging.INFO)
    from django.conf import settings

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    before, start = _peak(), time.perf_counter()
    figures = WAYS[name](settings.KEYRING)
    figures |= {
        "seconds": time.perf_counter() - start,
        "ended": time.monotonic(),  # One clock for all processes of the machine.
        "before MiB": before,
        "peak MiB": _peak(),
    }
    sys.stdout.write(json.dumps(figures))


def _peak() -> float:
    """The most memory (MiB) that this process ever had."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    main(sys.argv[1])
