"""Whether this container does its work, for its health check: exit code 0 if so.

`healthy.py web` asks the web server; `healthy.py worker` looks whether a worker of this host has
said lately that it lives.
"""

import os
import sys
import urllib.request

from _asking import ask_site


def main() -> None:
    if sys.argv[1:] == ["web"]:
        port = os.environ.get("PORT") or 8000
        urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=4)
    elif sys.argv[1:] == ["worker"]:
        ask_site(sys.executable, "worker", os.environ)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
