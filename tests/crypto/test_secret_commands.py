"""What the commands say, and how they end."""

import io
import json
import os

import pytest
from django.core.management import CommandError, call_command

from crypto import rotation
from crypto.commands import Exit
from crypto.env_file import EnvFile
from crypto.keyring import KeyRing
from crypto.models import Process
from crypto.secrets import weakness

from .secrets_of_a_shop import (
    NEW,
    OLD,
    OTHER,
    columns,
    fingerprint,
    opened,
    out_of_sight,
    overwrite,
    store,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def ring(settings):
    def ring(primary, *fallbacks):
        settings.KEYRING = KeyRing(primary, fallbacks)

    ring(OLD)
    return ring


def run(*command) -> tuple[int, str]:
    """The exit code, and all that was said."""
    out = io.StringIO()
    try:
        call_command(*map(str, command), stdout=out, stderr=out)
    except SystemExit as exc:
        return exc.code, out.getvalue()
    except CommandError as exc:
        return exc.returncode, f"{out.getvalue()}{exc}"
    return 0, out.getvalue()


class TestGenerate:
    def test_it_prints_a_strong_one_each_time_another(self):
        secrets = {run("generate_secret")[1].strip() for _ in range(3)}
        assert len(secrets) == 3
        assert [weakness(secret) for secret in secrets] == [None] * 3

    def test_a_file_gets_it_and_the_terminal_does_not(self, tmp_path):
        code, said = run("generate_secret", "--env-file", tmp_path / ".env")
        secret = EnvFile(tmp_path / ".env").secret
        assert code == 0
        assert fingerprint(secret) in said
        assert secret not in said

    def test_a_secret_under_which_values_are_stored_is_not_replaced(self, ring, tmp_path):
        path = tmp_path / ".env"
        path.write_text(f"SESSION_SECRET={OLD}\n")
        store(3)
        code, said = run("generate_secret", "--env-file", path)
        assert code == Exit.FAILED
        assert "3 values are stored under the present SESSION_SECRET" in said
        assert EnvFile(path).secret == OLD

    def test_one_that_opens_nothing_is_replaced(self, tmp_path):
        path = tmp_path / ".env"
        path.write_text(f"SESSION_SECRET={OTHER}\n")
        store(3)
        assert run("generate_secret", "--env-file", path)[0] == 0
        assert EnvFile(path).secret != OTHER

    def test_a_rotation_begins_with_the_old_one_kept_as_a_fallback(self, tmp_path):
        path = tmp_path / ".env"
        path.write_text(f"SESSION_SECRET={OLD}\nSESSION_SECRET_FALLBACKS={OTHER}\n")
        store(3)
        assert run("generate_secret", "--env-file", path, "--keep-old")[0] == 0
        assert EnvFile(path).fallbacks == [OLD, OTHER]


class TestCheck:
    def test_all_well(self, ring):
        store(3)
        code, said = run("check_secret")
        assert code == Exit.DONE
        assert f"Secret {fingerprint(OLD)}, in use for 0 days" in said
        assert f"3  {fingerprint(OLD)} (current)" in said

    def test_a_fallback_in_use_must_stay(self, ring):
        store(2)
        ring(NEW, OLD)
        code, said = run("check_secret")
        assert code == Exit.FALLBACK
        assert f"Fallback {fingerprint(OLD)} must stay" in said

    def test_a_fallback_that_nothing_needs_may_go(self, ring):
        store(2)
        ring(NEW, OLD)
        assert run("rotate_secret", "--no-backup")[0] == 0
        code, said = run("check_secret")
        assert code == Exit.DONE
        assert f"Fallback {fingerprint(OLD)} may be removed" in said

    def test_a_fallback_that_a_process_still_writes_with_must_stay(self, ring):
        store(2)
        ring(NEW, OLD)
        run("rotate_secret", "--no-backup")
        both = [fingerprint(OLD), fingerprint(NEW)]
        Process.objects.create(kind="web", host="elsewhere", pid=7, fingerprints=both)
        assert run("check_secret")[0] == Exit.FALLBACK

    def test_every_unreadable_value_is_named(self, ring):
        accounts = store(3)
        overwrite(accounts[1], "broken")
        code, said = run("check_secret")
        assert code == Exit.UNREADABLE
        assert f"Unreadable: account {accounts[1].pk} @shop.1: the stored value is not" in said

    def test_processes_without_the_secret_are_listed(self, ring):
        store(1)
        Process.objects.create(kind="web", host="elsewhere", pid=7, fingerprints=["x"])
        code, said = run("check_secret")
        assert code == Exit.FALLBACK
        assert f"Does not hold {fingerprint(OLD)}: web process 7 on elsewhere" in said

    def test_the_verdict_agrees_with_what_was_just_counted(self, ring):
        overwrite(out_of_sight(store(150)), "broken")
        code, said = run("check_secret")
        assert code == Exit.UNREADABLE
        assert "Stored values that no secret opens: 1." in said

    def test_a_fallback_that_never_encrypted_here_is_not_called_superfluous(self, ring):
        store(1)
        ring(OLD, NEW)
        assert "Keep it if it is the next one on its way in" in run("check_secret")[1]

    def test_without_a_secret_there_is_nothing_to_try(self, ring):
        ring(None)
        assert run("check_secret")[0] == Exit.NOT_CONFIGURED

    def test_programs_get_one_object(self, ring):
        accounts = store(2)
        overwrite(accounts[0], "broken")
        code, said = run("check_secret", "--json")
        found = json.loads(said)
        assert code == Exit.UNREADABLE
        assert found["columns"]["accounts.access_token_encrypted"] == {fingerprint(OLD): 1}
        assert found["unreadable"][0]["name"] == f"account {accounts[0].pk} @shop.0"
        assert found["verdict"] == "unreadable"


class TestRotate:
    @pytest.fixture
    def given(self, monkeypatch):
        def given(**secrets):
            for name, value in secrets.items():
                monkeypatch.setenv(name, value)

        return given

    def test_the_ring_of_the_site(self, ring):
        store(3)
        ring(NEW, OLD)
        code, said = run("rotate_secret", "--no-backup")
        assert code == 0
        assert "accounts.access_token_encrypted: 3 re-encrypted" in said
        assert len(opened(NEW)) == 3

    def test_two_secrets_given(self, ring, given):
        store(3)
        given(OLD_SECRET=OLD, NEW_SECRET=NEW)
        assert run("rotate_secret", "--no-backup")[0] == 0
        assert len(opened(NEW)) == 3

    def test_each_account_is_told_when_asked_for(self, ring, given):
        accounts = store(2)
        given(OLD_SECRET=OLD, NEW_SECRET=NEW)
        _, said = run("rotate_secret", "--no-backup", "-v2")
        assert f"account {accounts[1].pk} @shop.1: under the new secret" in said

    def test_the_file_is_switched_with_it(self, ring, given, tmp_path):
        path = tmp_path / ".env"
        path.write_text(f"SESSION_SECRET={OLD}\n")
        store(1)
        given(OLD_SECRET=OLD, NEW_SECRET=NEW)
        assert run("rotate_secret", "--no-backup", "--env-file", path)[0] == 0
        assert (EnvFile(path).secret, EnvFile(path).fallbacks) == (NEW, [OLD])

    def test_a_refused_rotation_leaves_the_file_as_it_was(self, ring, given, tmp_path):
        path = tmp_path / ".env"
        path.write_text(f"SESSION_SECRET={OLD}\n")
        accounts = store(3)
        overwrite(accounts[0], "broken")
        given(OLD_SECRET=OLD, NEW_SECRET=NEW)
        assert run("rotate_secret", "--no-backup", "--env-file", path)[0] == Exit.UNREADABLE
        assert (EnvFile(path).secret, EnvFile(path).fallbacks) == (OLD, [])

    def test_a_rotation_that_ended_before_the_file_was_switched_is_finished(
        self, ring, given, tmp_path
    ):
        path = tmp_path / ".env"
        path.write_text(f"SESSION_SECRET={OLD}\nSESSION_SECRET_FALLBACKS={NEW}\n")
        store(2)
        given(OLD_SECRET=OLD, NEW_SECRET=NEW)
        assert run("rotate_secret", "--no-backup")[0] == 0
        assert run("rotate_secret", "--no-backup", "--env-file", path)[0] == 0
        assert (EnvFile(path).secret, EnvFile(path).fallbacks) == (NEW, [OLD])
        assert len(opened(NEW)) == 2

    def test_two_rotations_do_not_switch_one_file_at_the_same_time(
        self, ring, given, tmp_path, monkeypatch
    ):
        path = tmp_path / ".env"
        path.write_text(f"SESSION_SECRET={OLD}\n")
        store(2)
        given(OLD_SECRET=OLD, NEW_SECRET=NEW)
        rotate, others = rotation.rotate, []

        def meanwhile(*args, **kwargs):
            others.append(run("rotate_secret", "--no-backup", "--env-file", path))
            return rotate(*args, **kwargs)

        monkeypatch.setattr(rotation, "rotate", meanwhile)
        assert run("rotate_secret", "--no-backup", "--env-file", path)[0] == 0
        ((code, said),) = others
        assert code == Exit.FAILED
        assert "Another rotation is switching" in said
        assert (EnvFile(path).secret, EnvFile(path).fallbacks) == (NEW, [OLD])

    @pytest.mark.django_db(transaction=True)
    def test_ctrl_c_changes_nothing_and_says_so(self, ring, given, tmp_path, monkeypatch):
        path = tmp_path / ".env"
        path.write_text(f"SESSION_SECRET={OLD}\n")
        store(2)
        given(OLD_SECRET=OLD, NEW_SECRET=NEW)

        def interrupted(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr("crypto.staging.Stage.swap", interrupted)
        code, said = run("rotate_secret", "--no-backup", "--env-file", path)
        assert (code, "Interrupted. Nothing was changed." in said) == (Exit.FAILED, True)
        assert (EnvFile(path).secret, EnvFile(path).fallbacks) == (OLD, [])
        assert len(opened(OLD)) == 2

    @pytest.mark.parametrize(
        ("secrets", "code", "why"),
        [
            ({"OLD_SECRET": OLD}, Exit.NOT_CONFIGURED, "NEW_SECRET is not set, or blank"),
            ({"OLD_SECRET": " ", "NEW_SECRET": NEW}, Exit.NOT_CONFIGURED, "OLD_SECRET is not"),
            ({"OLD_SECRET": OLD, "NEW_SECRET": OLD}, Exit.USAGE, "are the same"),
            ({"OLD_SECRET": OLD, "NEW_SECRET": "test"}, Exit.USAGE, "NEW_SECRET is weak"),
            ({"OLD_SECRET": NEW, "NEW_SECRET": OLD}, Exit.FAILED, "they are swapped"),
            ({"OLD_SECRET": OTHER, "NEW_SECRET": NEW}, Exit.FAILED, "None of the secrets given"),
        ],
        ids=["missing", "blank", "equal", "weak", "swapped", "wrong"],
    )
    def test_unfit_secrets_are_refused_in_a_sentence(self, ring, given, secrets, code, why):
        store(2)
        before = columns()
        given(**secrets)
        found, said = run("rotate_secret", "--no-backup")
        assert found == code
        assert why in said
        assert columns() == before
        assert not [secret for secret in (OLD, NEW, OTHER) if secret in said]

    def test_without_an_old_secret_it_says_where_to_put_it(self, ring):
        code, said = run("rotate_secret", "--no-backup")
        assert code == Exit.NOT_CONFIGURED
        assert "SESSION_SECRET_FALLBACKS" in said

    def test_skipping_ends_with_a_code_of_its_own(self, ring):
        accounts = store(3)
        overwrite(accounts[0], "broken")
        ring(NEW, OLD)
        code, said = run("rotate_secret", "--no-backup", "--skip-unreadable")
        assert code == Exit.PARTLY
        assert f"Unreadable: account {accounts[0].pk} @shop.0" in said

    def test_without_pg_dump_or_a_folder_it_asks_for_no_backup(self, ring, tmp_path):
        store(1)
        ring(NEW, OLD)
        (tmp_path / "file").touch()
        code, said = run("rotate_secret", "--backup-dir", tmp_path / "file")
        assert code == Exit.FAILED
        assert "No backup could be made" in said
        assert opened(NEW) == {}


def test_no_command_of_these_is_stopped_by_system_checks(settings, monkeypatch):
    monkeypatch.delitem(os.environ, "SESSION_SECRET", raising=False)
    settings.IS_PRODUCTION, settings.KEYRING = True, KeyRing(None)
    for command in ("generate_secret", "check_secret", "rotate_secret"):
        _, said = run(command)
        assert "System check" not in said
