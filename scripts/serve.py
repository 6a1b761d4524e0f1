"""Run the web server in the foreground, as a service manager or a container wants it.

Runs in the virtual environment that holds the packages, with the settings of its surroundings;
start.py makes both. The worker needs no such help: `manage.py run_huey`.
"""

import argparse
import os
import sys
from pathlib import Path

import _ports
import _server
from _asking import ask_site

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    options = _options()
    # One refusal in plain words, before a server process has begun.
    site = ask_site(sys.executable, "look", os.environ)
    _ports.require_free(site["port"], "PORT")
    os.chdir(ROOT)
    server = _server.command(sys.executable, site["port"], options.host, options.workers)
    os.execv(sys.executable, server)  # noqa: S606  (the project's own program)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument(
        "--workers", type=int, default=1, help="server processes; more than one on PostgreSQL only"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
