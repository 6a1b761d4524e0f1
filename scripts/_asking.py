"""Asks the site about itself, as _site.py answers, for programs that hold none of its packages."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from _processes import OWN_GROUP

ROOT = Path(__file__).resolve().parent.parent


def ask_site(python: str, question: str, environment: Mapping[str, str]) -> dict:
    """The site's answer. It refuses in its own words, on standard error."""
    done = subprocess.run(  # noqa: S603  (the project's own program)
        [python, ROOT / "scripts" / "_site.py", question],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        **OWN_GROUP,
    )
    if done.returncode:
        raise SystemExit(1)
    return json.loads(done.stdout)
