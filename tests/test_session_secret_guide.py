"""docs/session-secret.md: its commands are run, and its tables are held against the code.

A block runs with bash in an installation of its own, `$` line by `$` line. The comment above it
names the scenario, and what a person types; the lines below a command have to be in its answer, in
this order; `…` is anything, and each fingerprint stands for one secret throughout the scenario.
"""

import os
import re
import shutil
import signal
import socketserver
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
import requests
from django.core import checks, management
from django.core.management import CommandError, call_command, load_command_class
from django.db import OperationalError, connection
from django.urls import reverse
from django.utils import timezone

from crypto import checks as our_checks
from crypto import keyring, rotation, verdict
from crypto.commands import Exit
from crypto.env_file import EnvFile
from crypto.keyring import KeyRing, derive
from crypto.models import ROTATE_EVERY, Secret, SecurityEvent
from crypto.verdict import State

from .crypto.secrets_of_a_shop import NEW, OLD, OTHER, fingerprint, overwrite, store
from .waiting import A_WHILE, eventually, free_port

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "session-secret.md").read_text()

SHOPS = {
    "luna.ceramics": "acc_89baed550ed9",
    "nordlicht.tea": "acc_5d02b7c1e4f8",
    "otto.bikes": "acc_f31c6a9804be",
}
TOKENS = {name: f"IGAAPrivateTokenOf{pk}" * 8 for name, pk in SHOPS.items()}
CONNECT = f"""
from accounts.models import Account, Membership, Role, User
mara = User.objects.create_user("mara", "mara@shop.example", "correct horse 41")
for username, pk in {SHOPS!r}.items():
    account = Account.objects.create(
        pk=pk, instagram_account_id=pk, username=username, access_token={TOKENS!r}[username]
    )
    Membership.objects.create(user=mara, account=account, role=Role.OWNER)
"""
SYSTEMCTL = """#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/{port}
echo "$*" >&3
read -r code <&3
exit "$code"
"""


# --- The guide, read ----------------------------------------------------------------------------


@dataclass
class Step:
    command: str
    code: int
    answer: list[str]


@dataclass
class Block:
    scenario: str
    language: str
    text: str
    only_on: str = ""
    typed: list[str] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        steps: list[Step] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                command, _, code = line.removeprefix("$ ").partition("    # exit code ")
                steps.append(Step(command, int(code or 0), []))
            else:
                steps[-1].answer.append(line)
        return steps


def blocks() -> list[Block]:
    found = []
    for comment, language, text in re.findall(
        r"(?:^<!-- (.+?) -->\n)?^```(\w*)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL
    ):
        if comment.startswith("not run: "):
            continue
        run, *notes = comment.split("; ")
        assert run.startswith("run: "), f"Not run, and it does not say why:\n{text}"
        block = Block(run.removeprefix("run: "), language, text)
        for note in notes:
            if note.startswith("on "):
                block.only_on = note.removeprefix("on ")
            else:
                block.typed = note.removeprefix("types: ").split(", ")
        found.append(block)
    return found


