"""What the workers run on their own: a look at each queue every minute, a census each night."""

from huey import crontab
from huey.contrib.djhuey import db_periodic_task

from crypto import census

from . import inbound, media, participants, sending

QUEUES = (inbound.process, sending.send, media.fetch, participants.ask)


@db_periodic_task(crontab())
def sweep() -> None:
    """Look at every queue, whatever hints were lost.

    Two workers may both do so: a row is claimed by one of them.
    """
    for queue in QUEUES:
        queue.start()


@db_periodic_task(crontab(hour="3", minute="20"))
def count_secrets() -> None:
    """Try every encrypted value; the admin shows what was found."""
    census.renew()
