"""The `.env` file: one secret changed, everything else as it stood."""

import os
import stat

import pytest

from crypto.env_file import EnvFile, EnvFileRefused

from .secrets_of_a_shop import NEW, OLD, OTHER

BEFORE = f"""# The shop's site

ENVIRONMENT=production
SESSION_SECRET={OLD}
  # indented, and kept
PORT=8000
#SESSION_SECRET_FALLBACKS=
INSTAGRAM_APP_ID=17
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / ".env"
    path.write_text(BEFORE)
    return path


def test_the_two_secrets_change_and_nothing_else(path):
    EnvFile(path).write(NEW, [OLD])
    assert path.read_text() == BEFORE.replace(OLD, NEW).replace(
        "#SESSION_SECRET_FALLBACKS=\n",
        f"#SESSION_SECRET_FALLBACKS=\nSESSION_SECRET_FALLBACKS={OLD}\n",
    )
    assert (EnvFile(path).secret, EnvFile(path).fallbacks) == (NEW, [OLD])


def test_only_its_owner_can_read_it_afterwards(path):
    path.chmod(0o644)
    EnvFile(path).write(NEW, [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_not_there_is_made(tmp_path):
    EnvFile(tmp_path / ".env").write(NEW, [])
    assert (tmp_path / ".env").read_text() == f"SESSION_SECRET={NEW}\n"
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_of_a_variable_that_is_set_twice_the_last_one_counts_and_remains(path):
    path.write_text(f"SESSION_SECRET={OTHER}\nA=1\nexport SESSION_SECRET={OLD}\n")
    assert EnvFile(path).secret == OLD
    EnvFile(path).write(NEW, [])
    assert path.read_text() == f"A=1\nexport SESSION_SECRET={NEW}\n"


@pytest.mark.parametrize("secret", ["$HOME/${x}#y'\"\\n", "with a = and spaces", "Ümlaut"])
def test_every_character_stands_for_itself(path, secret):
    EnvFile(path).write(secret, [f"{secret}!"])
    assert (EnvFile(path).secret, EnvFile(path).fallbacks) == (secret, [f"{secret}!"])


@pytest.mark.parametrize(
    ("secret", "fallbacks", "why"),
    [
        (NEW, ["an,old,one"], "comma"),
        ("'quoted'", [], "quotation mark"),
        ("two\nlines", [], "quotation mark|line"),
    ],
)
def test_what_the_file_cannot_hold_is_refused(path, secret, fallbacks, why):
    with pytest.raises(EnvFileRefused, match=why):
        EnvFile(path).write(secret, fallbacks)
    assert path.read_text() == BEFORE


def test_a_read_only_file_stays_as_it_is_even_for_root(path):
    path.chmod(0o400)
    with pytest.raises(EnvFileRefused, match="read-only"):
        EnvFile(path).write(NEW, [])
    assert path.read_text() == BEFORE


def test_a_file_that_names_another_one_is_refused(path):
    path.write_text("SESSION_SECRET_FILE=/run/secrets/session_secret\n")
    with pytest.raises(EnvFileRefused, match="SESSION_SECRET_FILE"):
        EnvFile(path).write(NEW, [])


def test_a_link_stays_a_link(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    EnvFile(link).write(NEW, [])
    assert link.is_symlink()
    assert EnvFile(path).secret == NEW


def test_when_the_disk_is_full_the_old_file_is_whole_and_no_other_lies_about(path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvFileRefused, match="No space left on device"):
        EnvFile(path).write(NEW, [])
    assert path.read_text() == BEFORE
    assert os.listdir(path.parent) == [".env"]