def rows(heading: str) -> list[list[str]]:
    """The cells of the table in the section called `heading`."""
    section = re.split(r"^#+ ", GUIDE.split(f" {heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def pattern(text: str, known: dict[str, str]) -> re.Pattern:
    """What `text` of the guide stands for, where `known` fingerprints are those that were seen."""
    new: set[str] = set()

    def part(piece: str) -> str:
        if piece == "…":
            return ".*"
        if not re.fullmatch("[0-9a-f]{12}", piece):
            return re.escape(piece)
        if piece in known:
            return known[piece]
        if piece in new:
            return f"(?P=f{piece})"
        new.add(piece)
        return f"(?P<f{piece}>[0-9a-f]{{12}})"

    return re.compile("".join(map(part, re.split(r"(…|\b[0-9a-f]{12}\b)", text))))


# --- An installation to run it in ---------------------------------------------------------------


class Service:
    """What `systemctl` starts and stops: web and worker; or nothing, and the calls are kept."""

    def __init__(self, site: "Installation"):
        self.site, self.is_real = site, False
        self.calls: list[str] = []
        self.processes: list[subprocess.Popen] = []

    def do(self, action: str, unit: str) -> int:
        self.calls.append(action)
        if unit != "insta-messaging" or action not in ("start", "stop", "restart"):
            return 5
        if action != "start":
            self.stop()
        if action != "stop" and self.is_real:
            self.start()
        return 0

    def start(self) -> None:
        web = "granian --interface wsgi instamsg.wsgi:application --host 127.0.0.1 --workers 1"
        for command in (f"{web} --port {self.site.port}", "python manage.py run_huey"):
            with (self.site.folder / "service.log").open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        command.split(),
                        cwd=self.site.folder,
                        env=self.site.environment,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        worker = f"SELECT 1 FROM processes WHERE pid = {self.processes[-1].pid}"
        eventually(lambda: self.site.query(worker) and self._answers())

    def stop(self) -> None:
        while self.processes:
            process = self.processes.pop()
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.site.port}/livez", timeout=2).ok
        except requests.ConnectionError:
            return False


class Asked(socketserver.StreamRequestHandler):
    """One call of `systemctl`: its arguments come in, its exit code goes out."""

    def handle(self):
        code = self.server.service.do(*self.rfile.readline().decode().split())
        self.wfile.write(f"{code}\n".encode())


class Installation:
    """A folder with the programs, a `.env`, and a database in which three shops are connected."""

    def __init__(self, folder: Path, database: str):
        self.folder, self.database, self.port = folder, database, free_port()
        self.file = folder / ".env"
        self.known = {"40a3d81e97bc": fingerprint(OLD)}  # The guide's example → the real one.
        self.service = Service(self)
        programs = f"{folder / 'bin'}:{Path(sys.executable).parent}"
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
        }

    def write_env(self, *lines: str) -> None:
        self.file.write_text(
            "\n".join(
                [
                    "ENVIRONMENT=development",
                    f"PORT={self.port}",
                    "EMAIL_URL=filemail:///mails",  # In our folder.
                    # Nobody listens there.
                    "INSTAGRAM_GRAPH_URL=http://127.0.0.1:9",
                    "INSTAGRAM_TOKEN_URL=http://127.0.0.1:9/oauth/access_token",
                    *([] if self.is_sqlite else [f"DATABASE_URL={self.database}"]),
                    *lines,
                    "",
                ]
            )
        )
        self.file.chmod(0o600)

    def hold(self, secret: str, *fallbacks: str) -> None:
        """Change the secrets in `.env` by hand."""
        EnvFile(self.file).write(secret, list(fallbacks))

    @contextmanager
    def systemctl(self) -> Iterator[None]:
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Asked) as server:
            server.service = self.service
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            script = self.folder / "bin" / "systemctl"
            script.parent.mkdir(exist_ok=True)
            script.write_text(SYSTEMCTL.format(port=server.server_address[1]))
            script.chmod(0o755)
            try:
                yield
            finally:
                server.shutdown()
                self.service.stop()

    # What the guide has somebody do

    def play(self, scenario: str, *typed: str) -> None:
        """All blocks of `scenario` that are left; `typed` is entered where something is asked."""
        for _ in self.walk(scenario, *typed):
            pass

    def walk(self, scenario: str, *typed: str) -> Iterator[str]:
        """Runs a block, and gives its output before it runs the next."""
        chosen = [block for block in blocks() if block.scenario == scenario]
        assert chosen, f"The guide has no block for: {scenario}"
        entered = list(typed)
        for block in chosen:
            if block.only_on == "SQLite" and not self.is_sqlite:
                continue
            answers = [entered.pop(0) for _ in block.typed]
            yield self._sql(block) if block.language == "sql" else self._console(block, answers)
        assert not entered

    def _sql(self, block: Block) -> str:
        self.query(block.text, commit=True)
        return ""

    def run(self, script: str, *typed: str) -> tuple[int, str]:
        """The exit code and all the output of a script of bash."""
        done = subprocess.run(
            ["bash", "-c", script],  # noqa: S607  (whichever comes first, as for the operator)
            cwd=self.folder,
            env=self.environment,
            input="".join(f"{answer}\n" for answer in typed),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=A_WHILE,
        )
        return done.returncode, done.stdout

    def _console(self, block: Block, answers: list[str]) -> str:
        mark = "---- done: "
        lines = [f"{step.command}\nprintf '\\n{mark}%s\\n' $?" for step in block.steps]
        _, everything = self.run("\n".join(lines), *answers)
        parts = re.split(rf"\n{mark}(\d+)\n", everything)
        assert len(parts) == 2 * len(block.steps) + 1, everything
        for step, output, code in zip(block.steps, parts[0::2], parts[1::2], strict=False):
            assert int(code) == step.code, f"$ {step.command}\n{output}exit code {code}"
            self._compare(step, output)
        return everything

    def _compare(self, step: Step, output: str) -> None:
        place = 0
        for line in step.answer:
            found = pattern(line, self.known).search(output, place)
            assert found, f"$ {step.command}\nThe guide says:\n{line}\nIt answered:\n{output}"
            place = found.end()
            self.known |= {name[1:]: text for name, text in found.groupdict().items()}

    # What is true then

    @property
    def is_sqlite(self) -> bool:
        return self.database.startswith("sqlite")

    @property
    def held(self) -> EnvFile:
        return EnvFile(self.file)

    def query(self, sql: str, *, commit: bool = False, file: Path | None = None) -> list[tuple]:
        if self.is_sqlite:
            connected = sqlite3.connect(file or self.folder / "instagram_automation.db", timeout=5)
        else:
            connected = psycopg.connect(self.database)
        with closing(connected) as database:
            cursor = database.execute(sql)
            found = cursor.fetchall() if cursor.description else []
            if commit:
                database.commit()
            return found

    def opened(self, secret: str | None = None, file: Path | None = None) -> dict[str, str]:
        """Username → token, of those that one secret opens; by default the one in `.env`."""
        ring = KeyRing(secret or self.held.secret)
        stored = self.query("SELECT username, access_token_encrypted FROM accounts", file=file)
        return {name: ring.decrypt(text) for name, text in stored if text and ring.opens(text)}

    def overwrite(self, pk: str, ciphertext: str) -> None:
        sql = f"UPDATE accounts SET access_token_encrypted = '{ciphertext}' WHERE id = '{pk}'"
        self.query(sql, commit=True)

    def recorded(self) -> list[str]:
        return [kind for (kind,) in self.query("SELECT kind FROM security_events ORDER BY id")]

    def backups(self) -> list[Path]:
        return [*self.folder.glob("*-before-*"), *self.folder.glob("backups/*-before-*")]


