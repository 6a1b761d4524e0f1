"""Mistakes of the person at the keyboard: one sentence, the right exit code, nothing changed."""

import pytest

from . import acts
from .databases import IS_POSTGRES
from .installation import BOTH, DOLLAR, NEW, OLD, OTHER, fernet, fingerprint, is_under, look

pytestmark = pytest.mark.processes

WEAK = "password123"
SHORT = "sh0rt-but-not-known-anywhere"
DULL = "abcabcabcabcabcabcabcabcabcabcabcabcabc"
PUBLISHED = "siYC7x-RtyWUk73DECXc6SNmXowUMWZag7ZQUPGQKBI"


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"OLD_SECRET": OLD, "NEW_SECRET": OLD}, 2, "OLD_SECRET and NEW_SECRET are the same"),
        ({"OLD_SECRET": NEW, "NEW_SECRET": OLD}, 1, "they are swapped"),
        ({"OLD_SECRET": OTHER, "NEW_SECRET": NEW}, 1, "None of the secrets given opens"),
        ({"OLD_SECRET": OLD}, 5, "NEW_SECRET is not set"),
        ({"NEW_SECRET": NEW}, 5, "OLD_SECRET is not set"),
        ({"OLD_SECRET": OLD, "NEW_SECRET": "  "}, 5, "NEW_SECRET is not set, or blank"),
        ({"OLD_SECRET": "", "NEW_SECRET": NEW}, 5, "OLD_SECRET is not set, or blank"),
        ({"OLD_SECRET": OLD, "NEW_SECRET": WEAK}, 2, "NEW_SECRET is weak"),
        ({"OLD_SECRET": OLD, "NEW_SECRET": SHORT}, 2, "at least 32 are needed"),
        ({"OLD_SECRET": OLD, "NEW_SECRET": DULL}, 2, "different characters"),
        ({"OLD_SECRET": OLD, "NEW_SECRET": PUBLISHED}, 2, "published example"),
        (
            {"OLD_SECRET": OLD, "OLD_SECRET_FILE": "/etc/hostname", "NEW_SECRET": NEW},
            2,
            "OLD_SECRET is set twice",
        ),
        (
            {"OLD_SECRET_FILE": "/nowhere/secret", "NEW_SECRET": NEW},
            2,
            "OLD_SECRET_FILE names a file that cannot be read: /nowhere/secret",
        ),
        ({"ring": ()}, 5, "SESSION_SECRET is not set"),
        ({"ring": (), "SESSION_SECRET": "  "}, 5, "SESSION_SECRET is not set"),
        ({"ring": (NEW,)}, 5, "There is no old secret to rotate from"),
        ({"ring": (OLD, OLD)}, 2, "SESSION_SECRET is also listed in SESSION_SECRET_FALLBACKS"),
        ({"ring": (WEAK, OLD)}, 2, "SESSION_SECRET is weak"),
        ({"ring": (PUBLISHED, OLD)}, 2, "SESSION_SECRET is weak"),
        ({"ring": (NEW, OTHER)}, 1, "None of the secrets given opens what is stored"),
        ({"ring": (OLD, NEW)}, 1, "nothing to do"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_named_in_one_line_and_changes_nothing(small, given, code, words):
    before = small.dump()
    for options in ([], ["--dry-run"]):
        refused = small.rotate(*options, **({"ring": (OLD,)} | given))
        assert refused.code == code, refused
        assert words in refused.err
        assert len(refused.err.splitlines()) == 1
        assert not refused.out
        holds_no_secret(refused)
        assert small.dump() == before


def holds_no_secret(done) -> None:
    for secret in (OLD, NEW, OTHER, WEAK, SHORT, DULL, PUBLISHED, DOLLAR):
        assert secret not in done.out + done.err


def test_an_env_file_without_the_two_secrets_is_wrong_usage(small, tmp_path):
    refused = small.rotate("--env-file", str(tmp_path / ".env"))
    assert refused.code == 2
    assert "--env-file goes with OLD_SECRET and NEW_SECRET" in refused.err


def test_a_secret_on_the_command_line_is_wrong_usage(small):
    refused = small.rotate(NEW)
    assert refused.code == 2
    assert is_under(small, OLD)


def test_nothing_that_a_rotation_says_holds_a_secret_or_a_value(small):
    values = list(small.values().values())
    for done in (
        small.rotate("--dry-run", "-v3", LOG_LEVEL="DEBUG"),
        small.rotate("-v3", LOG_LEVEL="DEBUG"),
        small.manage("check_secret"),
        small.manage("check_secret", "--json", "-v3", LOG_LEVEL="DEBUG"),
    ):
        assert done.code == 0, done.err
        holds_no_secret(done)
        assert "IGAA" not in done.out + done.err
        assert not any(value in done.out + done.err for value in values)


@pytest.mark.parametrize("name", ["ring", "environment", "files", "env file"])
def test_a_secret_that_begins_with_a_dollar_stands_for_itself(small, tmp_path, name):
    ways = {
        "ring": ((), {"ring": (DOLLAR, OLD)}),
        "environment": ((), {"ring": (), "OLD_SECRET": OLD, "NEW_SECRET": DOLLAR}),
        "files": (
            (),
            {
                "ring": (),
                "OLD_SECRET_FILE": _file(tmp_path / "old", OLD + "\n"),
                "NEW_SECRET_FILE": _file(tmp_path / "new", f"\n {DOLLAR}\r\n"),
            },
        ),
        "env file": (
            ("--env-file", _file(tmp_path / ".env", f"SESSION_SECRET={OLD}\n")),
            {"ring": (), "OLD_SECRET": OLD, "NEW_SECRET": DOLLAR},
        ),
    }
    options, given = ways[name]
    done = small.rotate(*options, **given)
    assert done.code == 0, done.err
    holds_no_secret(done)
    assert is_under(small, DOLLAR)
    look(small, (DOLLAR, OLD), (DOLLAR,))
    if name == "env file":
        checked = small.manage(
            "check_secret",
            ring=(),
            ENV_FILE=str(tmp_path / ".env"),
            SESSION_SECRET_FALLBACKS=None,
        )
        assert checked.code == 0, checked.err


def _file(path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


def test_going_back_to_a_secret_that_was_rotated_away_is_refused_but_for_a_purpose(small):
    assert small.rotate().code == 0
    before = small.dump()
    refused = small.rotate(ring=(OLD, NEW))
    assert refused.code == 1
    assert f"({fingerprint(OLD)}) was rotated away" in refused.err
    assert small.dump() == before
    assert small.rotate("--force", ring=(OLD, NEW)).code == 0
    assert is_under(small, OLD)
    look(small)


def test_where_several_old_secrets_are_needed_all_of_them_move(small):
    for number in (2, 3):
        token = acts.TOKEN.format(number).encode()
        small.write(number, fernet(OTHER).encrypt(token).decode())
    assert small.rotate().code == 4
    look(small, BOTH, (NEW, OLD, OTHER))
    assert small.rotate(ring=(NEW, OLD, OTHER)).code == 0
    assert is_under(small, NEW)
    look(small, (NEW, OLD, OTHER))


# A database that cannot be asked says nothing about a secret


@pytest.fixture
def gone(small, tmp_path):
    """The address of a database that is not there."""
    if IS_POSTGRES:
        return small.database.url.replace("127.0.0.1", "127.0.0.1:9", 1).replace(":9:5432", ":9")
    return f"sqlite:///{tmp_path}/no-folder/site.db"


def test_a_database_out_of_reach_is_called_that_and_no_secret_is_blamed(small, gone):
    given = {"ring": (), "OLD_SECRET": OLD, "NEW_SECRET": NEW}
    at_work = [
        small.start(acts.manage, *command, DATABASE_URL=gone, **environment)
        for command, environment in [
            (["rotate_secret", "--no-backup"], {"ring": BOTH}),
            (["rotate_secret", "--no-backup"], {"ring": (OTHER, OLD)}),
            (["rotate_secret", "--no-backup"], given),
            (["check_secret"], {"ring": BOTH}),
            (["check_secret"], {"ring": (OTHER,)}),
        ]
    ]
    for job in at_work:
        blames_no_secret(job.wait())


def blames_no_secret(done) -> None:
    assert done.code == 1, done
    assert "CommandError: The database" in done.err
    assert "Traceback" not in done.err
    for word in ("wrong", "swapped", "None of the secrets", "nothing is stored"):
        assert word not in done.out + done.err


def test_tables_that_are_not_there_yet_are_called_that(small, tmp_path):
    if IS_POSTGRES:
        url = f"{small.database.url}?options=-csearch_path%3Dnowhere"
    else:
        url = f"sqlite:///{tmp_path}/empty.db"
    for command in (["rotate_secret", "--no-backup"], ["check_secret"]):
        blames_no_secret(small.manage(*command, DATABASE_URL=url))


@pytest.mark.skipif(IS_POSTGRES, reason="a file is meant")
def test_a_file_that_is_no_database_is_called_that(small, tmp_path):
    (tmp_path / "site.db").write_text("Nothing that SQLite ever wrote. " * 100)
    for command in (["rotate_secret", "--no-backup"], ["check_secret"]):
        blames_no_secret(small.manage(*command, DATABASE_URL=f"sqlite:///{tmp_path}/site.db"))
