"""What the documentation says is there, is; and what is there, it says."""

import re
from pathlib import Path

from crypto.secrets import KNOWN_BAD, weakness

ROOT = Path(__file__).parent.parent
EXAMPLE = (ROOT / ".env.example").read_text()
DOCS = {p: p.read_text() for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]}


def settings_read() -> set[str]:
    text = (ROOT / "instamsg" / "settings.py").read_text()
    plain = re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', text)
    secret = re.findall(r'secrets\.read(?:_list)?\("([A-Z_]+)"', text)
    assert len(plain) > 15
    assert len(secret) >= 6
    return {*plain, *secret}


def test_every_setting_is_explained_in_the_example():
    assert [s for s in settings_read() if not re.search(rf"^#? ?{s}=", EXAMPLE, re.M)] == []


def test_the_example_names_nothing_that_is_not_read():
    named = set(re.findall(r"^#? ?([A-Z_]+)=", EXAMPLE, re.M))
    sandbox = {name for name in named if name.startswith("SANDBOX_")}
    known_elsewhere = {"ENV_FILE"}
    assert named - sandbox - settings_read() - known_elsewhere == set()


def test_the_example_does_not_start_a_production_site():
    secret = re.search(r"^#? ?SESSION_SECRET=(.*)$", EXAMPLE, re.M)[1]
    assert secret in KNOWN_BAD
    assert weakness(secret)


def test_links_between_the_documents_lead_somewhere():
    for path, text in DOCS.items():
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_command_that_the_documents_name_exists():
    from django.core.management import get_commands

    for path, text in DOCS.items():
        for name in re.findall(r"manage\.py (\w+)", text):
            assert name in get_commands(), f"{path.name}: {name}"


def test_each_dependency_is_pinned_and_explained():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[\w\[\],-]+==[\w.]+\s+# .{10,}", line), line


def test_every_problem_of_the_api_is_explained():
    from accounts import api, problems
    from accounts.problems import Kind
    from messaging import api as messages
    from messaging import api_accounts, api_deliveries, api_endpoints, api_files

    text = (ROOT / "docs" / "api.md").read_text()
    kinds = set(messages.KINDS.values())
    parts = (api_accounts, api_deliveries, api_endpoints, api_files)
    for module in (api, problems, messages, *parts):
        kinds |= {kind for kind in vars(module).values() if isinstance(kind, Kind)}
    assert len(kinds) > 20
    for kind in kinds:
        assert f"| {kind.status} | `{kind.name}` |" in text, kind
