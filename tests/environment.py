"""The environment that the tests run in, set before anything reads the settings.

A plugin of pytest (`-p tests.environment`), since conftest files are read after the settings.
Whatever `.env` a developer has, the tests see none of it.
"""

import os
import signal
import tempfile
from pathlib import Path

scratch = Path(tempfile.mkdtemp(prefix="instamsg-tests-"))

# A shell has what it starts in the background ignore Ctrl-C, and so would every process that a test
# starts: what a test interrupts would go on, and the test wait for its end in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)

for name in list(os.environ):
    if name.startswith(("INSTAGRAM_", "SESSION_SECRET", "EPHEMERAL_", "SANDBOX_", "MEDIA_")):
        del os.environ[name]

os.environ.update(
    ENV_FILE="",
    ENVIRONMENT="development",
    DEBUG="false",
    SESSION_SECRET="Tests-0nly-secret-never-used-anywhere-else",
    INSTAGRAM_APP_ID="sandbox-app",
    INSTAGRAM_APP_SECRET="sandbox-secret-one,sandbox-secret-two",
    INSTAGRAM_VERIFY_TOKEN="sandbox-verify-token",
    INSTAGRAM_TIMEOUT="2",
    # Nobody listens there: a test that wants an Instagram asks for the sandbox.
    INSTAGRAM_GRAPH_URL="http://127.0.0.1:9",
    INSTAGRAM_TOKEN_URL="http://127.0.0.1:9/oauth/access_token",
    MEDIA_ROOT=str(scratch / "media"),
    TASK_QUEUE_URL=f"sqlite:///{scratch / 'queue.db'}",
)


def child_environment(**changes: str | None) -> dict[str, str]:
    """For a process that a test starts: the tests' own, with `changes`; None removes one.

    It is on no database of ours unless `changes` name it.
    """
    wanted = {**os.environ, "DATABASE_URL": None, **changes}
    return {name: value for name, value in wanted.items() if value is not None}
