"""The directions that imports may go: crypto ← accounts ← messaging ← instamsg."""

import ast
import os
import sys
from pathlib import Path

import pytest

from . import once
from .environment import child_environment

ROOT = Path(__file__).parent.parent
LAYERS = ["crypto", "accounts", "messaging", "instamsg"]


def modules(package: str) -> list[Path]:
    return [p for p in (ROOT / package).rglob("*.py") if "migrations" not in p.parts]


def imports(path: Path, source: str | None = None) -> set[str]:
    """Absolute names of all that a module imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source or path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            base = ".".join([*inside, *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def upward(path: Path, source: str | None = None) -> set[str]:
    layer = LAYERS.index(path.relative_to(ROOT).parts[0])
    above = set(LAYERS[layer + 1 :])
    return {name for name in imports(path, source) if name.split(".")[0] in above}


@pytest.mark.parametrize("package", LAYERS)
def test_imports_point_one_way(package):
    assert {str(p): upward(p) for p in modules(package) if upward(p)} == {}


def test_an_upward_import_would_be_seen():
    path = ROOT / "crypto" / "fields.py"
    assert upward(path, "def f():\n    from messaging.models import Message") == {
        "messaging.models",
        "messaging.models.Message",
    }


def test_the_sandbox_knows_the_standard_library_and_itself_alone():
    for path in modules("instamsg/sandbox"):
        for name in imports(path):
            inside = name.startswith("instamsg.sandbox")
            assert inside or name.split(".")[0] in sys.stdlib_module_names, f"{path}: {name}"


def test_nothing_but_the_start_scripts_and_tests_knows_the_sandbox():
    for package in LAYERS:
        for path in modules(package):
            if "sandbox" not in path.parts:
                assert not {n for n in imports(path) if n.startswith("instamsg.sandbox")}, path


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("requests", {"accounts/instagram.py", "messaging/media.py", "messaging/outbound_http.py",
                      "messaging/posting.py"}),
        ("jwt", {"crypto/bearer_tokens.py"}),
        ("cryptography", {"crypto/keyring.py", "crypto/sealed_files.py"}),
        ("huey", {"accounts/rate_limits.py", "messaging/queues.py", "messaging/tasks.py",
                  "messaging/management/commands/run_huey.py"}),
    ],
)  # fmt: skip
def test_each_outside_world_has_its_place(library, places):
    found = {
        str(path.relative_to(ROOT))
        for package in LAYERS
        for path in modules(package)
        if library in {name.split(".")[0] for name in imports(path)}
    }
    assert found == places


def test_plain_text_of_a_secret_is_revealed_only_for_the_client_and_for_signing():
    revealed = [
        str(path.relative_to(ROOT))
        for package in LAYERS
        for path in modules(package)
        if ".reveal()" in path.read_text()
    ]
    assert revealed == ["accounts/models/accounts.py", "messaging/models/forwarding.py"]


def test_what_is_left_out_on_a_second_database_knows_none():
    assert once.reaches_a_server("tests.rotation.databases")
    assert once.reaches_a_server("tests.backup.conftest"), "by way of what it imports"
    assert once.reaches_a_server("tests.test_kills")
    assert not once.reaches_a_server("tests.conftest"), "every test has its fixtures"
    assert not once.reaches_a_server("tests.sandbox.test_server")


def test_no_process_of_the_tests_inherits_a_database(monkeypatch):
    monkeypatch.setitem(os.environ, "DATABASE_URL", "postgres://127.0.0.1:9/nobody")
    assert "DATABASE_URL" not in child_environment()
    assert child_environment(DATABASE_URL="sqlite://")["DATABASE_URL"] == "sqlite://"