@dataclass
class Databases:
    """One for each installation, of the kind that the tests run on."""

    server: str

    def make(self, folder: Path, template: "Installation | None" = None) -> str:
        if not self.server:
            return "sqlite"  # The file lies in the folder, and comes with its copy.
        name = f"instamsg_guide_{os.getpid()}_{free_port()}"
        like = f" TEMPLATE {self._name(template.database)}" if template else ""
        self._administer(f"CREATE DATABASE {name}{like}")
        return f"{self.server.rsplit('/', 1)[0]}/{name}"

    def drop(self, database: str) -> None:
        if self.server:
            self._administer(f"DROP DATABASE {self._name(database)} WITH (FORCE)")

    @staticmethod
    def _name(database: str) -> str:
        return database.rsplit("/", 1)[1]

    def _administer(self, sql: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as database:
            database.execute(sql)


@pytest.fixture(scope="module")
def databases():
    server = os.environ.get("DATABASE_URL", "")
    return Databases(server if server.startswith("postgres") else "")


@pytest.fixture(scope="module")
def template(tmp_path_factory, databases):
    """Made once: the others are copies of it."""
    folder = tmp_path_factory.mktemp("guide") / "template"
    folder.mkdir()
    for name in ("crypto", "accounts", "messaging", "instamsg", "templates"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("manage.py", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder)
    site = Installation(folder, databases.make(folder))
    site.write_env(f"SESSION_SECRET={OLD}")
    for command in (["migrate", "-v0"], ["shell", "-v0", "-c", CONNECT]):
        subprocess.run(
            [sys.executable, "manage.py", *command], cwd=folder, env=site.environment, check=True
        )
    yield site
    databases.drop(site.database)


# --- Its commands, run --------------------------------------------------------------------------

SCENARIOS: dict[str, Callable[[Installation], None]] = {}


def scenario(name: str):
    """What is true before, between and after the blocks of one scenario."""

    def keep(function):
        SCENARIOS[name] = function
        return function

    return keep


@scenario("one machine, online")
def one_machine_online(site):
    site.service.is_real = True
    walk = site.walk("one machine, online")
    next(walk)
    assert site.opened() == TOKENS
    assert site.held.fallbacks == [OLD]
    assert len(site.backups()) == 1
    assert "rotated" in site.recorded()
    next(walk)
    assert site.held.fallbacks == []
    assert next(walk, None) is None


@scenario("several hosts")
def several_hosts(site):
    walk = site.walk("several hosts")
    next(walk)
    new = (site.folder / "next-secret").read_text().strip()
    site.known["5b1c9e6f20a7"] = fingerprint(new)
    site.hold(OLD, new)
    next(walk)
    site.hold(new, OLD)
    runs_elsewhere(site, OLD)  # A host that was forgotten in phase 1.
    lacks_it = "web process 17 on dm-2"
    assert f"Does not hold {fingerprint(new)}: {lacks_it}. Restart it" in next(walk)
    code, answer = site.run("python manage.py rotate_secret")
    assert (code, lacks_it in answer, site.opened(OLD)) == (Exit.FAILED, True, TOKENS)
    assert site.backups() == []
    site.query("DELETE FROM processes", commit=True)
    next(walk)
    assert site.opened() == TOKENS
    assert next(walk, None) is None


@scenario("new installation")
def new_installation(site):
    for table in ("memberships", "accounts", "secrets"):
        site.query(f"DELETE FROM {table}", commit=True)
    site.write_env()
    site.play("new installation")
    assert site.service.calls == ["start"]
    assert site.file.stat().st_mode & 0o777 == 0o600


@scenario("a look")
def a_look(site):
    before = site.file.read_text()
    site.play("a look")
    assert site.file.read_text() == before


@scenario("one machine, offline")
def one_machine_offline(site):
    site.play("one machine, offline", OLD, NEW)
    assert site.service.calls == ["stop", "start"]
    assert (site.held.secret, site.held.fallbacks) == (NEW, [OLD])
    assert site.opened() == TOKENS
    if site.is_sqlite:
        assert site.opened(OLD, site.folder / "instagram_automation-by-hand.db") == TOKENS


@scenario("secret in a file")
def secret_in_a_file(site):
    site.write_env(
        "SESSION_SECRET_FILE=session-secret", "SESSION_SECRET_FALLBACKS_FILE=session-secret.old"
    )
    now, before = site.folder / "session-secret", site.folder / "session-secret.old"
    now.write_text(f"{OLD}\n")
    before.touch()
    site.play("secret in a file")
    assert site.opened(now.read_text().strip()) == TOKENS
    assert before.read_text().strip() == OLD
    assert now.stat().st_mode & 0o077 == 0


@scenario("found again")
def found_again(site):
    site.hold(OTHER)
    assert site.opened() == {}
    site.hold(OLD)
    site.play("found again")
    assert site.opened() == TOKENS


@scenario("lost for good")
def lost_for_good(site):
    site.write_env()
    site.play("lost for good", "yes")
    assert site.opened(OLD) == {}
    (backup,) = site.backups()
    if site.is_sqlite:
        assert site.opened(OLD, backup) == TOKENS  # Should the secret turn up.
    mails = "".join(mail.read_text() for mail in (site.folder / "mails").iterdir())
    assert mails.count("To: mara@shop.example") == 2  # Beforehand, and then.
    assert all(mails.count(shop) == 2 for shop in SHOPS)


@scenario("by hand")
def by_hand(site):
    site.hold(OTHER)
    site.play("by hand")
    columns = "access_token_encrypted, token_expires_at"
    assert set(site.query(f"SELECT {columns} FROM accounts")) == {(None, None)}


@scenario("some unreadable")
def some_unreadable(site):
    strange = derive(OTHER).fernet.encrypt(b"of another site").decode()
    site.overwrite(SHOPS["luna.ceramics"], strange)
    readable = {name: token for name, token in TOKENS.items() if name != "luna.ceramics"}
    site.hold(NEW, OLD)
    walk = site.walk("some unreadable", "yes")
    next(walk)
    assert site.opened(OLD) == readable
    next(walk)
    assert site.opened(NEW) == readable
    assert site.opened(OTHER) == {}
    assert next(walk, None) is None


@scenario("leaked with the database")
def leaked_with_the_database(site):
    site.play("leaked with the database", "yes")
    assert site.opened(OLD) == {}
    assert site.held.secret != OLD
    assert site.held.fallbacks == []
    assert site.service.calls == ["restart"]


@scenario("an old backup")
def an_old_backup(site):
    """From before a rotation to NEW, which the site has run with since."""
    if site.is_sqlite:
        live = site.folder / "instagram_automation.db"
        shutil.copy(live, site.folder / "instagram_automation-before-rotation.db")
        for pk in SHOPS.values():
            site.overwrite(pk, "damaged")
    site.hold(NEW, OLD)
    site.known["5b1c9e6f20a7"] = fingerprint(NEW)
    site.play("an old backup")
    assert site.opened(NEW) == TOKENS


@scenario("a rehearsal")
def a_rehearsal(site):
    if not site.is_sqlite:
        pytest.skip("the guide rehearses on a copy of an SQLite file")
    runs_elsewhere(site, OLD)  # The running site, as its copy remembers it.
    before = site.file.read_text()
    site.play("a rehearsal")
    assert site.file.read_text() == before
    assert site.opened(OLD) == TOKENS
    assert site.backups() == []


def runs_elsewhere(site: Installation, secret: str) -> None:
    now = timezone.now().isoformat(sep=" ")
    site.query(
        "INSERT INTO processes (kind, host, pid, pid_namespace, fingerprints, verdict, started_at,"
        f" seen_at) VALUES ('web', 'dm-2', 17, '', '[\"{fingerprint(secret)}\"]', '',"
        f" '{now}', '{now}')",
        commit=True,
    )


@pytest.fixture(scope="module")
def played(request, tmp_path_factory, databases, template):
    """Scenario → how it went. Two at a time: most of it is programs that start."""
    chosen = [item.callspec.params["name"] for item in request.session.items if
              item.function is test_the_commands_of_a_scenario]  # fmt: skip
    folder = tmp_path_factory.mktemp("played")
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(play, name, folder, databases, template) for name in chosen}


def play(name: str, folder: Path, databases: Databases, template: Installation) -> None:
    place = folder / name.replace(" ", "-")
    shutil.copytree(template.folder, place)
    site = Installation(place, databases.make(place, template))
    site.write_env(f"SESSION_SECRET={OLD}")
    try:
        with site.systemctl():
            SCENARIOS[name](site)
    finally:
        databases.drop(site.database)


@pytest.mark.processes
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_commands_of_a_scenario(name, played):
    played[name].result()


def test_each_scenario_of_the_guide_is_played():
    assert {block.scenario for block in blocks()} == set(SCENARIOS)


# --- Its tables and words -----------------------------------------------------------------------


def test_links_to_its_sections_lead_somewhere():
    headings = re.findall(r"^#+ (.+)$", GUIDE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
    links = re.findall(r"\]\(#([^)]+)\)", GUIDE)
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        links += re.findall(r"session-secret\.md#([^)]+)\)", path.read_text())
    assert len(links) > 20
    assert set(links) <= anchors


def test_the_page_in_the_admin_is_where_the_guide_says():
    assert f"(`{reverse('admin:crypto_secret_changelist')}`)" in GUIDE


def test_every_option_that_the_guide_names_exists():
    names = ("generate_secret", "check_secret", "rotate_secret", "reset_tokens", "check")
    known = {"--clean", "--if-exists"}  # Of pg_restore.
    for name in names:
        command = load_command_class(management.get_commands()[name], name)
        known |= set(command.create_parser("manage.py", name)._option_string_actions)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", GUIDE)) <= known


def test_exit_codes_are_those_of_the_commands():
    assert [int(code) for code, _ in rows("Exit codes")] == list(Exit)


def test_the_audit_table_names_every_kind_of_event():
    named = [
        event.strip() for cell, _ in rows("What the audit records") for event in cell.split(",")
    ]
    assert sorted(named) == sorted(SecurityEvent.Kind.labels)


def test_every_check_of_the_secret_is_explained():
    ids = set(re.findall(r"crypto\.[EW]\d+", Path(our_checks.__file__).read_text()))
    assert set(re.findall(r"crypto\.[EW]\d+", GUIDE)) == ids


def test_log_lines_that_people_search_for_are_quoted(caplog):
    keyring.note_fallback.__wrapped__(derive(OLD))
    assert re.sub("[0-9a-f]{12}", "…", caplog.messages[0]) in GUIDE.replace("\n", " ")
    due = our_checks.due(Secret(fingerprint="0" * 12, first_used_at=timezone.now() - ROTATE_EVERY))
    assert "a new one is due every 12 months" in due.msg
    assert "a new one is due every 12 months" in GUIDE


STATES = {label: (says, set(re.findall(r"crypto\.\w+", ids)), int(code))
          for label, says, ids, code, _ in rows("What the site says of it")}  # fmt: skip


def test_the_table_of_states_is_complete():
    assert sorted(STATES) == sorted(State.labels)


@pytest.mark.parametrize("state", State, ids=str)
def test_the_table_of_states_tells_the_truth(state, settings, db):
    settings.KEYRING = {
        State.MISSING: KeyRing(None),
        State.EPHEMERAL: KeyRing(OTHER),
        State.SUPERSEDED: KeyRing(OLD),
        State.WRONG: KeyRing(OTHER),
        State.UNREADABLE: KeyRing(OLD),
        State.FALLBACK: KeyRing(NEW, [OLD]),
    }.get(state, KeyRing(OLD))
    if state != State.FRESH:
        accounts = store(3)
    if state == State.SUPERSEDED:
        rotation.rotate(KeyRing(NEW, [OLD]))
    if state == State.UNREADABLE:
        overwrite(accounts[0], "gAAAAA-of-nobody")
    if state == State.WEAK:
        settings.WEAK_SECRETS = [("SESSION_SECRET", "it is a published example")]
    settings.SESSION_SECRET_IS_EPHEMERAL = state == State.EPHEMERAL

    says, ids, code = STATES[state.label]
    with out_of_reach() if state == State.UNREACHABLE else nullcontext():
        found = verdict.look()
        assert found.state == state
        assert pattern(says.strip("`"), {}).fullmatch(found.title), found.title
        assert exit_code() == code
        seen = set()
        for settings.IS_PRODUCTION in (True, False):
            tags = ["startup", "database"]
            seen |= {m.id for m in checks.run_checks(tags=tags, databases=["default"])}
    of_crypto = {one for one in seen if one.startswith("crypto.")}
    assert of_crypto - {"crypto.W001"} == ids


def exit_code() -> int:
    try:
        call_command("check_secret")
    except CommandError as exc:
        return exc.returncode
    except SystemExit as exc:
        return int(exc.code)
    return 0


@contextmanager
def out_of_reach():
    def refuse(*query):
        raise OperationalError("connection refused")

    with connection.execute_wrapper(refuse):
        yield
