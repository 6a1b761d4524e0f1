"""Each benchmark runs and counts right; how fast is for people to read."""

import sqlite3
from contextlib import closing
from unittest.mock import patch

import pytest
from django.db import connections

from . import (
    accept,
    api,
    backlog,
    derive,
    forwarding,
    growth,
    ledger_file,
    lists,
    losses,
    move_in,
    polls,
    redaction,
    rotation,
    rotation_memory,
    rotation_waits,
    scale,
    scrape,
    sealed_list,
    sending,
    sends,
    verdict,
)
from .measuring import Table, interleave, waits


def figures(table: Table, name: str) -> set[float]:
    """All that the table holds under `name`."""
    return {one[name] for found in table.results.values() for one in found if name in one}


@pytest.mark.processes
def test_every_webhook_gets_its_200_and_is_stored():
    for table in accept.run(seconds=0.2, rounds=1, connections=2, backlog=30, sqlite_too=False):
        assert figures(table, "not 200") == figures(table, "lost") == {0}
        assert len(table.results) == 4


@pytest.mark.processes
def test_every_message_that_is_sent_gets_its_202_and_is_stored(on_disk):
    *reads, alone, together = api.run(few=100, many=300, customers=5, rounds=1, asks=3, seconds=0.2)
    for table in reads:
        assert len(figures(table, "queries")) == 1
    for table in (alone, together):
        assert figures(table, "not 202") == figures(table, "lost") == {0}


@pytest.mark.processes
def test_what_is_killed_loses_nothing():
    for table in losses.run(webhooks=100, connections=4, sqlite_too=False):
        assert figures(table, "messages") == {100}
        assert figures(table, "lost") == figures(table, "twice") == {0}


@pytest.mark.processes
def test_nothing_is_sent_twice_and_nothing_said_that_is_not_so():
    # What is still open after so little time is read in its conversation later.
    for table in sends.run(sends=60, patience=5, sqlite_too=False):
        assert figures(table, "messages") == {60}
        for name in ("twice", "one id twice", "sent without being there", "id without being sent"):
            assert figures(table, name) == {0}, name
        assert min(figures(table, "worker killed")) >= 1


@pytest.mark.processes
def test_a_worker_sends_everything_once_and_in_order():
    for table in sending.run(each=2, conversations=5, accounts=2, rounds=1):
        assert figures(table, "missing") == figures(table, "failed") == {0}
        assert figures(table, "twice") == figures(table, "out of order") == {0}


@pytest.mark.processes
def test_open_pages_are_told_that_nothing_is_new():
    (table,) = polls.run(pages=5, seconds=3, rounds=1)
    assert figures(table, "unexpected") == {0}


def test_bodies_are_committed_beside_a_worker():
    (table,) = ledger_file.run(seconds=0.1, rounds=1)
    assert len(table.results) == 4
    # A worker that never rests may keep the file for the three seconds of a wait.
    hungry = table.results.pop("the same file, no rest")
    assert max(hungry[0]["per second"], hungry[0]["refused"]) > 0
    assert min(figures(table, "per second")) > 0


@pytest.mark.django_db
def test_lists_open_no_token_and_ask_no_more_for_more_rows():
    for table in lists.run(few=2, many=60, rounds=1):
        assert figures(table, "tokens opened") == {0}
        assert len(figures(table, "queries")) == 1


@pytest.mark.django_db
def test_a_scrape_asks_a_full_site_no_more_than_an_empty_one():
    metrics, readyz = scrape.run(accounts=30, messages=2, waiting=1, rounds=1)
    assert len(figures(metrics, "queries")) == 1
    for table in (metrics, readyz):
        assert figures(table, "tokens opened") == {0}


def test_keys_are_derived_and_the_site_starts():
    keys, start = derive.run(rounds=1, starts=1)
    assert keys.ratios("PBKDF2, 32 bytes") == [1]
    assert start.ratios("manage.py check")[0] > 1


