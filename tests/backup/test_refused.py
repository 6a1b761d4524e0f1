"""What does not belong here, or is not whole, is refused before anything is touched."""

import io
import json
import os
import shutil
import tarfile

import pytest

from messaging import archive
from tests.rotation.databases import IS_POSTGRES
from tests.rotation.installation import OLD, OTHER, fingerprint

from . import acts

pytestmark = pytest.mark.processes

PASSPHRASE = "a passphrase of the shop"


def is_refused(site, done, *words: str, code: int = 1) -> None:
    assert done.code == code, done
    assert done.err.startswith("CommandError: "), done.err
    assert "Nothing was changed." in done.err
    for word in words:
        assert word in done.err
    assert site.is_empty()
    assert [path.name for path in site.folder.iterdir() if "restoring" in path.name] == []


def test_a_flipped_byte_is_named(empty, archive_path, tmp_path):
    with tarfile.open(archive_path) as tar:
        picture = next(one for one in tar if one.name.endswith("5.jpg"))
        database = next(one for one in tar if one.name.startswith("database."))
    for member in (picture, database):
        path = tmp_path / "flipped.tar"
        data = bytearray(archive_path.read_bytes())
        data[member.offset_data + member.size // 2] ^= 1
        path.write_bytes(data)
        for options in ([], ["--dry-run"]):
            is_refused(
                empty, empty.restore(path, *options), f"{member.name} is damaged".capitalize()
            )


def test_a_cut_one_is_refused(empty, archive_path, tmp_path):
    path = tmp_path / "cut.tar"
    data = archive_path.read_bytes()
    for size in (0, 100, len(data) // 2, len(data) - 512):
        path.write_bytes(data[:size])
        is_refused(empty, empty.restore(path))


def test_another_file_is_refused(empty, tmp_path):
    path = tmp_path / "other.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(__file__, "module.py")
    is_refused(empty, empty.restore(path))
    is_refused(empty, empty.restore(tmp_path / "none.tar"), "No such file", code=2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"site": "99.0.0"}, "made by InstaMsg 99.0.0, newer than the"),
        ({"format": 2}, "format 2"),
        (
            {"database__migrations": ["accounts.0001_initial", "accounts.9999_of_tomorrow"]},
            "went through accounts.9999_of_tomorrow, which is not known here",
        ),
    ],
    ids=["version", "format", "migration"],
)
def test_one_of_newer_code_is_refused(empty, archive_path, tmp_path, changes, words):
    path = tmp_path / "newer.tar"
    acts.rewrite(str(archive_path), str(path), **changes)
    is_refused(empty, empty.restore(path), words, "Install that version")


def test_the_wrong_secret_is_refused(empty, archive_path):
    done = empty.restore(archive_path, ring=(OTHER,))
    is_refused(empty, done, fingerprint(OLD), fingerprint(OTHER), "--without-secret")


def test_a_sealed_one_needs_its_passphrase(filled, empty):
    path = filled.backup(BACKUP_PASSPHRASE=PASSPHRASE)
    wrong = empty.restore(path, BACKUP_PASSPHRASE="another passphrase")
    is_refused(empty, wrong, "The passphrase is wrong")
    is_refused(empty, empty.restore(path), "set BACKUP_PASSPHRASE", code=5)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    flipped = path.with_name("flipped")
    flipped.write_bytes(data)
    done = empty.restore(flipped, BACKUP_PASSPHRASE=PASSPHRASE)
    is_refused(empty, done, "is damaged", "part")
    flipped.unlink()


def test_one_that_is_not_sealed_is_refused_where_backups_are(empty, archive_path):
    for options in ([], ["--dry-run"]):
        done = empty.restore(archive_path, *options, BACKUP_PASSPHRASE=PASSPHRASE)
        is_refused(empty, done, "is not sealed, and a passphrase is set", "--unsealed")
    done = empty.restore(archive_path, "--unsealed", BACKUP_PASSPHRASE=PASSPHRASE)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "manifest",
    [
        b"no JSON",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"format": 1}',
        b'{"format": "1"}',
        b'{"format": NaN}',
        b'{"format": 1, "database": {"kind": []}}',
        b" " * 1_000_001,
    ],
    ids=["no-json", "no-utf8", "list", "deep", "lacking", "text", "nan", "odd", "huge"],
)
def test_what_describes_no_backup_is_refused(empty, tmp_path, manifest):
    path = tmp_path / "odd.tar"
    with path.open("wb") as file, archive.Writer(file, 0) as writer:
        writer.add("manifest.json", io.BytesIO(manifest), len(manifest))
    is_refused(empty, empty.restore(path, "--dry-run"), "Manifest.json is damaged")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could do harm here")
def test_root_does_not_put_there_what_the_site_could_not_read(empty, archive_path):
    empty.media.mkdir()
    os.chown(empty.media, 65534, 65534)
    done = empty.restore(archive_path)
    is_refused(empty, done, "You are root", str(empty.media))


