"""The page for what should not happen needs nothing that may be broken itself."""

import re

from django.contrib.staticfiles import finders
from django.test import RequestFactory
from django.views.defaults import server_error


def page() -> str:
    response = server_error(RequestFactory().get("/"))
    assert response.status_code == 500
    return response.content.decode()


def test_it_is_shown_where_the_static_files_were_never_collected(settings, tmp_path):
    storage = {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": storage}
    settings.STATIC_ROOT = tmp_path
    assert "Something went wrong here" in page()


def test_what_it_shows_exists(settings):
    addresses = re.findall(r'"(/static/[^"]+)"', page())
    assert len(addresses) == 3
    for address in addresses:
        assert finders.find(address.removeprefix(f"{settings.STATIC_URL}")), address
