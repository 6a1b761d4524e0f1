"""kill -9 at any moment of a rotation: all is as before, or all is done, and anybody can ask."""

import time
from itertools import count
from signal import SIGINT, SIGKILL, SIGXFSZ

import pytest

from . import acts
from .databases import IS_POSTGRES
from .installation import BOTH, NEW, OLD, is_under, look

pytestmark = pytest.mark.processes


def finish(installation) -> None:
    """The same command, run again."""
    again = installation.rotate()
    assert again.code == 0, again.err
    assert is_under(installation, NEW)


@pytest.mark.parametrize("page", [1, 2, 3, 4])
def test_killed_at_any_page_it_has_changed_nothing_and_can_be_run_again(large, page):
    before = large.dump()
    assert large.run(acts.rotate_and_die_at_page, page).code == -SIGKILL
    assert large.dump() == before
    look(large)
    finish(large)
    look(large, BOTH)


def test_killed_after_any_statement_of_the_swap_all_is_old_or_all_is_new(small):
    before, outcomes = small.dump(), []
    for number in count(1):
        done = small.restore().run(acts.rotate_and_die_after_statement, number)
        if done.code == 0:
            break
        assert done.code == -SIGKILL, done.err
        is_new = is_under(small, NEW)
        assert is_new or small.dump() == before
        if is_new not in outcomes:
            look(small)
            assert small.rotate().code == is_new, "once it is new there is nothing left to do"
            assert is_under(small, NEW)
        outcomes.append(is_new)
    assert outcomes == sorted(outcomes), "once it is new it stays new"
    assert len(outcomes) > 15
    assert set(outcomes) == {False, True}


def test_killed_at_random_around_the_commit_all_is_old_or_all_is_new(large, rng):
    undisturbed = large.start(acts.rotate_and_tell)
    undisturbed.wait_for("swapping")
    began = time.monotonic()
    assert undisturbed.wait().code == 0
    swap_takes = time.monotonic() - began
    for _ in range(6):
        rotation = large.restore().start(acts.rotate_and_tell)
        rotation.wait_for("swapping")
        time.sleep(rng.uniform(0, 1.2 * swap_takes))
        rotation.kill(SIGKILL)
        ended = rotation.wait().code
        large.database.settle()
        assert ended in (-SIGKILL, 0)
        is_new = is_under(large, NEW)
        assert is_new or (is_under(large, OLD) and ended == -SIGKILL)
        look(large, BOTH)
        if not is_new:
            finish(large)


@pytest.mark.skipif(IS_POSTGRES, reason="there its server writes, which was not killed")
def test_killed_in_the_middle_of_any_write_all_is_old_or_all_is_new(large):
    before, outcomes = large.dump(), []
    for size in count(50_000, 350_000):
        command = ["rotate_secret", "--no-backup"]
        killed = large.restore().run(acts.manage_and_die_writing, size, *command)
        if killed.code == 0:
            break
        assert killed.code == -SIGXFSZ, killed
        outcomes.append(is_under(large, NEW))
        assert outcomes[-1] or large.dump() == before
        assert large.execute("PRAGMA integrity_check") == [("ok",)]
        if outcomes == [False]:
            finish(large)
    assert len(outcomes) > 3


def test_killed_while_a_row_is_unreadable_nothing_has_changed(large):
    bad = large.write(2500, "gibberish")
    before = large.dump()
    assert large.run(acts.rotate_and_die_at_page, 4).code == -SIGKILL
    assert large.dump() == before
    for said in look(large):
        assert bad in str(said["unreadable"])
    assert large.rotate().code == 4
    assert large.rotate("--skip-unreadable").code == 6
    assert large.tokens_under(NEW).keys() == large.all_tokens.keys() - {"shop.2500"}
    look(large)


@pytest.mark.parametrize("moment", ["page_done", "swapping"])
def test_interrupted_by_ctrl_c_nothing_has_changed(small, tmp_path, moment):
    before = small.dump()
    rotation = small.start(acts.rotate_and_wait, moment, str(tmp_path / "go"))
    rotation.wait_for(moment)
    rotation.kill(SIGINT)
    interrupted = rotation.wait()
    assert interrupted.code
    assert interrupted.err.strip().endswith("KeyboardInterrupt")
    assert small.dump() == before
    look(small)
    finish(small)


@pytest.mark.skipif(not IS_POSTGRES, reason="SQLite has no server that could hang up")
def test_a_server_that_hangs_up_changes_nothing(small):
    before = small.dump()
    with small.writing("SELECT id FROM accounts FOR UPDATE"):
        rotation = small.start(acts.rotate_and_tell)
        rotation.wait_for("swapping")
        small.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LOCK TABLE%'"
        )
        assert "terminating connection" in rotation.wait().err
    assert small.dump() == before
    look(small)
    finish(small)
