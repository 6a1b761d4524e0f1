"""What the workers run on their own: every minute, a look at each queue."""

from huey import crontab
from huey.contrib.djhuey import db_periodic_task

from . import inbound, media, participants, sending

QUEUES = (inbound.process, sending.send, media.fetch, participants.ask)


@db_periodic_task(crontab())
def sweep() -> None:
    """Look at every queue, whatever hints were lost.

    Two workers may both do so: a row is claimed by one of them.
    """
    for queue in QUEUES:
        queue.start()
