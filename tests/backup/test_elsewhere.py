"""Files that another machine keeps are not in a backup, and it says so."""

import json
import tarfile

import pytest

pytestmark = pytest.mark.processes

STORAGE = "tests.object_store.ObjectStorage"
ELSEWHERE = {
    "MEDIA_STORAGE": STORAGE,
    "MEDIA_STORAGE_OPTIONS": json.dumps({"url": "http://127.0.0.1:9", "password": "s3cr3t-of-it"}),
}


def test_a_backup_holds_the_database_alone_and_says_where_the_files_are(used, empty):
    done = used.manage("backup", "--backup-dir", str(used.backups), **ELSEWHERE)
    assert done.code == 0, done.err
    assert f"Not in the backup: the files, which {STORAGE} keeps." in done.err
    (path,) = used.backups.iterdir()
    with tarfile.open(path) as tar:
        assert [name for name in tar.getnames() if name.startswith("media/")] == []
        manifest = tar.extractfile("manifest.json").read().decode()
    assert json.loads(manifest)["files_elsewhere"] == STORAGE
    assert "s3cr3t-of-it" not in manifest + done.out + done.err
    done = empty.restore(path)
    assert done.code == 0, done.err
    assert f"files: not in it; {STORAGE} keeps them" in done.out
    assert f"MEDIA_STORAGE={STORAGE}" in done.out  # Set there, and not here.
    assert empty.database.tables()


def test_where_files_are_kept_elsewhere_a_backup_with_files_is_refused(empty, archive_path):
    done = empty.restore(archive_path, **ELSEWHERE)
    assert done.code == 1
    assert "copy what is then in MEDIA_ROOT into the storage" in done.err
    assert empty.is_empty()
