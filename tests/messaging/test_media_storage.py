"""Files that another machine keeps: all that is done with them, done there.

The same with the S3 storage of django-storages, where it is installed:
pip install "django-storages[s3]==1.14.6"
"""

from datetime import timedelta

import pytest
from django.core.checks import run_checks
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from crypto.startup import STARTUP
from instamsg import environment
from messaging import doctor, media, readiness, uploads
from messaging.models import Attachment, FileToDelete
from tests.conftest import work
from tests.messaging import files
from tests.messaging.test_media import PNG, attach, fetch, upload
from tests.object_store import ObjectStore

pytestmark = pytest.mark.django_db(transaction=True)

S3 = "storages.backends.s3.S3Storage"


def options(backend: str, url: str) -> dict[str, str]:
    if backend != S3:
        return {"url": url}
    return {
        "bucket_name": "files", "endpoint_url": url, "addressing_style": "path",
        "region_name": "eu-central-1", "access_key": "AKIAEXAMPLE", "secret_key": "example-secret",
    }  # fmt: skip


@pytest.fixture(params=["tests.object_store.ObjectStorage", S3])
def store(request, settings, tmp_path):
    """The site keeps its files there, and has no folder for any."""
    if request.param == S3:
        pytest.importorskip("storages.backends.s3", reason="django-storages[s3] is not installed")
    with ObjectStore() as store:
        settings.MEDIA_ROOT = tmp_path / "nobody writes here"
        settings.MEDIA_STORAGE = request.param
        settings.MEDIA_STORAGE_OPTIONS = options(request.param, store.url)
        settings.STORAGES = {
            **settings.STORAGES,
            "default": {"BACKEND": request.param, "OPTIONS": settings.MEDIA_STORAGE_OPTIONS},
        }
        yield store
        assert not settings.MEDIA_ROOT.exists()


def names(store) -> list[str]:
    return sorted(key.removeprefix("/files").removeprefix("/") for key in store.objects)


@pytest.fixture
def stored(store, instagram, conversation):
    return fetch(attach(conversation, upload(instagram, PNG)))


def test_what_a_customer_sends_is_kept_there_and_shown_from_there(store, stored, client, user):
    with pytest.raises(NotImplementedError):
        default_storage.path(stored.file.name)
    assert names(store) == [stored.file.name]
    client.force_login(user)
    page = client.get(stored.get_absolute_url())
    assert (b"".join(page.streaming_content), page.headers["Content-Length"]) == (
        PNG,
        str(len(PNG)),
    )
    part = client.get(stored.get_absolute_url(), headers={"Range": "bytes=1-3"})
    assert (part.status_code, b"".join(part.streaming_content)) == (206, b"PNG")
    known = client.get(stored.get_absolute_url(), headers={"If-None-Match": page.headers["ETag"]})
    assert known.status_code == 304
    assert client.head(stored.get_absolute_url()).status_code == 200


def test_what_the_team_sends_is_kept_there_and_offered_from_there(
    store, client, user, open_conversation
):
    client.force_login(user)
    thread = open_conversation.get_absolute_url()
    assert client.post(f"{thread}reply", {"files": files.upload()}).status_code == 302
    one = Attachment.objects.get()
    assert names(store) == [one.file.name]
    client.logout()
    answer = client.get(uploads.offer(one).removeprefix("http://127.0.0.1:8000"))
    assert b"".join(answer.streaming_content) == files.PNG


def test_what_is_taken_back_or_too_old_is_gone_there(
    store, stored, instagram, conversation, settings
):
    old = fetch(attach(conversation, upload(instagram, PNG), ago=timedelta(days=9)))
    settings.MEDIA_RETENTION_DAYS = 7
    assert media.prune() == 1
    work()
    assert names(store) == [stored.file.name] != [old.file.name]
    with transaction.atomic():
        media.forget(Attachment.objects.filter(pk=stored.pk))
    work()
    assert names(store) == []


def test_a_file_that_is_lost_there_is_404(store, stored, client, user):
    store.objects.clear()
    client.force_login(user)
    assert client.get(stored.get_absolute_url()).status_code == 404


def test_while_it_is_away_files_wait_and_nothing_is_forgotten(
    store, stored, instagram, conversation, caplog
):
    another = attach(conversation, upload(instagram, PNG))
    store.is_away = True
    assert fetch(another).state == Attachment.State.PENDING
    with transaction.atomic():
        media.forget(Attachment.objects.filter(pk=stored.pk))
    work()
    assert "files cannot be stored in MEDIA_STORAGE" in caplog.text
    assert store.url not in caplog.text
    assert FileToDelete.objects.filter(name=stored.file.name, due_at__gt=timezone.now()).exists()
    store.is_away = False
    for model in (Attachment, FileToDelete):
        model.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    work()
    another.refresh_from_db()
    assert (another.state, names(store)) == ("stored", [another.file.name])


def test_the_doctor_tries_it_and_leaves_nothing_there(store):
    def found():
        return next(one for one in doctor.examine().findings if one.title == "Files")

    assert (found().state, names(store)) == ("good", [])
    store.is_away = True
    assert found().state == "bad"
    assert "MEDIA_STORAGE_OPTIONS" in found().fix


def test_this_machines_disk_is_asked_for_the_database_alone(store, settings):
    settings.IS_SQLITE = False
    assert readiness.disk().detail == "Nothing of the site is kept on this machine."


def serious() -> list[str]:
    return [found.id for found in run_checks(tags=[STARTUP]) if found.is_serious()]


def test_a_site_whose_storage_is_away_starts_all_the_same(store):
    store.is_away = True
    assert serious() == []


@pytest.mark.parametrize(
    ("backend", "its_options", "check"),
    [
        ("storages.backends.nosuch.Storage", {}, "messaging.E001"),
        ("tests.object_store.ObjectStorage", {}, "messaging.E001"),
        ("tests.object_store.ObjectStorage", {"url": "x", "bucket": "y"}, "messaging.E001"),
        ("", {"url": "x"}, "messaging.E002"),
        ("django.core.files.storage.FileSystemStorage", {"location": "/srv"}, "messaging.E003"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_at_the_start(
    settings, backend, its_options, check
):
    settings.MEDIA_STORAGE, settings.MEDIA_STORAGE_OPTIONS = backend, its_options
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": backend, "OPTIONS": its_options},
    }
    assert serious() == [check]


@pytest.mark.parametrize("text", ["{'bucket': 1}", "bucket", "[1]", '"secret-key-1"'])
def test_options_that_are_no_object_are_refused_without_being_quoted(text):
    with pytest.raises(environment.ImproperlyConfigured) as refused:
        environment.options("MEDIA_STORAGE_OPTIONS", text)
    assert "MEDIA_STORAGE_OPTIONS is no JSON object" in str(refused.value)
    assert "secret-key-1" not in str(refused.value)


def test_no_password_among_the_options_reaches_a_log():
    given = {"bucket_name": "files", "secret_key": "s3cr3t-1", "params": {"password": "s3cr3t-2"}}
    assert environment.passwords(given) == ["s3cr3t-1", "s3cr3t-2"]
