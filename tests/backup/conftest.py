import itertools

import pytest

from .site import Site


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """Ten accounts with conversations, messages and files. Tests leave it as it is."""
    site = Site(tmp_path_factory.mktemp("filled"), 10)
    yield site
    site.close()


@pytest.fixture
def new_site(tmp_path):
    """Makes empty installations that go with the test."""
    sites, numbers = [], itertools.count()

    def make() -> Site:
        sites.append(Site(tmp_path / f"site-{next(numbers)}"))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def empty(new_site):
    return new_site()


@pytest.fixture
def used(new_site, archive_path):
    """An installation like `filled` that a test may change."""
    site = new_site()
    done = site.restore(archive_path, "--send-waiting")
    assert done.code == 0, done.err
    return site


@pytest.fixture(scope="session")
def archive_path(filled):
    return filled.backup()
