import os
import stat

import pytest
from django.core.exceptions import ImproperlyConfigured

from crypto import secrets

GOOD = "9fQm2vXr7LkT4wZp1sYc8bNd6hGj3aRe"


def test_the_process_wins_over_the_file():
    assert secrets.read("NAME", [{"NAME": "process"}, {"NAME": "file"}]) == "process"
    assert secrets.read("NAME", [{}, {"NAME": "file"}]) == "file"


def test_a_variable_that_is_set_but_blank_is_unset_and_still_wins():
    assert secrets.read("NAME", [{"NAME": "  "}, {"NAME": "file"}]) is None


def test_blanks_and_a_files_newline_do_not_count_and_dollars_stand_for_themselves(tmp_path):
    path = tmp_path / "secret"
    path.write_text("  $HOME${x}#y \n")
    assert secrets.read("NAME", [{"NAME_FILE": str(path)}]) == "$HOME${x}#y"
    assert secrets.read("NAME", [{"NAME": " $HOME "}]) == "$HOME"


def test_a_variable_set_twice_is_refused(tmp_path):
    with pytest.raises(ImproperlyConfigured, match="NAME is set twice"):
        secrets.read("NAME", [{"NAME": "a", "NAME_FILE": str(tmp_path)}])


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ImproperlyConfigured, match=r"gone.*No such file"):
        secrets.read("NAME", [{"NAME_FILE": str(tmp_path / "gone")}])


def test_a_list_drops_what_is_blank():
    assert secrets.read_list("NAME", [{"NAME": " a, ,b,"}]) == ["a", "b"]
    assert secrets.read_list("NAME", [{}]) == []


@pytest.mark.parametrize("secret", [*sorted(secrets.KNOWN_BAD), "short-1A", "ab" * 30])
def test_weak_secrets_are_known_by_their_weakness(secret):
    assert secrets.weakness(secret)


def test_the_documented_way_makes_a_good_one():
    import secrets as standard

    assert all(secrets.weakness(standard.token_urlsafe(32)) is None for _ in range(200))
    assert secrets.weakness(GOOD) is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits")
def test_an_env_file_that_others_can_read_is_noticed(tmp_path):
    path = tmp_path / ".env"
    path.touch()
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert not secrets.others_can_read(path)
    path.chmod(0o644)
    assert secrets.others_can_read(path)
