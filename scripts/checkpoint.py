"""After a stop: bring every row into the SQLite file itself, so that a copy of it is whole.

On PostgreSQL there is nothing to do. start.py does the same when it ends.
"""

import os
import sys

from _asking import ask_site
from _processes import checkpoint

if __name__ == "__main__":
    checkpoint(ask_site(sys.executable, "database", os.environ)["sqlite"])