def test_a_damaged_database_is_no_backup(used):
    if IS_POSTGRES:
        pytest.skip("its server finds that out")
    newest = used.backup("--keep", "1")
    with used.database.connected() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with used.database.path.open("r+b") as file:
        for page in range(20, 60):
            file.seek(page * 4096)
            file.write(b"\xff" * 100)
    done = used.manage("backup", "--backup-dir", str(used.backups), "--keep", "1")
    assert done.code == 1
    assert "damaged" in done.err or "malformed" in done.err
    assert [path.name for path in used.backups.iterdir()] == [newest.name]


def test_where_rows_are_nothing_is_restored(used, archive_path):
    before, files = used.dump(), used.files()
    done = used.restore(archive_path)
    assert done.code == 1
    assert "The database here holds rows (messages: 66" in done.err
    assert used.dump() == before
    assert used.files() == files


def test_where_files_are_nothing_is_restored(empty, archive_path):
    empty.media.mkdir()
    (empty.media / "notes.txt").write_text("keep me")
    done = empty.restore(archive_path)
    assert done.code == 1
    assert "holds files" in done.err
    assert empty.files().keys() == {"notes.txt"}


def test_while_the_site_runs_nothing_is_restored(empty, archive_path):
    empty.manage("migrate", "-v0")
    empty.execute(
        "INSERT INTO processes (kind, host, pid, pid_namespace, fingerprints, verdict, started_at,"
        " seen_at) VALUES ('web', 'elsewhere', 1, '', '[]', '', ?, ?)",
        *("2999-01-01", "2999-01-01"),
    )
    done = empty.restore(archive_path)
    assert done.code == 1
    assert "The site is running: web process 1 on elsewhere. Stop it first." in done.err


def test_a_passphrase_that_is_easy_to_guess_is_refused(filled):
    done = filled.manage("backup", BACKUP_PASSPHRASE="short")
    assert done.code == 2
    assert "12 characters" in done.err
    done = filled.manage("backup", "--encrypt")
    assert done.code == 5


def test_without_tables_there_is_nothing_to_back_up(empty):
    done = empty.manage("backup", "--backup-dir", str(empty.backups))
    assert done.code == 1
    assert "nothing to back up" in done.err
    assert not empty.backups.exists()
    assert empty.is_empty()


def test_a_backup_into_the_folder_that_is_backed_up_is_refused(filled):
    done = filled.manage("backup", "--backup-dir", str(filled.media / "backups"))
    assert done.code == 1
    assert "within MEDIA_ROOT" in done.err


@pytest.mark.skipif(not IS_POSTGRES, reason="SQLite needs no programs")
class TestPostgresqlsPrograms:
    @pytest.fixture
    def programs(self, tmp_path):
        folder = tmp_path / "bin"
        folder.mkdir()
        return folder

    def put(self, folder, name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        return {"PATH": f"{folder}:/bin:/usr/bin"}

    def test_missing_ones_are_named(self, filled, empty, archive_path, programs):
        path = {"PATH": str(programs)}
        done = filled.manage("backup", "--backup-dir", str(filled.backups), **path)
        assert done.code == 1
        assert "pg_dump is not installed here" in done.err
        assert "postgresql-client" in done.err
        is_refused(empty, empty.restore(archive_path, **path), "pg_restore is not installed here")

    def test_older_ones_are_refused(self, filled, empty, archive_path, programs):
        self.put(programs, "pg_restore", "echo 'pg_restore (PostgreSQL) 9.6.24'")
        path = self.put(programs, "pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.24'")
        done = filled.manage("backup", "--backup-dir", str(filled.backups), **path)
        assert done.code == 1
        assert "pg_dump is of version 9" in done.err
        is_refused(empty, empty.restore(archive_path, **path), "pg_restore is of version 9")
        assert "partial" not in str(list(filled.backups.iterdir()))

    def test_an_older_server_is_refused(self, empty, archive_path, tmp_path):
        path = tmp_path / "newer.tar"
        acts.rewrite(str(archive_path), str(path), database__server=99)
        is_refused(empty, empty.restore(path), "of PostgreSQL 99")

    def test_the_password_is_no_argument_and_tls_is_as_the_site_has_it(self, filled, programs):
        said, real = programs / "said", shutil.which("pg_dump")
        script = f'echo "$PGSSLMODE $PGPASSWORD arguments: $@" >> {said}\nexec {real} "$@"'
        path = self.put(programs, "pg_dump", script)
        url = filled.database.url.replace("postgres@", "postgres:sesame-of-the-shop@")
        made = filled.backup(DATABASE_URL=f"{url}?sslmode=prefer", **path)
        calls = [line.split(" arguments: ") for line in said.read_text().splitlines()]
        assert "prefer sesame-of-the-shop" in [environment for environment, _ in calls]
        assert "sesame" not in "".join(arguments for _, arguments in calls)
        assert b"sesame" not in made.read_bytes()
        with tarfile.open(made) as tar:
            assert json.load(tar.extractfile("manifest.json"))["settings"]["DATABASE_URL"] is None
