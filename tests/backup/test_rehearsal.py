"""A backup, restored, is the installation that it was made from: row by row, file by file."""

import json
import os
import re
import tarfile
import time
from pathlib import Path

import pytest

from tests.rotation.databases import IS_POSTGRES
from tests.rotation.installation import NEW, OLD, OTHER, fingerprint

from . import acts

pytestmark = pytest.mark.processes

OPERATOR = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()

MEANWHILE = {"messages"}
"""Tables in which a restore changes something, unless told that nothing was sent since."""


def test_row_by_row_and_file_by_file_it_is_what_it_was(filled, empty, archive_path):
    done = empty.restore(archive_path, "--send-waiting")
    assert done.code == 0, done.err
    assert empty.dump() == filled.dump()
    assert empty.files() == filled.files()
    assert len(empty.files()) == 11
    assert empty.tokens_under(OLD) == filled.all_tokens
    assert "messages: 66" in done.out
    assert "files: 11" in done.out


def test_a_sealed_one_as_well(filled, empty):
    passphrase = {"BACKUP_PASSPHRASE": "a passphrase of the shop"}
    path = filled.backup(**passphrase)
    assert path.suffix == ".sealed"
    assert b"luna" not in path.read_bytes()
    assert not tarfile.is_tarfile(path)
    done = empty.restore(path, "--send-waiting", **passphrase)
    assert done.code == 0, done.err
    assert empty.dump() == filled.dump()
    assert empty.files() == filled.files()


def test_answers_that_waited_may_have_been_sent_since_and_are_not_sent_again(
    filled, empty, archive_path
):
    done = empty.restore(archive_path)
    assert "22 answers waited" in done.out
    before, after = filled.dump(), empty.dump()
    assert {table for table in before if before[table] != after[table]} == MEANWHILE
    statuses = dict(empty.execute("SELECT status, count(*) FROM messages GROUP BY status"))
    assert statuses == {"received": 11, "sent": 11, "failed": 11, "unconfirmed": 33}
    assert empty.execute("SELECT count(*) FROM messages WHERE status = 'unconfirmed' "
                         "AND (called_at IS NULL OR due_at IS NULL)") == [(11,)]  # fmt: skip


