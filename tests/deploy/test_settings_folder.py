"""The folder of the settings is the site's own: what its user lays there leads root nowhere."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from ..waiting import A_WHILE

PROVISION = Path(__file__).resolve().parents[2] / "scripts" / "linux" / "provision.sh"

pytestmark = pytest.mark.skipif(
    os.name == "nt" or os.geteuid() != 0 or not shutil.which("setpriv"), reason="takes root"
)


@pytest.fixture
def settings():
    """The path of settings that are not there yet, in a folder of somebody without rights."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "settings"
        Path(name).chmod(0o755)
        folder.mkdir(0o700)
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        yield folder / "env"


def run(settings: Path, commands: str) -> subprocess.CompletedProcess:
    """Some functions of the script, for these settings."""
    text = PROVISION.read_text().replace("SETTINGS=/etc/$NAME/env", f"SETTINGS={settings}")
    script = settings.parents[1] / "provision.sh"
    script.write_text(text.removesuffix('main "$@"\n') + commands)
    return subprocess.run(["/bin/bash", script], capture_output=True, text=True, timeout=A_WHILE)


COMPLETE = "url=https://dm.example.com app_id=1 complete_settings"


@pytest.fixture
def of_root(settings):
    """A file that root alone can read, to which a link in the folder leads."""
    path = settings.parents[1] / "of-root"
    path.write_text("PORT=1\nKEY=of the machine\n")
    path.chmod(0o600)
    settings.symlink_to(path)
    return path


def test_what_a_link_leads_to_is_neither_read_nor_given_away(settings, of_root):
    assert run(settings, "setting KEY").stdout == ""
    assert "cannot read" in run(settings, "ask_what_is_missing").stderr
    run(settings, COMPLETE)
    assert of_root.stat().st_uid == 0
    assert of_root.read_text() == "PORT=1\nKEY=of the machine\n"
    assert [
        p
        for p in settings.parent.iterdir()
        if not p.is_symlink() and "of the machine" in p.read_text()
    ] == []


def test_a_link_to_nothing_is_replaced(settings):
    aim = settings.parents[1] / "made-by-nobody"
    settings.symlink_to(aim)
    done = run(settings, COMPLETE)
    assert done.returncode == 0, done.stderr
    assert not aim.exists()
    assert "PORT=8000\n" in settings.read_text()


def test_settings_are_kept_and_completed(settings):
    settings.write_text("TIME_ZONE=Europe/Berlin\nexport PORT=8100")
    shutil.chown(settings, "nobody")
    settings.chmod(0o600)
    done = run(settings, COMPLETE)
    assert done.returncode == 0, done.stderr
    assert settings.read_text().startswith("TIME_ZONE=Europe/Berlin\nexport PORT=8100\nENVIRON")
    assert settings.owner() == "nobody"
    assert settings.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in settings.parent.iterdir()] == ["env"]
    assert run(settings, "setting PORT").stdout == "8100\n"


def test_settings_that_the_site_cannot_read_are_said_to_be_so(settings):
    settings.write_text("PORT=8100\n")
    settings.chmod(0o600)
    done = run(settings, "ask_what_is_missing")
    assert done.returncode == 1
    assert "cannot read" in done.stderr


def test_settings_of_a_user_who_was_deleted_are_still_read(settings):
    settings.write_text("PORT=8100\n")
    for path in (settings, settings.parent):
        os.chown(path, 54321, 54321)
    assert run(settings, "setting PORT").stdout == "8100\n"
