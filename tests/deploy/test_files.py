"""What the files for a server name is there, and they agree with one another."""

import re
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands

from messaging.uploads import LARGEST_REQUEST

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = {path.name: path.read_text() for path in (DEPLOY / "systemd").iterdir()}
SERVICES = sorted(name for name in UNITS if name.endswith(".service"))
WEB, WORKER = "insta-messaging.service", "insta-messaging-worker.service"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
COMPOSE_TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
PROVISION = (ROOT / "scripts" / "linux" / "provision.sh").read_text()
PROXIES = {name: (DEPLOY / name).read_text() for name in ("nginx.conf", "Caddyfile")}


def values(unit: str, name: str) -> list[str]:
    """What a unit says under a name, which may stand there more than once."""
    return re.findall(rf"^{name}=(.*)$", UNITS[unit], re.M)


def sandbox(unit: str) -> dict[str, list[str]]:
    """All that a unit says below the heading about what it may touch."""
    text = UNITS[unit].partition("# What it may touch")[2].partition("[Install]")[0]
    names = re.findall(r"^(\w+)=", text, re.M)
    return {name: values(unit, name) for name in names}


def commands() -> list[str]:
    """Every command line of ours in the units, the image and the compose file."""
    in_units = [
        line for unit in SERVICES for line in values(unit, r"Exec\w+") if "/python " in line
    ]
    in_lists = re.findall(r"\[(.*\.py.*)\]", CONTAINERFILE + COMPOSE_TEXT)
    return [*in_units, *(line.replace('"', "").replace(",", "") for line in in_lists)]


def settings_named() -> set[str]:
    in_compose = list(COMPOSE["x-site"]["environment"])
    in_image = re.findall(r"(?:ENV|\s)([A-Z][A-Z_]+)=\S", CONTAINERFILE)
    in_units = re.findall(r"^Environment=([A-Z_]+)=", "\n".join(UNITS.values()), re.M)
    written = re.findall(r"^ +add ([A-Z_]+) ", PROVISION, re.M)
    assert len(written) > 8
    return {*in_compose, *in_image, *in_units, *written}


def test_every_setting_that_they_name_is_explained_in_the_example():
    example = (ROOT / ".env.example").read_text()
    of_python = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PIP_NO_CACHE_DIR", "BASE"}
    for name in settings_named() - of_python:
        explained = name.removesuffix("_FILE") if name != "ENV_FILE" else name
        assert re.search(rf"^#? ?{explained}\b", example, re.M), name


def test_every_command_that_they_run_exists():
    assert len(commands()) >= 8
    for line in commands():
        script, argument = re.search(r"(\S+\.py)(?: (\w+))?", line).groups()
        assert (ROOT / script).is_file(), line
        assert script != "manage.py" or argument in get_commands(), line


def test_the_code_that_a_server_and_an_image_get_is_all_of_it():
    ours = {app.partition(".")[0] for app in settings.INSTALLED_APPS if (ROOT / app).is_dir()}
    needed = {*ours, "instamsg", "templates", "scripts", "manage.py", "requirements.txt"}
    copied = set(re.search(r"CODE=\((.*?)\)", PROVISION, re.S)[1].split())
    assert needed | {"deploy"} <= copied
    in_image = set(re.findall(r"[\w./]+", "\n".join(re.findall("^COPY (.*)", CONTAINERFILE, re.M))))
    assert needed <= in_image
    assert all((ROOT / name).exists() for name in copied)


def test_what_is_done_to_the_site_is_done_to_its_worker():
    assert WORKER in values(WEB, "Wants")[0]
    assert values(WORKER, "PartOf") == [WEB]
    # Stopped before the site, so that whoever stopped the site may copy the database.
    assert values(WORKER, "After") == [WEB]
    assert "checkpoint.py" in values(WEB, "ExecStopPost")[0]


def test_a_worker_is_left_the_time_to_finish():
    granted = settings.HUEY["consumer"]["shutdown_timeout"]
    assert granted < int(values(WORKER, "TimeoutStopSec")[0]) <= 30
    assert granted < int(COMPOSE["services"]["worker"]["stop_grace_period"].rstrip("s")) <= 30


@pytest.mark.parametrize("unit", SERVICES)
def test_all_services_are_shut_in_alike(unit):
    shut_in = sandbox(unit)
    assert shut_in["ProtectSystem"] == ["strict"]
    assert shut_in["NoNewPrivileges"] == ["yes"]
    assert shut_in["IPAddressDeny"] == ["169.254.0.0/16"]
    assert {"MemoryMax", "TasksMax"} < shut_in.keys()
    backups = "ReadWritePaths" if "backup" in unit else "InaccessiblePaths"
    assert shut_in.pop(backups)[0].removeprefix("-") == "/var/backups/insta-messaging"
    assert shut_in == {k: v for k, v in sandbox(WEB).items() if k != "InaccessiblePaths"}
    assert values(unit, "User") == ["insta-messaging"]


@pytest.mark.parametrize("unit", SERVICES)
def test_no_secret_is_in_the_environment_of_a_service(unit):
    assert values(unit, "EnvironmentFile") == []
    assert "Environment=ENV_FILE=/etc/insta-messaging/env" in UNITS[unit]
    assert "SETTINGS=/etc/$NAME/env" in PROVISION


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_lets_the_largest_answer_through(name):
    allowed = int(re.search(r"(?:client_max_body_size|max_size) (\d+)m", PROXIES[name], re.I)[1])
    assert allowed * 1000 * 1000 >= LARGEST_REQUEST


def test_a_redirect_leads_to_the_site_whatever_a_client_asked_for():
    assert re.findall(r"return 301 (\S+);", PROXIES["nginx.conf"]) == [
        "https://$server_name$request_uri"
    ]


def test_no_container_runs_as_root_or_may_become_it():
    assert re.search(r"^USER (?!0|root)\w+$", CONTAINERFILE, re.M)
    site = COMPOSE["x-site"]
    assert site["read_only"] is True
    assert site["cap_drop"] == ["ALL"]
    assert "size=" in site["tmpfs"][0]
    for one in (site, COMPOSE["services"]["db"], COMPOSE["services"]["redis"]):
        assert one["security_opt"] == ["no-new-privileges:true"]


def test_each_secret_of_a_container_is_a_file():
    described = set(COMPOSE["secrets"])
    for name, service in COMPOSE["services"].items():
        assert set(service.get("secrets", [])) <= described
        for variable, value in service.get("environment", {}).items():
            if variable.endswith("_FILE"):
                assert Path(value).name in service["secrets"], (name, variable)
            else:
                assert not re.search("SECRET|TOKEN|PASSWORD|DATABASE_URL", variable), variable
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {Path(one["file"]).parent.name for one in COMPOSE["secrets"].values()} == {"secrets"}
    assert "/deploy/secrets/" in ignored


def test_the_site_is_offered_to_this_machine_alone():
    assert COMPOSE["services"]["web"]["ports"] == ["127.0.0.1:8000:8000"]
    published = [name for name, one in COMPOSE["services"].items() if "ports" in one]
    assert published == ["web"]


def test_the_windows_installer_has_the_line_ends_of_windows():
    text = (ROOT / "scripts" / "win" / "install.bat").read_bytes()
    assert text.count(b"\r\n") == text.count(b"\n") > 5
    assert b"scripts\\start.py --setup-only" in text
