"""`rotate_secret --env-file`: at any moment the secrets in the file open every value."""

import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from signal import SIGINT, SIGKILL

import pytest

from instamsg.environment import DotEnv
from tests.waiting import eventually

from . import acts
from .databases import IS_POSTGRES
from .installation import NEW, OLD, OTHER, fernet, is_under, opens

pytestmark = pytest.mark.processes

GIVEN = {"ring": (), "OLD_SECRET": OLD, "NEW_SECRET": NEW}
"""The site is stopped; the environment holds both secrets, and no SESSION_SECRET."""


@pytest.fixture
def env_file(tmp_path) -> Path:
    path = tmp_path / ".env"
    path.write_text(f"ENVIRONMENT=production\nSESSION_SECRET={OLD}\n# the end\n")
    path.chmod(0o644)
    return path


def ring_in(path: Path) -> list[str]:
    """Its secrets, the one that encrypts first, as the settings read them."""

    class Reader(DotEnv):
        ENVIRON: dict[str, str] = {}

    Reader.read_env(path)
    fallbacks = Reader.ENVIRON.get("SESSION_SECRET_FALLBACKS", "").split(",")
    return [Reader.ENVIRON["SESSION_SECRET"], *filter(None, fallbacks)]


def opens_all(installation, path: Path) -> bool:
    ring = ring_in(path)
    return all(any(opens(one, value) for one in ring) for value in installation.values().values())


def rotate(installation, path: Path, *options: str, **more):
    return installation.rotate("--env-file", str(path), *options, **(GIVEN | more))


def test_the_file_and_the_values_change_together(small, env_file):
    assert rotate(small, env_file).code == 0
    assert is_under(small, NEW)
    assert ring_in(env_file) == [NEW, OLD]
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(env_file.parent) == [".env"]


def ended_at(steps: Iterable[int], installation, path: Path, how: int):
    """Gives, for each of `steps`, how the command ended that got the signal `how` there."""
    original, options = path.read_text(), ["--no-backup", "--env-file", str(path)]
    for number in steps:
        path.write_text(original)
        installation.restore()
        command = [number, how, str(path.parent), "rotate_secret", *options]
        done = installation.run(acts.manage_and_end_at_step, *command, **GIVEN)
        if acts.TOO_FEW in done.out:
            assert number > 30
            return
        yield done


def test_killed_at_any_step_its_own_secrets_open_every_value(small, env_file):
    """And the same command, run again, brings it to its end."""
    rings = []
    for killed in ended_at(count(1), small, env_file, SIGKILL):
        assert killed.code == -SIGKILL, killed.err
        is_new = is_under(small, NEW)
        assert is_new or is_under(small, OLD)
        assert opens_all(small, env_file)
        state = (is_new, *ring_in(env_file))
        if state not in rings:
            again = rotate(small, env_file)
            assert again.code == 0, again.err
            assert is_under(small, NEW)
            assert ring_in(env_file) == [NEW, OLD]
        rings.append(state)
    assert set(rings) == {(False, OLD), (False, OLD, NEW), (True, OLD, NEW)}


def test_interrupted_at_every_other_step_it_says_what_is_true(small, env_file):
    before, original = small.dump(), env_file.read_bytes()
    for interrupted in ended_at(count(1, 2), small, env_file, SIGINT):
        assert opens_all(small, env_file)
        assert os.listdir(env_file.parent) == [".env"]
        if is_under(small, OLD):
            assert interrupted.err == "CommandError: Interrupted. Nothing was changed.\n"
            assert interrupted.code == 1
            assert small.dump() == before
            assert env_file.read_bytes() == original
        else:
            assert "othing was changed" not in interrupted.err
            assert interrupted.code == 0 or rotate(small, env_file).code == 0
            assert ring_in(env_file) == [NEW, OLD]


def test_a_refusal_leaves_the_file_as_it_was(small, env_file):
    small.write(5, "gibberish")
    before, file = small.dump(), env_file.read_bytes()
    assert rotate(small, env_file).code == 4
    assert small.dump() == before
    assert env_file.read_bytes() == file


