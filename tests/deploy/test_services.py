"""What provision.sh installs, under a running systemd; only when asked, as test_provision.py."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from ..waiting import A_WHILE, eventually
from .booted_root import BootedRoot
from .machine import DATABASE, WEB, WORKER, Machine, only_when_asked

pytestmark = [pytest.mark.processes, only_when_asked]


class BootedMachine(Machine, BootedRoot):
    def states(self) -> list[str]:
        """What systemd says of web and worker."""
        return self.run("systemctl", "is-active", WEB, WORKER).stdout.split()

    def until_both_run(self) -> None:
        eventually(lambda: self.states() == ["active", "active"] and self.answers(), A_WHILE)

    def process(self, unit: str) -> str:
        return self.run("systemctl", "show", "--property=MainPID", "--value", unit).stdout.strip()

    def add_migrations(self, *statements: str) -> None:
        """Into the clone, in place of those that were added before."""
        folder = self.clone / "messaging" / "migrations"
        for path in folder.glob("*_trial.py"):
            path.unlink()
        last = max(path.stem for path in folder.glob("0*.py"))
        for number, statement in enumerate(statements, int(last[:4]) + 1):
            name = f"{number:04}_trial"
            (folder / f"{name}.py").write_text(
                "from django.db import migrations\n\n\n"
                "class Migration(migrations.Migration):\n"
                f"    dependencies = [('messaging', '{last}')]\n"
                f"    operations = [migrations.RunSQL('{statement}')]\n"
            )
            last = name

    def systemctl(self, *words: str) -> None:
        done = self.run("systemctl", *words)
        assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with BootedMachine(tmp_path_factory.mktemp("booted")) as machine:
        done = machine.provision_first()
        assert done.returncode == 0, done.stdout
        yield machine


def test_after_the_first_run_all_of_it_runs(machine):
    assert machine.answers()
    assert machine.states() == ["active", "active"]
    assert machine.run("systemctl", "is-active", "insta-messaging-backup.timer").returncode == 0
    assert machine.deliver() == 200
    eventually(lambda: machine.rows("SELECT 1 FROM webhook_events WHERE state <> 'pending'"))


def test_a_second_run_changes_nothing(machine):
    folders = ("etc", "opt", "usr", "var/backups")
    before, processes = machine.snapshot(*folders), [machine.process(WEB), machine.process(WORKER)]
    assert machine.provision().stdout.startswith("Nothing to change")
    assert machine.snapshot(*folders) == before
    assert [machine.process(WEB), machine.process(WORKER)] == processes


def test_a_restart_moves_both(machine):
    before = {machine.process(WEB), machine.process(WORKER)}
    machine.systemctl("restart", "insta-messaging")
    machine.until_both_run()
    assert not before & {machine.process(WEB), machine.process(WORKER)}


def test_a_process_that_dies_comes_back(machine):
    before = [machine.process(WEB), machine.process(WORKER)]
    machine.systemctl("kill", "--signal=KILL", "--kill-whom=main", WEB, WORKER)
    eventually(lambda: machine.states() != ["active", "active"])
    machine.until_both_run()
    assert machine.process(WEB) != before[0]
    assert machine.process(WORKER) != before[1]


def test_a_stop_ends_both_and_leaves_one_whole_file(machine, tmp_path):
    machine.systemctl("stop", "insta-messaging")
    assert machine.states() == ["inactive", "inactive"]
    copy = shutil.copy(machine.path / DATABASE, tmp_path / "copy.db")
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM webhook_events").fetchone() == (1,)
    machine.systemctl("start", "insta-messaging")
    machine.until_both_run()


def test_a_backup_is_made_on_demand(machine):
    machine.systemctl("start", "insta-messaging-backup.service")
    assert list((machine.path / "var/backups/insta-messaging").iterdir())


def test_an_upgrade_goes_by_itself(machine):
    machine.new_version("9.9.9")
    done = machine.provision()
    assert done.returncode == 0, done.stdout
    assert "Upgraded from" in done.stdout
    machine.until_both_run()


def test_an_upgrade_that_migrated_nothing_leaves_the_former_release_running(machine):
    before = (machine.path / "opt/insta-messaging/current").readlink()
    machine.add_migrations("ALTER TABLE no_such_table ADD COLUMN x integer")
    refused = machine.provision()
    assert refused.returncode == 1
    assert "The database is as it was" in refused.stdout
    machine.until_both_run()
    assert (machine.path / "opt/insta-messaging/current").readlink() == before


def test_an_upgrade_that_stops_half_way_stops_the_site_and_says_so(machine):
    machine.add_migrations("CREATE TABLE half_way (x integer)", "DROP TABLE no_such_table")
    refused = machine.provision()
    assert refused.returncode == 1
    assert "migrated in part" in refused.stdout
    assert machine.states() == ["inactive", "inactive"]

    machine.add_migrations()
    assert machine.provision().returncode == 0
    machine.until_both_run()


def test_without_a_backup_there_is_no_upgrade(machine):
    current = (machine.path / "opt/insta-messaging/current").readlink()
    release = machine.path / current.relative_to("/")
    (release / "messaging" / "backup.py").unlink()
    machine.new_version("9.9.10")
    refused = machine.provision()
    assert refused.returncode == 1
    assert "nothing was upgraded" in refused.stdout
    machine.until_both_run()
    assert "9.9.9-" in str((machine.path / "opt/insta-messaging/current").readlink())
