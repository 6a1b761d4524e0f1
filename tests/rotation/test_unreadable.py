"""Values that no secret opens: named, never touched, never in the way of the others."""

from uuid import UUID

import pytest

from . import acts
from .databases import IS_POSTGRES
from .installation import BOTH, NEW, OLD, OTHER, Installation, fernet, is_under, look

pytestmark = pytest.mark.processes


def spoil(installation: Installation) -> dict[str, str]:
    """Six values, each in another way; account id → what people call the row."""
    good = list(installation.values().values())
    forged = good[1][:-9] + ("A" if good[1][-9] != "A" else "B") + good[1][-8:]
    bad = [
        "Nobody ever encrypted this.",
        forged,
        good[2][:-24],
        "",
        "gAAAAAé\u2603\U0001f511 ünïcode",
        fernet(OTHER).encrypt(b"IGAATokenUnderAnotherKey").decode(),
    ]
    return {
        installation.write(number, value): f"@shop.{number}" for number, value in enumerate(bad)
    }


def is_named(bad: dict[str, str], text: str) -> bool:
    lines = [line for line in text.splitlines() if line.startswith("Unreadable: ")]
    begins = {" ".join(line.split()[1:4]) for line in lines}
    return begins == {f"account {pk} {name}:" for pk, name in bad.items()} and all(
        len(line.split()) > 6 for line in lines
    )


def test_they_stop_it_with_every_one_named_and_nothing_written(small):
    bad = spoil(small)
    before = small.dump()
    stopped = small.rotate()
    assert stopped.code == 4
    assert is_named(bad, stopped.err)
    assert small.dump() == before
    look(small)


def test_a_dry_run_names_them_too_and_writes_nothing(small):
    bad = spoil(small)
    before = small.dump()
    stopped = small.rotate("--dry-run")
    assert stopped.code == 4
    assert is_named(bad, stopped.err)
    assert small.dump() == before


def test_when_told_to_skip_them_it_moves_the_others_and_leaves_them_byte_for_byte(small):
    bad = spoil(small)
    before = small.values()
    done = small.rotate("--skip-unreadable")
    assert done.code == 6
    assert is_named(bad, done.err)
    after = small.values()
    assert {pk for pk in after if after[pk] == before[pk]} == set(bad)
    assert small.tokens_under(NEW).keys() == small.all_tokens.keys() - {
        name.strip("@") for name in bad.values()
    }
    assert small.current == NEW
    said = look(small)[0]
    assert said["verdict"] == "unreadable"
    checked = small.manage("check_secret")
    assert checked.code == 4
    assert is_named(bad, checked.out)


@pytest.mark.skipif(IS_POSTGRES, reason="there a text column holds text")
@pytest.mark.parametrize("octets", ["x'fffe00'", "CAST(x'67414141414180fe00' AS TEXT)"])
def test_bytes_that_are_no_text_are_named_and_reset_like_any_other(small, octets):
    ((pk,),) = small.execute(
        f"UPDATE accounts SET access_token_encrypted = {octets} "
        "WHERE username = 'shop.1' RETURNING id"
    )
    before, odd = small.dump(), small.values()[pk]
    look(small)
    stopped = small.rotate()
    assert stopped.code == 4, stopped.err
    assert is_named({pk: "@shop.1"}, stopped.err)
    assert small.dump() == before
    assert small.rotate("--skip-unreadable").code == 6
    assert len(small.tokens_under(NEW)) == 9
    assert small.values()[pk] == odd
    assert look(small)[0]["verdict"] == "unreadable"
    cleared = small.manage("reset_tokens", "--no-input", "--no-backup")
    assert cleared.code == 0, cleared.err
    assert f"Cleared: account {pk} @shop.1" in cleared.out
    assert pk not in small.values()
    assert len(small.tokens_under(NEW)) == 9
    look(small)


def test_one_that_came_while_it_ran_stops_it_as_well(small, tmp_path):
    rotation = small.start(acts.rotate_and_wait, "swapping", str(tmp_path / "go"))
    rotation.wait_for("swapping")
    small.write(3, "gibberish")
    before = small.dump()
    (tmp_path / "go").touch()
    assert "No secret given opens 1 of the stored values" in rotation.wait().err
    assert small.dump() == before


