"""An environment that holds no setting of the site: the ground for one built on purpose."""

import os

# What programs need to run at all.
PLAIN = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "TERM")


def plain() -> dict[str, str]:
    return {name: os.environ[name] for name in PLAIN if name in os.environ}
