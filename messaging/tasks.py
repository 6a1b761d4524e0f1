"""What the workers run on their own: a look at each queue and at the tokens, a nightly census."""

from huey import crontab
from huey.contrib.djhuey import db_periodic_task

from accounts import idempotency, key_alerts, rate_limits, token_alerts, token_watch
from crypto import census

from . import (
    confirming,
    crm_events,
    deletion,
    endpoint_notices,
    endpoints,
    forwarding,
    history,
    housekeeping,
    inbound,
    ledger,
    media,
    participants,
    pruning,
    sender_actions,
    sending,
)

QUEUES = (
    inbound.process,
    sending.send,
    sender_actions.perform,
    confirming.look,
    media.fetch,
    media.delete_files,
    participants.ask,
    deletion.delete,
    history.sync,
    forwarding.forward,
    forwarding.clear,
    endpoint_notices.tell_owners,
)


@db_periodic_task(crontab())
def sweep() -> None:
    """Look at every queue, whatever hints were lost.

    Two workers may both do so: a row is claimed by one of them.
    """
    for queue in QUEUES:
        queue.start()


@db_periodic_task(crontab())
def tell_of_accounts() -> None:
    """Tell CRMs of accounts whose status changed; forget the secrets whose overlap is over."""
    crm_events.look_at_accounts()
    endpoints.end_overlaps()


@db_periodic_task(crontab(minute="*/10"))
def watch_tokens() -> None:
    """Refresh the access tokens that are due, and tell of those that this does not help.

    Two workers may both do so: the account's row decides who refreshes it, and who tells.
    """
    token_watch.refresh_due()
    token_alerts.send()


@db_periodic_task(crontab(minute="15"))
def watch_keys() -> None:
    """Tell of API keys that are in use and end soon.

    Two workers may both do so: the key's row decides who tells.
    """
    key_alerts.send()


@db_periodic_task(crontab(minute="5-59/10"))
def look_for_gaps() -> None:
    """Look through recent conversations again where messages may have been lost.

    Two workers may both do so: an account has one walk at a time.
    """
    history.look()


@db_periodic_task(crontab(minute="40"))
def prune() -> None:
    """Delete webhooks, theirs and ours, older than WEBHOOK_RETENTION_DAYS, and files than
    MEDIA_RETENTION_DAYS. And what is remembered of callers of the API.
    """
    ledger.prune()
    forwarding.prune()
    media.prune()
    pruning.delete(idempotency.old())
    rate_limits.forget()


@db_periodic_task(crontab(hour="4", minute="50"))
def tidy() -> None:
    """Delete ended logins, old login attempts and links that nobody can use any more."""
    housekeeping.tidy()


@db_periodic_task(crontab(hour="3", minute="20"))
def count_secrets() -> None:
    """Try every encrypted value; the admin shows what was found."""
    census.renew()