def test_a_fallback_removed_too_early_is_seen_and_putting_it_back_mends_all(small):
    before = small.dump()
    (said,) = look(small, (NEW,))
    assert said["verdict"] == "wrong"
    assert said["unreadable_count"] == 10
    assert small.rotate(ring=(NEW,)).code == 5, "there is no secret to rotate from"
    refused = small.rotate(ring=(NEW, OTHER))
    assert refused.code == 1
    assert "None of the secrets given opens what is stored" in refused.err
    assert small.dump() == before
    look(small, BOTH)
    assert small.rotate().code == 0
    assert is_under(small, NEW)


# Columns that no command has heard of

SHOPS, VAULTS = "second_column_shop.api_key", "second_column_vault.sealed code"


class WithSecondColumn(Installation):
    columns = {**Installation.columns, SHOPS: "id", VAULTS: "id"}

    def fill(self) -> None:
        super().fill()
        filled = self.run(acts.fill_second_columns, ring=(OLD,))
        assert filled.code == 0, filled.err

    def all_are_under(self, secret: str) -> bool:
        values = [value for column in self.columns for value in self.values(column).values()]
        return all(fernet(secret).decrypt(value) for value in values)


@pytest.fixture(scope="module")
def made_with_second_column(tmp_path_factory):
    installation = WithSecondColumn(
        tmp_path_factory.mktemp("second"), 3, DJANGO_SETTINGS_MODULE="tests.second_column.settings"
    )
    yield installation
    installation.close()


@pytest.fixture
def wider(made_with_second_column):
    yield made_with_second_column.restore()
    made_with_second_column.close_hosts_of_one_test()


def test_a_column_of_another_app_is_rotated_and_counted_with_the_rest(wider):
    for said in look(wider):
        assert [sum(counts.values()) for counts in said["columns"].values()] in (
            # Accounts, CRM endpoints (two columns, empty here), shops, vaults.
            [3, 0, 0, 5, 5],
            [0, 0, 0, 0, 0],
        )
    done = wider.rotate()
    assert done.code == 0, done.err
    assert wider.all_are_under(NEW)
    assert f"{SHOPS}: 5 re-encrypted" in done.out
    assert f"{VAULTS}: 5 re-encrypted" in done.out
    look(wider)


def test_a_kill_leaves_no_column_behind(wider):
    before = wider.dump()
    for page in (1, 2, 3):
        assert wider.run(acts.rotate_and_die_at_page, page).code == -9
        assert wider.dump() == before
    look(wider)


def test_its_unreadable_rows_are_named_and_reset_like_any_other(wider):
    ((shop,),) = wider.execute(
        "UPDATE second_column_shop SET api_key = 'gibberish' WHERE name = 'shop-2' RETURNING id"
    )
    ((vault,),) = wider.execute(
        """UPDATE second_column_vault SET "sealed code" = '' WHERE name = 'vault-3' RETURNING id"""
    )
    vault = UUID(str(vault))  # SQLite holds it without its dashes.
    look(wider)
    before = wider.dump()
    stopped = wider.rotate()
    assert stopped.code == 4
    assert f"Unreadable: shop {shop} shop-2: " in stopped.err
    assert f"Unreadable: vault {vault} vault-3: " in stopped.err
    assert wider.dump() == before

    cleared = wider.manage("reset_tokens", "--no-input", "--no-backup")
    assert cleared.code == 0, cleared.err
    assert f"Cleared: shop {shop} shop-2" in cleared.out
    kept = [len(wider.values(column)) for column in wider.columns]
    assert kept == [3, 4, 4]
    times = dict(wider.execute("SELECT name, opened_at FROM second_column_vault"))
    assert [name for name in times if times[name] is None] == ["vault-3"]
    look(wider, BOTH)
    assert wider.rotate().code == 0
    assert wider.all_are_under(NEW)