def test_values_left_unreadable_do_not_keep_the_file_from_changing(small, env_file):
    small.write(5, "gibberish")
    assert rotate(small, env_file, "--skip-unreadable").code == 6
    assert ring_in(env_file) == [NEW, OLD]


def is_refused(installation, path: Path, words: str, code: int = 1, **more) -> None:
    before, file = installation.dump(), path.read_bytes()
    refused = rotate(installation, path, **more)
    assert refused.code == code, refused
    assert words in refused.err
    assert len(refused.err.splitlines()) == 1
    assert installation.dump() == before
    assert path.read_bytes() == file


def test_a_read_only_file_is_refused_also_for_root(small, env_file):
    env_file.chmod(0o400)
    is_refused(small, env_file, "read-only")
    assert env_file.stat().st_mode & 0o777 == 0o400


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write every folder")
def test_a_folder_that_cannot_be_written_is_refused(small, env_file):
    env_file.parent.chmod(0o500)
    try:
        is_refused(small, env_file, "cannot be written")
    finally:
        env_file.parent.chmod(0o700)


@pytest.mark.parametrize("name", ["SESSION_SECRET_FILE", "SESSION_SECRET_FALLBACKS_FILE"])
def test_a_file_that_names_another_one_is_refused(small, env_file, name):
    with env_file.open("a") as file:
        file.write(f"{name}=/etc/secret\n")
    is_refused(small, env_file, f"{name}; change the secret there")


def test_a_file_that_holds_another_secret_is_refused(small, env_file):
    env_file.write_text(f"SESSION_SECRET={OTHER}\n")
    is_refused(small, env_file, "does not hold OLD_SECRET", code=2)


def test_a_file_that_does_not_exist_is_refused_and_not_made(small, tmp_path):
    refused = rotate(small, tmp_path / ".env")
    assert refused.code == 2
    assert is_under(small, OLD)
    assert not list(tmp_path.iterdir())


def test_a_file_made_read_only_meanwhile_still_opens_everything(small, env_file):
    with small.writing():
        rotation = small.start(
            acts.manage, "rotate_secret", "--no-backup", "--env-file", str(env_file), **GIVEN
        )
        while ring_in(env_file) == [OLD]:
            assert not rotation.is_over, rotation.wait()
        env_file.chmod(0o400)
    done = rotation.wait()
    assert done.code == 3
    assert "read-only" in done.err
    assert is_under(small, NEW)
    assert opens_all(small, env_file)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"SESSION_SECRET={OTHER}\nA=1\nSESSION_SECRET={OLD}\nB=2\n", "A=1\n{}\nB=2\n{}\n"),
        (f"export SESSION_SECRET={OLD}\nexport A=1\n", "export {}\nexport A=1\n{}\n"),
        (
            "# SESSION_SECRET signs the logins.\n\n  # indented\nB='x y' # why\n"
            f"SESSION_SECRET={OLD}\n\n#SESSION_SECRET_FALLBACKS=\nA=$B\n\n\n# end\n",
            "# SESSION_SECRET signs the logins.\n\n  # indented\nB='x y' # why\n"
            "{}\n\n#SESSION_SECRET_FALLBACKS=\n{}\nA=$B\n\n\n# end\n",
        ),
        (f"A=1\r\nSESSION_SECRET={OLD}\r\nB=2\r\n", "A=1\r\n{}\r\nB=2\r\n{}\r\n"),
        (f"# a page\fand a line\u2028of it\nSESSION_SECRET={OLD}\n",
         "# a page\fand a line\u2028of it\n{}\n{}\n"),
        (f"A=1\nSESSION_SECRET={OLD}", "A=1\n{}\n{}\n"),
        (f'SESSION_SECRET="{OLD}"\nSESSION_SECRET_FALLBACKS={OTHER}\nA=1\n',
         "{}\n{}," + OTHER + "\nA=1\n"),
    ],
    ids=["twice", "export", "comments", "CRLF", "odd line ends", "no last newline", "quoted"],
)  # fmt: skip
def test_every_other_line_and_the_order_stay_byte_for_byte(small, env_file, before, after):
    env_file.write_bytes(before.encode())
    done = rotate(small, env_file)
    assert done.code == 0, done.err
    expected = after.format(f"SESSION_SECRET={NEW}", f"SESSION_SECRET_FALLBACKS={OLD}")
    assert env_file.read_bytes().decode() == expected


