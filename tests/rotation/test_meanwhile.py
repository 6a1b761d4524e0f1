"""Others write while a rotation runs, or rotate as well: nothing of theirs is lost or mixed."""

import time
from pathlib import Path
from signal import SIGKILL

import pytest

from . import acts
from .databases import IS_POSTGRES
from .installation import BOTH, NEW, OLD, OTHER, fernet, fingerprint, is_under, look, opens

pytestmark = pytest.mark.processes


# A site that lives on between the reading and the writing of its values


@pytest.fixture(
    scope="module",
    params=[
        ("page_done", (OLD,)),
        ("swapping", (OLD,)),
        ("swapping", (OLD, NEW)),
        ("page_done", BOTH),
        ("swapping", BOTH),
    ],
    ids=["page old", "swap old", "swap old and new", "page new and old", "swap new and old"],
)
def lived_on(request, made_small, tmp_path_factory):
    """Rotated, while another process wrote at the given moment and with the given ring."""
    moment, ring = request.param
    installation = made_small.restore()
    go = tmp_path_factory.mktemp("go") / "go"
    rotation = installation.start(acts.rotate_and_wait, moment, str(go))
    rotation.wait_for(moment)
    wrote = installation.run(acts.live_on, ring=ring)
    assert wrote.code == 0, wrote.err
    go.touch()
    done = rotation.wait()
    assert done.code == 0, done.err
    assert ("raced: 0" in done.out) == (ring == BOTH), done.out
    return installation


def test_a_token_written_meanwhile_survives_under_the_new_secret(lived_on):
    assert lived_on.tokens_under(NEW)["shop.1"] == acts.FRESH


def test_an_account_added_meanwhile_is_under_the_new_secret(lived_on):
    assert lived_on.tokens_under(NEW)["new"] == acts.FRESH


def test_an_account_deleted_meanwhile_stays_deleted(lived_on):
    assert lived_on.execute("SELECT id FROM accounts WHERE username = 'shop.2'") == []


def test_a_token_cleared_meanwhile_stays_cleared(lived_on):
    (row,) = lived_on.execute(
        "SELECT access_token_encrypted FROM accounts WHERE username = 'shop.3'"
    )
    assert row == (None,)


def test_another_field_changed_meanwhile_stays_changed(lived_on):
    assert lived_on.tokens_under(NEW)["shop.4"] == acts.TOKEN.format(4)
    (row,) = lived_on.execute("SELECT name FROM accounts WHERE username = 'shop.4'")
    assert row == ("Renamed meanwhile",)


def test_all_is_under_the_new_secret_then_and_it_can_be_seen(lived_on):
    assert lived_on.tokens_under(NEW).keys() == (
        lived_on.all_tokens.keys() - {"shop.2", "shop.3"} | {"new"}
    )
    assert lived_on.current == NEW
    look(lived_on)


# Writers who come late, or are slow


def start_late_writer(installation, moment: str, go: Path, *ring: str):
    writer = installation.start(acts.write_late, moment, str(go), ring=ring)
    writer.wait_for(moment)
    return writer


def start_rotation(installation, folder: Path):
    files = [str(folder / name) for name in ("swap", "end")]
    return installation.start(acts.rotate_and_wait_twice, *files)


def test_what_came_before_the_swap_goes_in_with_it(small, tmp_path):
    """Not a moment later, when the process may be gone."""
    rotation = start_rotation(small, tmp_path)
    rotation.wait_for("swapping")
    assert small.run(acts.live_on, ring=(OLD,)).code == 0
    (tmp_path / "swap").touch()
    rotation.wait_for("committed")
    assert small.tokens_under(OLD) == {}
    look(small)
    rotation.kill(SIGKILL)
    assert rotation.wait().code == -SIGKILL
    assert small.tokens_under(NEW)["shop.1"] == small.tokens_under(NEW)["new"] == acts.FRESH


def test_what_was_on_its_way_before_the_swap_and_came_just_after_it_moves_too(small, tmp_path):
    late = start_late_writer(small, "allowed", tmp_path / "late", OLD)
    (tmp_path / "swap").touch()
    rotation = start_rotation(small, tmp_path)
    rotation.wait_for("committed")
    (tmp_path / "late").touch()
    assert late.wait().code == 0
    assert small.tokens_under(OLD) == {"shop.1": acts.FRESH}
    (tmp_path / "end").touch()
    assert rotation.wait().code == 0
    assert small.tokens_under(NEW) == small.all_tokens | {"shop.1": acts.FRESH}
    look(small)


def test_what_comes_even_later_is_seen_and_moved_the_next_time(small, tmp_path):
    late = start_late_writer(small, "allowed", tmp_path / "late", OLD)
    assert small.rotate().code == 0
    (tmp_path / "late").touch()
    assert late.wait().code == 0
    said, *_ = look(small)
    assert said["fallbacks_in_use"] == [fingerprint(OLD)]
    assert small.rotate().code == 0
    assert small.tokens_under(NEW) == small.all_tokens | {"shop.1": acts.FRESH}
    look(small)


def test_a_process_that_holds_the_new_secret_too_writes_under_it_afterwards(small, tmp_path):
    late = start_late_writer(small, "encrypted", tmp_path / "late", OLD, NEW)
    assert small.rotate().code == 0
    (tmp_path / "late").touch()
    assert late.wait().code == 0
    assert small.tokens_under(NEW) == small.all_tokens | {"shop.1": acts.FRESH}
    look(small)


def test_a_process_that_lacks_the_new_secret_writes_nothing_afterwards(small, tmp_path):
    late = start_late_writer(small, "encrypted", tmp_path / "late", OLD)
    assert small.rotate().code == 0
    (tmp_path / "late").touch()
    assert "SupersededSecret" in late.wait().err
    assert is_under(small, NEW)


