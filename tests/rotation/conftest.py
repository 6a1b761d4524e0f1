import random

import pytest

from .installation import Installation


def _made(factory, name: str, size: int):
    installation = Installation(factory.mktemp(name), size)
    yield installation
    installation.close()


@pytest.fixture(scope="session")
def made_small(tmp_path_factory):
    yield from _made(tmp_path_factory, "small", 10)


@pytest.fixture(scope="session")
def made_large(tmp_path_factory):
    yield from _made(tmp_path_factory, "large", 4000)


@pytest.fixture
def small(made_small):
    """Ten accounts under the old secret."""
    yield made_small.restore()
    made_small.close_hosts_of_one_test()


@pytest.fixture
def large(made_large):
    """Four pages of accounts under the old secret."""
    yield made_large.restore()
    made_large.close_hosts_of_one_test()


@pytest.fixture
def rng():
    seed = random.randrange(2**32)  # noqa: S311  (moments of a kill, no secret)
    print(f"seed {seed}")  # noqa: T201  (what a failing run needs)
    return random.Random(seed)  # noqa: S311
