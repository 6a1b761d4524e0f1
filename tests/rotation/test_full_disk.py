"""A disk that is full: everything is as before, and no part of a file is left behind."""

import os
import sqlite3
from pathlib import Path
from signal import SIGXFSZ

import pytest

from . import acts
from .databases import IS_POSTGRES
from .installation import NEW, OLD, fernet, is_under, look

pytestmark = pytest.mark.processes

on_sqlite = pytest.mark.skipif(
    IS_POSTGRES, reason="the disk of a PostgreSQL server cannot be filled from here"
)


def is_refused(installation, done, before, *words: str) -> None:
    assert done.code == 1, done
    lines = done.err.splitlines()
    assert len(lines) <= 2, done.err
    assert lines[0].startswith("CommandError: ")
    assert "othing was changed" in done.err
    assert any(word in done.err for word in words), done.err
    assert installation.dump() == before
    look(installation)


@on_sqlite
def test_no_room_for_the_backup(large, tmp_path):
    before, folder = large.dump(), tmp_path / "backups"
    command = ["rotate_secret", "--backup-dir", str(folder)]
    done = large.run(acts.manage_with_files_of, 500_000, *command)
    is_refused(large, done, before, "No backup could be made")
    assert not list(folder.iterdir())
    assert large.rotate().code == 0


@on_sqlite
def test_no_room_for_what_is_put_aside(large, tmp_path):
    """A dry run writes nothing else."""
    before = large.dump()
    done = large.run(
        acts.manage_with_files_of, 60_000, "rotate_secret", "--dry-run", SQLITE_TMPDIR=str(tmp_path)
    )
    is_refused(large, done, before, "full", "disk I/O error")
    assert not list(tmp_path.iterdir())
    assert large.rotate().code == 0


@on_sqlite
def test_no_room_for_the_commit(small):
    """Ten long values: there is room in memory to put them aside."""
    for number in range(10):
        small.write(number, fernet(OLD).encrypt(b"IGAA" * 1500).decode())
    before = small.dump()
    assert small.run(acts.manage_with_files_of, 60_000, "rotate_secret", "--dry-run").code == 0
    done = small.run(acts.manage_with_files_of, 60_000, "rotate_secret", "--no-backup")
    is_refused(small, done, before, "full", "disk I/O error")
    assert small.execute("PRAGMA integrity_check") == [("ok",)]
    assert small.rotate().code == 0


def test_no_room_for_the_new_env_file(small, tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text(f"SESSION_SECRET={OLD}\n" + "# a very long comment\n" * 5_000)
    before, file = small.dump(), env_file.read_bytes()
    done = small.run(
        *(acts.manage_with_files_of, 60_000, "rotate_secret", "--no-backup"),
        *("--env-file", str(env_file)),
        **{"ring": (), "OLD_SECRET": OLD, "NEW_SECRET": NEW},
    )
    assert done.code == 1, done
    assert "cannot be written: File too large. It is as it was." in done.err
    assert small.dump() == before
    assert env_file.read_bytes() == file
    assert os.listdir(tmp_path) == [".env"]


@on_sqlite
def test_killed_while_it_makes_the_backup_nothing_looks_like_one(large, tmp_path):
    folder = tmp_path / "backups"
    command = ["rotate_secret", "--backup-dir", str(folder)]
    assert large.run(acts.manage_and_die_writing, 500_000, *command).code == -SIGXFSZ
    assert is_under(large, OLD)
    for path in folder.glob("*.db"):
        copy = sqlite3.connect(path)
        assert copy.execute("SELECT count(*) FROM accounts").fetchone() == (4001,)
        copy.close()
    assert large.manage(*command).code == 0


def test_the_backup_holds_what_was_there_before(small, tmp_path):
    folder = tmp_path / "new folder"
    before = small.values()
    done = small.manage("rotate_secret", "--backup-dir", str(folder))
    assert done.code == 0, done.err
    (path,) = folder.iterdir()
    assert f"Backup: {path}" in done.out
    assert path.stat().st_mode & 0o777 == 0o600
    if not IS_POSTGRES:
        copy = sqlite3.connect(path)
        found = copy.execute(
            "SELECT id, access_token_encrypted FROM accounts WHERE access_token_encrypted NOT NULL"
        )
        assert dict(found) == before
        copy.close()


@pytest.mark.parametrize("how", ["unreadable", "wrong"])
def test_a_rotation_that_is_refused_leaves_no_backup(small, tmp_path, how):
    small.write(1, "gibberish")
    ring = {"unreadable": (NEW, OLD), "wrong": (OLD, NEW)}[how]
    before = small.dump()
    refused = small.manage("rotate_secret", "--backup-dir", str(tmp_path / "backups"), ring=ring)
    assert refused.code in (1, 4)
    assert small.dump() == before
    assert not list(tmp_path.glob("backups/*"))


@pytest.mark.skipif(not IS_POSTGRES, reason="pg_dump is PostgreSQL's")
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            'for arg; do case $arg in --file=*) echo half > "${arg#--file=}";; esac; done\n'
            "echo 'pg_dump: error: could not write to file: No space left on device' >&2; exit 1",
            "No space left on device",
        ),
        ("kill -9 $$", "killed"),
        (None, "pg_dump is not installed here"),
    ],
    ids=["no room", "killed", "not installed"],
)
def test_a_dump_that_fails_stops_it_and_leaves_no_file(small, tmp_path, script, words):
    programs, folder = tmp_path / "bin", tmp_path / "backups"
    programs.mkdir()
    if script:
        (programs / "pg_dump").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "pg_dump").chmod(0o755)
    before = small.dump()
    path = f"{programs}:/bin" if script and not Path("/bin/pg_dump").exists() else str(programs)
    command = ["rotate_secret", "--backup-dir", str(folder)]
    done = small.manage(*command, PATH=path)
    is_refused(small, done, before, words)
    assert not list(folder.iterdir())
    assert small.rotate().code == 0