def test_it_waits_for_a_transaction_that_is_not_at_its_end(small):
    fresh = fernet(OLD).encrypt(acts.FRESH.encode()).decode()
    sql = "UPDATE accounts SET access_token_encrypted = ? WHERE username = 'shop.1'"
    with small.writing(sql, fresh):
        rotation = small.start(acts.manage, "rotate_secret", "--no-backup")
        time.sleep(1.5)
        assert not rotation.is_over, rotation.wait()
    done = rotation.wait()
    assert done.code == 0, done.err
    assert small.tokens_under(NEW) == small.all_tokens | {"shop.1": acts.FRESH}
    look(small)


@pytest.mark.skipif(not IS_POSTGRES, reason="SQLite has one writer at a time anyway")
def test_while_it_waits_others_go_on_writing(small):
    with small.writing():
        rotation = small.start(acts.manage, "rotate_secret", "--no-backup")
        end, longest = time.monotonic() + 2, 0.0
        while time.monotonic() < end:
            began = time.monotonic()
            small.execute("UPDATE accounts SET name = 'x' WHERE username = 'shop.2'")
            longest = max(longest, time.monotonic() - began)
        assert not rotation.is_over, rotation.wait()
    assert rotation.wait().code == 0
    assert longest < 1
    assert is_under(small, NEW)


@pytest.mark.skipif(not IS_POSTGRES, reason="SQLite locks no rows")
def test_somebody_who_holds_a_row_for_a_second_is_waited_for(small):
    with small.writing("SELECT id FROM accounts WHERE username = 'shop.5' FOR UPDATE"):
        rotation = small.start(acts.manage, "rotate_secret", "--no-backup")
        time.sleep(1)
        assert not rotation.is_over, rotation.wait()
    assert rotation.wait().code == 0
    assert is_under(small, NEW)


def test_a_vacuum_meanwhile_moves_no_value_to_another_row(small, tmp_path):
    """On SQLite it numbers the rows anew."""
    small.execute("DELETE FROM accounts WHERE username IN ('shop.0', 'shop.4')")
    rotation = small.start(acts.rotate_and_wait, "swapping", str(tmp_path / "go"))
    rotation.wait_for("swapping")
    small.execute("VACUUM FULL accounts" if IS_POSTGRES else "VACUUM")
    (tmp_path / "go").touch()
    assert rotation.wait().code == 0
    gone = {"shop.0", "shop.4"}
    assert small.tokens_under(NEW) == {
        name: token for name, token in small.all_tokens.items() if name not in gone
    }
    look(small)


# Two rotations


@pytest.mark.parametrize("rings", [(BOTH, BOTH), (BOTH, (OTHER, OLD))], ids=["same", "different"])
def test_of_two_that_want_to_swap_at_once_one_wins_and_the_other_says_so(small, tmp_path, rings):
    go = str(tmp_path / "go")
    both = [small.start(acts.rotate_and_wait, "swapping", go, ring=ring) for ring in rings]
    for rotation in both:
        rotation.wait_for("swapping")
    (tmp_path / "go").touch()
    ends = [rotation.wait() for rotation in both]
    assert sorted(end.code for end in ends) == [0, 1]
    winner, loser = sorted(ends, key=lambda end: end.code)
    assert "Another rotation came to its end while this one was preparing" in loser.err
    assert is_under(small, rings[ends.index(winner)][0])
    look(small, BOTH, (OLD,), (NEW,), (OTHER, OLD))


@pytest.mark.parametrize("rings", [(BOTH, BOTH), (BOTH, (OTHER, OLD))], ids=["same", "different"])
def test_two_commands_started_together_never_mix_and_the_winner_keeps_its_backup(
    small, tmp_path, rings
):
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        command = ["rotate_secret", "--backup-dir", str(folder)]
        small.restore()
        both = [small.start(acts.manage, *command, ring=ring) for ring in rings]
        ends = [rotation.wait() for rotation in both]
        assert sorted(end.code for end in ends) == [0, 1], ends
        winner, loser = sorted(ends, key=lambda end: end.code)
        assert "othing was changed" in loser.err
        assert is_under(small, rings[ends.index(winner)][0])
        look(small, BOTH, (OTHER, OLD))
        (line,) = (line for line in winner.out.splitlines() if line.startswith("Backup: "))
        assert Path(line.removeprefix("Backup: ")) in folder.iterdir()


def test_many_small_writes_under_the_old_secret_are_all_in_the_end_under_the_new(small):
    """Autocommitted, from another connection, all the time until it is over."""
    rotation = small.start(acts.manage, "rotate_secret", "--no-backup")
    written = 0
    while not rotation.is_over:
        name = f"shop.{written % 10}"
        with small.database.connected() as connection:
            small.database.execute(
                connection,
                "UPDATE accounts SET access_token_encrypted = ? "
                "WHERE username = ? AND access_token_encrypted = ?",
                fernet(OLD).encrypt(acts.TOKEN.format(written % 10).encode()).decode(),
                name,
                _stored(small, connection, name),
            )
        written += 1
    assert rotation.wait().code == 0
    late = small.tokens_under(OLD)
    assert small.tokens_under(NEW) | late == small.all_tokens
    assert len(late) <= 1, "the last one may have been too late for it"
    look(small, BOTH)


def _stored(installation, connection, name: str) -> str:
    """What is there under the old secret; nothing that one could find, if it is not."""
    sql = "SELECT access_token_encrypted FROM accounts WHERE username = ?"
    ((value,),) = installation.database.execute(connection, sql, name)
    return value if opens(OLD, value) else "moved"
