"""Everything that is done from time to time: by the worker, or all of it at once by hand."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from django.db.models import QuerySet

from accounts import idempotency, key_alerts, leftovers, token_alerts, token_watch
from crypto import census
from crypto.fields import count_stored_values

from . import forwarding, ledger, media
from .pruning import delete

logger = logging.getLogger(__name__)


class Job(NamedTuple):
    """`run` does it and returns how many; `due` says how many it would be, and changes nothing."""

    name: str
    done: str
    run: Callable[[], int]
    due: Callable[[], int]


def _deleting(name: str, rows: Callable[[], QuerySet]) -> Job:
    return Job(name, "deleted", lambda: delete(rows()), lambda: rows().count())


LEFTOVERS = (
    _deleting("ended logins", leftovers.sessions),
    _deleting("old login attempts", leftovers.login_attempts),
    _deleting("old invitations", leftovers.invitations),
    _deleting("unfinished connects", leftovers.connect_attempts),
)
"""What the worker does once a day; the others have times of their own (tasks.py)."""

JOBS = (
    Job("old webhooks", "deleted", ledger.prune, lambda: ledger.old().count()),
    Job("old deliveries", "deleted", forwarding.prune, lambda: forwarding.old().count()),
    Job("old files", "let go", media.prune, lambda: media.old().count()),
    _deleting("old API requests", idempotency.old),
    *LEFTOVERS,
    Job("access tokens", "refreshed", token_watch.refresh_due, lambda: token_watch.due().count()),
    Job("owners of troubled accounts", "told", token_alerts.send, lambda: len(token_alerts.due())),
    Job("users of ending API keys", "told", key_alerts.send, lambda: key_alerts.due().count()),
    Job("encrypted values", "tried", census.renew, count_stored_values),
)


def tidy() -> None:
    """Delete leftovers; what goes wrong with some does not keep the others."""
    for job in LEFTOVERS:
        try:
            if gone := job.run():
                logger.info("%s: %d %s", job.name, gone, job.done)
        except Exception:
            logger.exception("%s: stopped", job.name)