@pytest.fixture
def on_disk(transactional_db, tmp_path):
    """A database that other processes can open too; on SQLite the tests' own is in memory."""
    before = connections["default"]
    if before.vendor != "sqlite":
        yield
        return
    before.ensure_connection()
    with closing(sqlite3.connect(tmp_path / "site.db")) as copy:
        before.connection.backup(copy)
    there = {**before.settings_dict, "NAME": str(tmp_path / "site.db")}
    with patch.dict(connections.settings, default=there):
        connections["default"] = connections.create_connection("default")
        yield
        connections["default"].close()
    connections["default"] = before


@pytest.mark.processes
def test_every_event_of_a_backlog_becomes_a_message(on_disk):
    (table,) = backlog.run(events=30, customers=5, rounds=1)
    assert figures(table, "messages") == {30}


@pytest.mark.processes
def test_a_message_takes_more_room_once_it_is_read(on_disk):
    (table,) = growth.run(events=300, customers=5)
    assert figures(table, "messages") == {300}
    assert 1 < table.ratios("read as well")[0] < 20


@pytest.mark.processes
def test_a_full_database_is_asked_as_often_as_an_empty_one(on_disk):
    for table in scale.run(few=100, many=300, customers=5, events=10, rounds=1)[1:]:
        assert len(figures(table, "queries")) == 1


@pytest.mark.processes
def test_every_delivery_is_posted_once_and_written_down(on_disk):
    for table in forwarding.run(deliveries=60, receivers=2, rounds=1, rounds_beside=1):
        assert figures(table, "not written down") == figures(table, "more than once") == {0}


def test_every_way_moves_every_token(on_disk):
    for table in rotation.run(few=5, many=12, rounds=2, rounds_of_many=1):
        assert len(table.results) == 4
        assert len(figures(table, "under the new secret")) == 1
    assert figures(table, "under the new secret") == {12}


@pytest.mark.processes
def test_writers_beside_a_rotation_lose_no_token(on_disk):
    *waiting, its = rotation_waits.run(rows=300, seconds=0.1, rounds=1)
    assert len(waiting) == 3
    for table in waiting:
        assert figures(table, "refused") == {0}
        assert min(figures(table, "writes")) > 0
    assert max(figures(its, "missed")) <= 1


@pytest.mark.processes
def test_each_process_moves_all_before_its_memory_counts(on_disk):
    (table,) = rotation_memory.run(few=2, many=5, rounds=1)
    assert len(table.results) == 4
    assert figures(table, "left behind") == {0}
    assert min(figures(table, "peak MiB")) > 20


@pytest.mark.processes
def test_all_that_moves_in_arrives(on_disk):
    (table,) = move_in.run(few=20, many=210, customers=7, rounds=1)
    assert figures(table, "lost") == figures(table, "files lost") == {0}


@pytest.mark.django_db(transaction=True)
def test_sealed_and_plain_list_the_same_accounts():
    (table,) = sealed_list.run(rows=7, rounds=1)
    assert figures(table, "accounts") == {7}


@pytest.mark.django_db(transaction=True)
def test_a_verdict_is_what_it_should_be_and_every_value_is_tried():
    looks, trials, *with_fallback = verdict.run(rows=10, looks=1, rounds=1)
    assert looks.ratios("look()")[0] > 0
    assert figures(trials, "opened") == figures(with_fallback[1], "opened") == {10}


def test_the_filter_is_measured_on_lines_in_which_it_finds_nothing():
    (table,) = redaction.run(rounds=1, lines=10)
    assert len(table.results) == 4
    assert figures(table, "redacted") == {0}


def test_rounds_are_interleaved_and_compared_with_their_own_yardstick():
    order = []

    def case(name, values):
        return lambda: order.append(name) or {"ms": values.pop(0)}

    results = interleave({"a": case("a", [1, 100]), "b": case("b", [2, 300])}, rounds=2)
    table = Table("title", "ms", results)
    assert order == ["a", "b", "a", "b"]
    assert table.ratios("b") == [2, 3]
    assert str(table).splitlines()[-1] == "b  2.5 (2 to 3)  151 (2 to 300)"


def test_waits_name_the_unluckiest():
    assert waits([0.001] * 98 + [0.002, 3]) == {
        "median ms": 1,
        "p95 ms": 1,
        "p99 ms": 2,
        "longest ms": 3000,
    }
