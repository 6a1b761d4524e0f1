"""The refusal, in every way to start; each in a process of its own."""

import subprocess
import sys

import pytest
from cryptography.fernet import Fernet

from crypto.secrets import KNOWN_BAD
from tests.environment import child_environment

from ..waiting import A_WHILE

GOOD = "9fQm2vXr7LkT4wZp1sYc8bNd6hGj3aRe"
PRODUCTION = {
    "ENVIRONMENT": "production",
    "SESSION_SECRET": GOOD,
    "PUBLIC_BASE_URL": "https://dm.example.com",
    "INSTAGRAM_APP_ID": "1234567890",
    "INSTAGRAM_APP_SECRET": "0123456789abcdef0123456789abcdef",
    "INSTAGRAM_VERIFY_TOKEN": "tell-me-the-word",
    "INSTAGRAM_GRAPH_URL": None,  # Not set: Instagram's own.
    "INSTAGRAM_TOKEN_URL": None,
}
MANAGE = [sys.executable, "manage.py"]
WAYS_TO_SERVE = {
    "wsgi": [sys.executable, "-c", "import instamsg.wsgi"],
    "worker": [*MANAGE, "run_huey"],
    "runserver": [*MANAGE, "runserver", "--noreload", "127.0.0.1:0"],
}


def run(command, tmp_path, **environment):
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=A_WHILE,
        env=child_environment(
            DATABASE_URL=f"sqlite:///{tmp_path / 'site.db'}",
            TASK_QUEUE_URL=f"sqlite:///{tmp_path / 'queue.db'}",
            **environment,
        ),
    )


@pytest.mark.parametrize(
    ("way", "secret"),
    [("wsgi", None), ("wsgi", ""), ("wsgi", "   "), ("worker", None), ("runserver", None)],
)
def test_production_without_a_secret_does_not_start(way, secret, tmp_path):
    result = run(WAYS_TO_SERVE[way], tmp_path, **PRODUCTION | {"SESSION_SECRET": secret})
    assert result.returncode == 1
    assert "SESSION_SECRET is not set" in result.stderr
    assert "secrets.token_urlsafe(32)" in result.stderr
    assert "Traceback" not in result.stderr


def test_production_with_a_weak_secret_does_not_start(tmp_path):
    result = run(WAYS_TO_SERVE["wsgi"], tmp_path, **PRODUCTION | {"SESSION_SECRET": "password123"})
    assert result.returncode == 1
    assert "SESSION_SECRET is weak" in result.stderr
    assert "password123" not in result.stderr


def test_a_weak_secret_may_stay_as_a_fallback_until_its_tokens_are_moved(tmp_path):
    weak = {"SESSION_SECRET_FALLBACKS": "password123"}
    result = run([*MANAGE, "check"], tmp_path, **PRODUCTION | weak)
    assert result.returncode == 0
    assert "crypto.W003" in result.stderr


def test_production_starts_with_good_settings(tmp_path):
    result = run(WAYS_TO_SERVE["wsgi"], tmp_path, **PRODUCTION)
    assert result.returncode == 0
    assert "does not start" not in result.stderr


def test_an_unset_environment_means_production(tmp_path):
    result = run(
        WAYS_TO_SERVE["wsgi"],
        tmp_path,
        **PRODUCTION | {"ENVIRONMENT": None, "SESSION_SECRET": None},
    )
    assert result.returncode == 1


def test_a_lone_development_process_makes_no_secret_of_its_own(tmp_path):
    result = run(WAYS_TO_SERVE["worker"], tmp_path, SESSION_SECRET=None)
    assert result.returncode == 1
    assert "scripts/start.py" in result.stderr


def test_development_warns_of_a_weak_secret_and_starts(tmp_path):
    weak = next(iter(sorted(KNOWN_BAD)))
    result = run([*MANAGE, "check"], tmp_path, SESSION_SECRET=weak)
    assert result.returncode == 0
    assert "crypto.W003" in result.stderr
    assert run(WAYS_TO_SERVE["wsgi"], tmp_path, SESSION_SECRET=weak).returncode == 0


@pytest.mark.parametrize("command", ["migrate", "check", "--help"])
def test_commands_that_repair_or_explain_work_without_a_secret(command, tmp_path):
    result = run([*MANAGE, command], tmp_path, **PRODUCTION | {"SESSION_SECRET": None})
    if command == "check":  # It runs, and says what is wrong.
        assert "crypto.E001" in result.stderr
    else:
        assert result.returncode == 0, result.stderr


def test_check_names_a_secret_that_is_its_own_fallback(tmp_path):
    result = run([*MANAGE, "check"], tmp_path, SESSION_SECRET=GOOD, SESSION_SECRET_FALLBACKS=GOOD)
    assert "crypto.E004" in result.stderr


class TestEphemeralSecret:
    def start(self, tmp_path, **environment):
        script = "import instamsg.wsgi, os; from crypto import startup; startup.announce()"
        return run(
            [sys.executable, "-c", script],
            tmp_path,
            SESSION_SECRET=None,
            EPHEMERAL_SESSION_SECRET="made-by-the-launcher-0123456789-ABCdef",
            **environment,
        ).stderr

    def test_the_warning_names_consequences_and_cure_once(self, tmp_path):
        log = self.start(tmp_path)
        assert log.count("CRITICAL SECURITY WARNING: No SESSION_SECRET configured") == 1
        for part in (
            "login",
            "can no longer be decrypted",
            "reconnected",
            "token_urlsafe(32)",
            ".env",
        ):
            assert part in log
        assert "DATA LOSS WARNING" not in log
        assert "made-by-the-launcher" not in log

    def test_a_process_of_the_same_start_stays_quiet(self, tmp_path):
        assert "CRITICAL" not in self.start(tmp_path, SESSION_SECRET_ANNOUNCED="1")

    def test_stored_tokens_bring_a_second_box_with_their_number(self, tmp_path):
        migrate = run([*MANAGE, "migrate"], tmp_path)
        assert migrate.returncode == 0, migrate.stderr
        import sqlite3

        with sqlite3.connect(tmp_path / "site.db") as database:
            for n in range(3):
                database.execute(
                    "INSERT INTO accounts (id, instagram_account_id, app_scoped_id, username, name,"
                    " account_type, profile_picture_url, access_token_encrypted, permissions,"
                    " subscribed_fields, problem, problem_reason, linked_at, updated_at)"
                    " VALUES (?, ?, '', 'luna', '', '', '', ?, '[]', '[]', '', '',"
                    " '2026-01-01', '2026-01-01')",
                    (f"acc_{n}", str(n), Fernet(Fernet.generate_key()).encrypt(b"t").decode()),
                )
        database.close()
        log = self.start(tmp_path)
        assert "DATA LOSS WARNING: Encrypted tokens found with ephemeral secret!" in log
        assert "Accounts with a stored token: 3." in log
        assert "put the old secret into .env" in log
        assert "reconnect every account" in log
