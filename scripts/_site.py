"""The launcher's questions to the site, answered inside its virtual environment.

    python scripts/_site.py look       refuse, or say how the site is set up
    python scripts/_site.py prepare    bring the database up to date, make the first user
    python scripts/_site.py database   say where the rows are, whatever else is wrong
    python scripts/_site.py worker     refuse, or say which worker of this host lives

The answer is one JSON object on standard output, which the launcher reads; trouble is one
message on standard error.
"""

import contextlib
import json
import os
import secrets
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "instamsg.settings")

import django  # noqa: E402  (importable only now)
from django.core.exceptions import ImproperlyConfigured  # noqa: E402
from django.db import Error as DatabaseError  # noqa: E402


def main() -> None:
    questions = {"look": look, "prepare": prepare, "database": database, "worker": worker}
    try:
        # Nothing else may come before the answer.
        with contextlib.redirect_stdout(sys.stderr):
            django.setup()
            answer = questions[sys.argv[1]]()
    except (ImproperlyConfigured, ValueError) as exc:
        raise SystemExit(f"InstaMsg does not start.\n\nA setting cannot be read: {exc}") from None
    except DatabaseError as exc:
        raise SystemExit(f"InstaMsg does not start.\n\nThe database refuses: {exc}") from None
    json.dump(answer, sys.stdout)


def look() -> dict:
    from django.conf import settings
    from django.core import checks

    from crypto import startup
    from crypto.checks import EPHEMERAL

    startup.refuse_to_start()
    for found in checks.run_checks():
        if found != EPHEMERAL:  # That one is drawn as a box, by the web process.
            sys.stderr.write(f"{found.msg}\n{found.hint or ''}\n({found.id})\n\n")
    graph = urlsplit(settings.INSTAGRAM_GRAPH_URL)
    is_sandboxed = graph.hostname in ("127.0.0.1", "localhost")
    return {
        "port": settings.PORT,
        "url": settings.PUBLIC_BASE_URL,
        **database(),
        "sandbox_port": graph.port if is_sandboxed else None,
        "sandbox": _for_the_sandbox(settings),
    }


def database() -> dict:
    from django.conf import settings

    name = settings.DATABASES["default"]["NAME"]
    return {"sqlite": os.path.abspath(name) if settings.IS_SQLITE else None}


def prepare() -> dict:
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    if settings.IS_PRODUCTION:
        call_command("collectstatic", interactive=False, verbosity=0)
    users = get_user_model().objects
    if users.exists():
        return {"password": None}
    password = secrets.token_urlsafe(12)
    users.create_superuser("admin", password=password)
    return {"password": password}


def worker() -> dict:
    from crypto import heartbeat

    here = socket.gethostname()
    for process in heartbeat.living():
        if (process.kind, process.host) == ("worker", here):
            return {"worker": process.pid}
    raise SystemExit("No worker of this host has said lately that it lives.")


def _for_the_sandbox(settings) -> dict[str, str]:
    from django.urls import reverse

    from instamsg.settings import env

    return {
        "INSTAGRAM_APP_ID": settings.INSTAGRAM_APP_ID,
        "INSTAGRAM_APP_SECRET": ",".join(settings.INSTAGRAM_APP_SECRETS),
        "INSTAGRAM_VERIFY_TOKEN": settings.INSTAGRAM_VERIFY_TOKEN,
        "SANDBOX_CONTROL_TOKEN": env.str("SANDBOX_CONTROL_TOKEN", default=""),
        "SANDBOX_STATE_FILE": env.str("SANDBOX_STATE_FILE", default="sandbox.json"),
        "SANDBOX_REDIRECT_URIS": settings.PUBLIC_BASE_URL + reverse("oauth_callback"),
        "SANDBOX_WEBHOOK_URL": f"http://127.0.0.1:{settings.PORT}" + reverse("webhook"),
    }


if __name__ == "__main__":
    main()
