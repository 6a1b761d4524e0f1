"""Each benchmark runs and counts right; how fast is for people to read."""

import pytest

from . import accept, derive, ledger_file, lists, projection
from .measuring import Table, interleave, waits


def figures(table: Table, name: str) -> set[float]:
    """All that the table holds under `name`."""
    return {one[name] for found in table.results.values() for one in found if name in one}


@pytest.mark.processes
def test_every_webhook_gets_its_200_and_is_stored():
    for table in accept.run(seconds=0.2, rounds=1, senders=(2,)):
        assert figures(table, "not 200") == figures(table, "lost") == {0}
        assert "2 at once" in str(table)


def test_bodies_are_committed_beside_a_worker():
    (table,) = ledger_file.run(seconds=0.1, rounds=1)
    assert len(table.results) == 4
    assert min(figures(table, "per second")) > 0


@pytest.mark.django_db
def test_lists_open_no_token_and_ask_no_more_for_more_rows():
    for table in lists.run(few=2, many=60, rounds=1):
        assert figures(table, "tokens opened") == {0}
        assert len(figures(table, "queries")) == 1


def test_keys_are_derived_and_the_site_starts():
    keys, start = derive.run(rounds=1, starts=1)
    assert keys.ratios("PBKDF2, 32 bytes") == [1]
    assert start.ratios("manage.py check")[0] > 1


@pytest.mark.django_db(transaction=True)
def test_every_event_becomes_a_message():
    (table,) = projection.run(events=30, rounds=1)
    assert figures(table, "messages") == {30}


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
        "p99 ms": 2,
        "longest ms": 3000,
    }
