from huey.contrib.djhuey.management.commands.run_huey import Command as RunHuey

from crypto import startup
from messaging import queues, tasks


class Command(RunHuey):
    """Huey's worker, which does not start where the site would not."""

    requires_system_checks = []

    def handle(self, *args, **options):
        startup.begin("worker")
        queues.prepare()
        tasks.sweep.call_local()  # Rows that waited while no worker ran.
        tasks.count_secrets()
        super().handle(*args, **options)