def test_a_link_stays_a_link(small, env_file, tmp_path):
    link = tmp_path / "linked.env"
    link.symlink_to(env_file)
    assert rotate(small, link).code == 0
    assert link.is_symlink()
    assert ring_in(env_file) == [NEW, OLD]


def test_a_new_secret_that_cannot_stand_in_a_list_is_refused(small, env_file):
    is_refused(small, env_file, "comma", NEW_SECRET=f"{NEW},with-a-comma")


def test_an_old_secret_that_cannot_stand_in_a_list_is_refused_before_anything_changes(
    small, env_file
):
    old = f"{OLD},with-a-comma"
    for number in range(10):
        token = acts.TOKEN.format(number).encode()
        small.write(number, fernet(old).encrypt(token).decode())
    env_file.write_text(f"SESSION_SECRET={old}\n")
    is_refused(small, env_file, "comma", OLD_SECRET=old)


@pytest.mark.parametrize("new", [NEW, OTHER], ids=["same", "different"])
def test_of_two_that_switch_the_same_file_one_wins_and_the_file_is_right(small, env_file, new):
    original = env_file.read_bytes()
    for _ in range(3):
        env_file.write_bytes(original)
        small.restore()
        command = ["rotate_secret", "--no-backup", "--env-file", str(env_file)]
        both = [
            small.start(acts.manage, *command, **(GIVEN | {"NEW_SECRET": secret}))
            for secret in (NEW, new)
        ]
        ends = [rotation.wait() for rotation in both]
        winners = [secret for secret, end in zip((NEW, new), ends, strict=True) if not end.code]
        assert len(set(winners)) == 1, ends
        assert is_under(small, winners[0])
        assert ring_in(env_file)[:2] == [winners[0], OLD]


on_postgres = pytest.mark.skipif(not IS_POSTGRES, reason="SQLite has no connection to lose")


@on_postgres
def test_a_commit_that_was_never_heard_has_changed_nothing(small, env_file):
    before, file = small.dump(), env_file.read_bytes()
    with small.breaking_at("COMMIT", heard=False) as url:
        done = rotate(small, env_file, DATABASE_URL=url)
    assert done.code == 1
    assert "othing was changed" in done.err
    assert small.dump() == before
    assert env_file.read_bytes() == file


@on_postgres
def test_a_commit_whose_answer_is_lost_is_looked_up(small, env_file):
    with small.breaking_at("COMMIT") as url:
        done = rotate(small, env_file, DATABASE_URL=url)
    assert done.code == 0, done.err
    assert is_under(small, NEW)
    assert ring_in(env_file) == [NEW, OLD]


@on_postgres
def test_a_commit_that_takes_its_time_is_waited_for_when_its_answer_is_lost(small, env_file):
    """As one that waits for a replica does."""
    small.execute(SLOW)
    small.execute(
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON census DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    try:
        with small.breaking_at("COMMIT", answered=False) as url:
            done = rotate(small, env_file, DATABASE_URL=url)
        assert opens_all(small, env_file)
        eventually(lambda: small.current == NEW, 5)
        assert "othing was changed" not in done.err
        assert opens_all(small, env_file)
    finally:
        small.execute("DROP FUNCTION slow CASCADE")


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END'
"""


@on_postgres
def test_when_it_cannot_be_looked_up_the_file_keeps_both_secrets(small, env_file):
    with small.breaking_at("COMMIT", for_good=True) as url:
        done = rotate(small, env_file, DATABASE_URL=url)
    assert done.code == 3, done
    assert "It is not known whether the values moved" in done.err
    assert "othing was changed" not in done.err
    assert is_under(small, NEW)
    assert opens_all(small, env_file)
    assert rotate(small, env_file).code == 0
    assert ring_in(env_file) == [NEW, OLD]
