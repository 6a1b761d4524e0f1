"""kill -9 at any moment: no half archive looks like one, and no half restore like a site."""

import time
from signal import SIGKILL, SIGXFSZ

import pytest

from tests.rotation import acts as rotation_acts
from tests.rotation.conftest import rng  # noqa: F401  (a fixture)
from tests.rotation.databases import IS_POSTGRES
from tests.rotation.installation import OLD

from . import acts

pytestmark = pytest.mark.processes


def archives(site) -> list:
    return sorted(path for path in site.backups.glob("*") if path.suffix != ".partial")


@pytest.mark.parametrize("size", [50_000, 1_500_000], ids=["the dump", "the archive"])
def test_killed_while_it_writes_nothing_is_there_that_restore_would_take(used, empty, size):
    if IS_POSTGRES and size == 50_000:
        pytest.skip("there pg_dump writes it, which was not killed")
    with (used.media / "large.bin").open("wb") as file:
        file.truncate(2_000_000)
    command = ["backup", "--backup-dir", str(used.backups)]
    died = used.run(rotation_acts.manage_and_die_writing, size, *command, ring=(OLD,))
    assert died.code == -SIGXFSZ
    assert archives(used) == []
    for left in used.backups.glob("*.partial"):
        assert left.stat().st_mode & 0o777 == 0o600
        assert empty.restore(left).code == 1
        assert empty.is_empty()
    assert used.backup() in archives(used)
    assert list(used.backups.glob("*.partial")) == [], "what was left goes with the next one"


@pytest.mark.parametrize(
    ("moment", "number"),
    [(".database.partial", 1), (".database.partial", 2), (".tar.partial", 2), (".tar.partial", 3)],
    ids=["before the dump", "after the dump", "before the archive", "before it has its name"],
)
def test_killed_at_a_step_the_next_one_is_whole(used, empty, moment, number):
    command = ["backup", "--backup-dir", str(used.backups)]
    died = used.run(acts.manage_and_die_at, moment, number, *command, ring=(OLD,))
    assert died.code == -SIGKILL
    assert archives(used) == []
    done = empty.restore(used.backup(), "--send-waiting")
    assert done.code == 0, done.err
    assert empty.dump() == used.dump()


def test_killed_at_random_each_archive_that_is_there_is_whole(used, empty, rng):  # noqa: F811
    with (used.media / "large.bin").open("wb") as file:
        file.truncate(30_000_000)
    began = time.monotonic()
    used.backup()
    takes = time.monotonic() - began
    for _ in range(5):
        job = used.start(acts.manage_and_measure, "backup", "--backup-dir", str(used.backups),
                         ring=(OLD,))  # fmt: skip
        time.sleep(rng.uniform(0, takes))
        job.kill(SIGKILL)
        job.wait()
    for path in archives(used):
        assert empty.restore(path, "--dry-run").code == 0
    used.backup()
    assert list(used.backups.glob("*.partial")) == []


def test_one_backup_at_a_time(used, tmp_path):
    command = ["backup", "--backup-dir", str(used.backups)]
    go = tmp_path / "go"
    first = used.start(acts.manage_and_wait, "dumped", str(go), *command, ring=(OLD,))
    first.wait_for("dumped")
    second = used.manage(*command)
    assert second.code == 1
    assert "Another backup is being written" in second.err
    go.touch()
    assert first.wait().code == 0
    assert len(archives(used)) == 1


def test_killed_while_it_restores_no_database_is_there_and_it_can_be_run_again(
    filled, empty, archive_path
):
    command = ["restore", str(archive_path), "--send-waiting"]
    moment = "/.restoring/attachments/" + f"{5:032x}.jpg"
    died = empty.run(acts.manage_and_die_at, moment, 1, *command, ring=(OLD,))
    assert died.code == -SIGKILL
    assert not (IS_POSTGRES and empty.database.tables())
    assert not (not IS_POSTGRES and empty.database.path.exists())
    done = empty.manage(*command)
    assert done.code == 0, done.err
    assert empty.dump() == filled.dump()
    assert empty.files() == filled.files()


def test_with_a_full_disk_nothing_is_restored(empty, archive_path):
    command = ["restore", str(archive_path)]
    done = empty.run(rotation_acts.manage_with_files_of, 50_000, *command, ring=(OLD,))
    assert done.code == 1
    assert "could not be unpacked: File too large. Nothing was changed." in done.err
    assert empty.is_empty()
    assert empty.restore(archive_path).code == 0
