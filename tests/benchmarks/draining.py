"""A worker process of a benchmark's own.

It says "ready", waits for a line, works off what is due in the queue that is named, or in that of
the webhooks, and says when it began and ended.
"""

import json
import os
import resource
import sys
import time


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "instamsg.settings"
    import django

    django.setup()
    from messaging import forwarding, inbound

    queue = forwarding.forward if "forward" in sys.argv else inbound.process
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began = time.time()
    queue.run_dry()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"began": began, "ended": time.time(), "MiB": peak}))


if __name__ == "__main__":
    main()
