"""provision.sh on a bare Debian 12, from nothing to a site that answers, and through an upgrade.

Runs only when asked, since it takes root, debootstrap, the package registries and minutes:

    PROVISION_TRIAL=1 python -m pytest tests/deploy/test_provision.py

PROVISION_TRIAL may also name a folder that `debootstrap --variant=minbase --include=python3
bookworm` made, which is copied then.
"""

import re
import shutil
import sqlite3
import stat
from contextlib import closing

import pytest

from ..waiting import A_WHILE, eventually
from .bare_root import BareRoot
from .machine import APP_SECRET, DATABASE, SETTINGS, WEB, WORKER, Machine, only_when_asked

pytestmark = [pytest.mark.processes, only_when_asked]


class BareMachine(Machine, BareRoot):
    def start_both(self) -> None:
        self.start(WEB)
        self.start(WORKER)
        eventually(self.answers, A_WHILE)

    def stop_both(self) -> None:
        """In the order that systemd keeps."""
        self.stop(WORKER)
        self.stop(WEB)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with BareMachine(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@pytest.fixture(scope="module")
def first(machine):
    """What the first run said. One setting was there before."""
    (machine.path / SETTINGS).parent.mkdir()
    (machine.path / SETTINGS).write_text("TIME_ZONE=Europe/Berlin")
    done = machine.provision_first()
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def running(machine, first):
    machine.start_both()


def test_without_what_only_the_operator_knows_nothing_is_changed(machine):
    before = machine.snapshot("etc", "opt", "usr/local", "var/lib/dpkg")
    for options, missing in [
        ([], "--url"),
        (["--url", "http://dm.example.com"], "https"),
        (["--url", "https://dm.example.com"], "--app-id"),
        (["--url", "https://dm.example.com", "--app-id", "990000000000001"], "app secret"),
    ]:
        refused = machine.provision(*options)
        assert refused.returncode == 1
        assert missing in refused.stdout
    assert machine.snapshot("etc", "opt", "usr/local", "var/lib/dpkg") == before


def test_the_first_run_makes_the_first_user_and_says_how_to_start(first):
    assert re.search(r"admin, with the password \S+", first)
    assert "run_huey" in first
    assert APP_SECRET not in first


def test_the_settings_are_for_the_sites_own_user_alone(machine, first):
    status = (machine.path / SETTINGS).stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_uid == (machine.path / DATABASE).stat().st_uid != 0
    assert machine.settings.startswith("TIME_ZONE=Europe/Berlin\nENVIRONMENT=production\n")
    assert stat.S_IMODE((machine.path / SETTINGS).parent.stat().st_mode) == 0o700
    secret = re.search("^SESSION_SECRET=(.*)$", machine.settings, re.M)[1]
    assert len(secret) >= 32
    assert secret not in first


def test_the_site_answers_and_its_first_user_logs_in(machine, first, running):
    assert machine.log_in(re.search(r"the password (\S+)", first)[1]) == 302
    style = re.search(r'href="(/static/[^"]+\.css)"', machine.ask("GET", "/login")[2])[1]
    assert machine.ask("GET", style)[0] == 200


def test_what_arrives_is_stored_and_the_worker_reads_it(machine, running):
    assert machine.deliver() == 200
    eventually(lambda: machine.rows("SELECT 1 FROM webhook_events WHERE state <> 'pending'"))


def test_the_sites_own_user_can_write_nowhere_but_to_its_data(machine, first):
    writable = machine.run(
        "runuser", "-u", "insta-messaging", "--",
        "find", "/", "-xdev", "-writable", "-not", "-type", "l", "-not", "-path", "/proc/*",
    ).stdout.splitlines()  # fmt: skip
    known = ("/var/lib/insta-messaging", "/var/backups/insta-messaging", "/etc/insta-messaging")
    common = ("/tmp", "/var/tmp", "/run/lock", "/dev/")  # noqa: S108  (they are looked at)
    # A line of an error begins otherwise: where it may not even look.
    other = [path for path in writable if path[0] == "/" and not path.startswith(known + common)]
    assert [path for path in other if "/staticfiles" not in path] == []


def test_a_second_run_changes_nothing(machine, running):
    before = machine.snapshot("etc", "opt", "usr", "var/lib/dpkg", "var/backups")
    again = machine.provision("--url", "https://dm.example.com")
    assert again.returncode == 0
    assert re.fullmatch(r"Nothing to change: \S+ is installed\.\n", again.stdout)
    assert machine.snapshot("etc", "opt", "usr", "var/lib/dpkg", "var/backups") == before


def test_an_option_that_contradicts_the_settings_is_refused(machine, first):
    refused = machine.provision("--url", "https://other.example.com")
    assert refused.returncode == 1
    assert "edit that file" in refused.stdout


def test_the_sites_commands_are_at_hand_and_may_exchange_the_secret(machine, first):
    before = (machine.path / SETTINGS).stat()
    done = machine.run("insta-messaging", "generate_secret", "--env-file", f"/{SETTINGS}")
    assert done.returncode == 0, done.stdout
    after = (machine.path / SETTINGS).stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert "nothing is stored" in machine.run("insta-messaging", "check_secret").stdout


def test_after_a_stop_a_copy_of_one_file_is_whole(machine, running, tmp_path):
    machine.stop_both()
    copy = shutil.copy(machine.path / DATABASE, tmp_path / "copy.db")
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM webhook_events").fetchone() == (1,)
    machine.start_both()


def test_an_upgrade_backs_up_first_and_says_what_changed(machine, first, running):
    settings = machine.settings
    machine.new_version("9.9.9")

    refused = machine.provision()
    assert refused.returncode == 1
    assert "Stop web and worker" in refused.stdout
    assert machine.answers()

    machine.stop_both()
    done = machine.provision()
    assert done.returncode == 0, done.stdout
    assert re.search(r"^Upgraded from \S+\. Installed 9\.9\.9-\w{12}\.$", done.stdout, re.M)
    assert "password" not in done.stdout
    assert list((machine.path / "var/backups/insta-messaging").iterdir())
    assert len(list((machine.path / "opt/insta-messaging/releases").iterdir())) == 2
    assert machine.settings == settings
    machine.start_both()
    assert machine.log_in(re.search(r"the password (\S+)", first)[1]) == 302


def test_a_lost_secret_is_not_replaced_in_passing(machine, running):
    settings = machine.settings
    (machine.path / SETTINGS).write_text(re.sub("^SESSION_SECRET=.*\n", "", settings, flags=re.M))
    refused = machine.provision()
    assert refused.returncode == 1
    assert "bring the old one back" in refused.stdout
    assert "SESSION_SECRET=" not in machine.settings
    (machine.path / SETTINGS).write_text(settings)