def test_a_dry_run_verifies_all_and_changes_nothing(empty, archive_path):
    done = empty.restore(archive_path, "--dry-run", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["dry_run"] is True
    assert said["tables"]["accounts"] == 11
    assert said["files"] == 11
    assert empty.is_empty()


def test_a_database_that_was_only_migrated_is_empty_as_well(filled, empty, archive_path):
    empty.manage("migrate", "-v0")
    done = empty.restore(archive_path, "--send-waiting")
    assert done.code == 0, done.err
    assert empty.dump() == filled.dump()


def test_an_older_one_is_brought_up_to_date(used, empty):
    assert used.run(acts.migrate_back, "messaging", "0005").code == 0
    # The code is newer than the tables, as on the way through an upgrade.
    path = used.backup()
    done = empty.restore(path)
    assert done.code == 0, done.err
    assert "Brought up to date with" in done.out
    assert empty.execute("SELECT count(*) FROM sending_paces") == [(0,)]
    assert empty.execute("SELECT count(*) FROM messages") == [(66,)]


def test_while_others_write_it_shows_one_moment(used, new_site):
    writer = used.start(acts.write_without_end, ring=(OLD,))
    writer.wait_for("writing")
    paths = [used.backup() for _ in range(2)]
    writer.kill(9)
    writer.wait()
    counts = []
    for path in paths:
        target = new_site()
        done = target.restore(path, "--send-waiting")
        assert done.code == 0, done.err
        (hooks,) = target.execute("SELECT count(*) FROM webhook_events")
        (events,) = target.execute("SELECT count(*) FROM inbound_events")
        assert hooks[0] - events[0] in (0, 1), "the two are written one after the other"
        counts.append(hooks[0])
    assert counts == sorted(set(counts)), "each is of a later moment"


def test_the_archive_is_a_tar_that_proves_itself_without_our_code(archive_path, tmp_path):
    with tarfile.open(archive_path) as tar:
        tar.extractall(tmp_path)  # noqa: S202  (our own, and filters came with Python 3.11.4)
        names = tar.getnames()
    assert names[0] == "manifest.json"
    assert names[1].startswith("database.")
    assert names[-1] == "SHA256SUMS"
    assert os.system(f"cd {tmp_path} && sha256sum --quiet -c SHA256SUMS") == 0  # noqa: S605
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["secret"]["needed"] == fingerprint(OLD)
    assert manifest["database"]["tables"]["accounts"] == 11
    assert manifest["database"]["kind"] == ("postgresql" if IS_POSTGRES else "sqlite")


def test_it_is_the_owners_alone_and_holds_no_secret(filled, archive_path):
    assert archive_path.stat().st_mode & 0o777 == 0o600
    assert archive_path.parent.stat().st_mode & 0o777 == 0o700
    with tarfile.open(archive_path) as tar:
        text = tar.extractfile("manifest.json").read().decode()
    settings = json.loads(text)["settings"]
    assert settings["SESSION_SECRET"] is None
    assert settings["INSTAGRAM_APP_SECRET"] is None
    assert settings["INSTAGRAM_APP_ID"] == "sandbox-app"
    assert "TIME_ZONE" not in settings
    everything = archive_path.read_bytes()
    for secret in (OLD, "sandbox-secret-one", "sandbox-verify-token", "IGAATokenOfShop"):
        assert secret.encode() not in everything


def test_settings_that_are_missing_here_are_named(filled, empty):
    path = filled.backup(TIME_ZONE="Europe/Berlin", EMAIL_URL="smtp://u:pw@127.0.0.1:2525")
    done = empty.restore(path)
    assert "TIME_ZONE=Europe/Berlin" in done.out
    assert "EMAIL_URL" in done.out
    assert "smtp" not in done.out


def test_after_a_lost_secret_a_backup_is_made_and_says_so(filled, empty):
    options = ["backup", "--backup-dir", str(filled.backups)]
    for ring in [(OTHER,), ()]:
        done = filled.manage(*options, ring=ring)
        assert done.code == 0, done.err
        assert f"need secret {fingerprint(OLD)}" in done.err
    path = done.out.split("Backup: ")[1].strip()
    refused = empty.restore(path, ring=(OTHER,))
    assert refused.code == 1
    assert fingerprint(OLD) in refused.err
    assert fingerprint(OTHER) in refused.err
    assert empty.restore(path, ring=()).code == 5
    assert empty.is_empty()
    done = empty.restore(path, "--without-secret", ring=(OTHER,))
    assert done.code == 0, done.err
    assert empty.tokens_under(OLD) == filled.all_tokens


def test_a_secret_among_the_fallbacks_opens_it(empty, archive_path):
    assert empty.restore(archive_path, "--dry-run", ring=(NEW, OLD)).code == 0


@pytest.mark.skipif(not IS_POSTGRES, reason="there is one kind of database here")
def test_into_the_other_kind_it_is_refused_and_the_way_is_shown(filled, empty, archive_path):
    sqlite = {"DATABASE_URL": f"sqlite:///{empty.folder}/site.db"}
    done = empty.restore(archive_path, **sqlite)
    assert done.code == 1
    assert "The backup is of PostgreSQL, and the database here is SQLite" in done.err
    assert "dumpdata" in done.err
    assert not (empty.folder / "site.db").exists()
    assert empty.manage("migrate", "-v0", **sqlite).code == 0
    path = empty.backup(**sqlite)
    done = empty.restore(path)
    assert done.code == 1
    assert "The backup is of SQLite, and the database here is PostgreSQL" in done.err
    assert empty.is_empty()


@pytest.mark.skipif(not IS_POSTGRES, reason="there is one kind of database here")
def test_the_way_to_the_other_kind_that_is_shown_carries_all_over(empty, tmp_path):
    (section,) = re.findall(r"### From SQLite to PostgreSQL\n(.*?)\n## ", OPERATOR, re.DOTALL)
    blocks = re.findall(r"```\n(.*?)```", section.replace("\\\n", ""), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    dump, migrate, load, check = [line.split()[2:] for line in lines]
    sqlite = {"DATABASE_URL": f"sqlite:///{tmp_path}/site.db"}
    assert empty.run(acts.fill, 3, ring=(OLD,), **sqlite).code == 0
    rows = str(tmp_path / "rows.jsonl")
    done = empty.manage(*[rows if word == "rows.jsonl" else word for word in dump], **sqlite)
    assert done.code == 0, done.err
    for command in (migrate, [load[0], rows], check):
        done = empty.manage(*command)
        assert done.code == 0, done.err
    assert len(empty.tokens_under(OLD)) == 3
    assert empty.execute("SELECT count(*) FROM messages") == [(24,)]
    assert empty.execute("SELECT body FROM webhook_events") == [(b'{"\x00\xff not UTF-8"}',)]


def test_a_file_that_goes_meanwhile_is_no_error(used, empty):
    options = ["backup", "--backup-dir", str(used.backups)]
    folder = str(used.media / "attachments")
    done = used.run(acts.manage_while_files_vanish, folder, *options, ring=(OLD,))
    assert done.code == 0, done.err
    assert "10 files went meanwhile" in done.err
    (path,) = used.backups.iterdir()
    assert empty.restore(path).code == 0
    assert len(empty.files()) == 1


def test_a_file_that_cannot_be_stored_is_named_and_the_rest_is(used, empty):
    (used.media / ("n" * 120)).write_text("a long name")
    done = used.manage("backup", "--backup-dir", str(used.backups))
    assert done.code == 6
    assert "Left out: media/nnn" in done.err
    (path,) = used.backups.iterdir()
    assert empty.restore(path).code == 0
    assert len(empty.files()) == 11


def test_memory_does_not_grow_with_the_files(used, empty):
    needed = []
    for megabytes in (1, 300):
        with (used.media / "large.bin").open("wb") as file:
            file.truncate(megabytes * 1_000_000)
        options = ["backup", "--backup-dir", str(used.backups), "--keep", "1"]
        done = used.run(acts.manage_and_measure, *options, ring=(OLD,))
        assert done.code == 0, done.err
        needed.append(int(done.out.splitlines()[-1]))
    assert needed[1] - needed[0] < 30, needed
    (path,) = used.backups.iterdir()
    done = empty.run(acts.manage_and_measure, "restore", str(path), ring=(OLD,))
    assert done.code == 0, done.err
    assert int(done.out.splitlines()[-1]) - needed[0] < 30
    assert (empty.media / "large.bin").stat().st_size == 300_000_000


def test_older_ones_go_and_nothing_else(used):
    (used.backups).mkdir()
    others = {"instamsg-elsewhere-20260101T000000-000000Z.tar", "notes.txt"}
    for name in others:
        (used.backups / name).touch()
    for _ in range(3):
        newest = used.backup("--keep", "2")
        time.sleep(0.01)
    left = {path.name for path in used.backups.iterdir()}
    assert others < left
    assert newest.name in left
    assert len(left) == 4
