"""`--only-database`: on a second database, what knows no database need not be tested again.

A test knows one when it is marked `django_db`, asks for a fixture that is, or stands in a module
that reads DATABASE_URL from the environment or imports one that does, as does a module of its
fixtures. Nobody comes by that variable otherwise: `child_environment` gives it to no process.
"""

import ast
import re
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READS = re.compile(r"""environ(\.get\(|\.pop\(|\[)["']DATABASE_URL["']""")
DJANGO = {"db", "transactional_db", "live_server", "_django_db_helper"}

left_out = pytest.StashKey[int]()


def pytest_addoption(parser):
    parser.addoption(
        "--only-database", action="store_true", help="leave out tests that know no database"
    )


def pytest_collection_modifyitems(config, items):
    if not config.getoption("only_database"):
        return
    kept = [item for item in items if knows_a_database(item)]
    out = [item for item in items if item not in set(kept)]
    items[:] = kept
    config.hook.pytest_deselected(items=out)
    config.stash[left_out] = len(out)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = len(out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.stash[left_out] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter, config):
    if count := config.stash.get(left_out, 0):
        terminalreporter.write_line(f"{count} tests that know no database were left out.")


def knows_a_database(item) -> bool:
    if item.get_closest_marker("django_db") or DJANGO & set(item.fixturenames):
        return True
    fixtures = [one for found in item._fixtureinfo.name2fixturedefs.values() for one in found]
    modules = {item.module.__name__, *(one.func.__module__ for one in fixtures)}
    return any(reaches_a_server(name) for name in modules)


@cache
def reaches_a_server(module: str) -> bool:
    """Whether it, or a module of the tests that it imports, reads where the database is."""
    seen, waiting = set(), [module]
    while waiting:
        path = _path(name := waiting.pop())
        if path is None or name in seen:
            continue
        seen.add(name)
        source = path.read_text()
        if READS.search(source):
            return True
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += _imports(ast.parse(source), package)
    return False


def _imports(tree: ast.Module, package: str) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


def _path(module: str) -> Path | None:
    """Its file, if it is one of the tests' own."""
    if module.split(".")[0] != "tests":
        return None
    base = ROOT / Path(*module.split("."))
    places = (base.with_suffix(".py"), base / "__init__.py")
    return next((place for place in places if place.exists()), None)
