import base64
import errno
import logging
import socket
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from messaging import erasure, media, media_policy, media_types, outbound_http
from messaging.events import AttachmentEvent
from messaging.models import Attachment, FileToDelete, Message

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def attach(conversation, url, kind="image", *, ago=timedelta(), title="", **fields):
    message = Message.objects.create(
        account=conversation.account, conversation=conversation, direction="in",
        status="received", mid=url[:500], timestamp=timezone.now() - ago, due_at=None, **fields,
    )  # fmt: skip
    one = media.attachment(message, 0, AttachmentEvent(kind, url, title))
    one.save()
    return one


def upload(instagram, data: bytes) -> str:
    body = base64.b64encode(data).decode()
    return instagram.control("assets", body_base64=body, content_type="image/png")["url"]


def fetch(one):
    media.fetch.run()
    one.refresh_from_db()
    return one


def fetch_until_settled(one):
    """However long it takes; returns how often it was asked for."""
    times = 0
    while one.state == Attachment.State.PENDING:
        Attachment.objects.update(due_at=timezone.now())
        fetch(one)
        times += 1
        assert times < 20
    return times


def files():
    """What lies under MEDIA_ROOT."""
    root = Path(default_storage.location)
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.fixture(autouse=True)
def empty_folder(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def test_a_picture_is_fetched_and_kept_under_an_opaque_name(instagram, conversation):
    one = fetch(attach(conversation, upload(instagram, PNG)))
    assert (one.state, one.content_type) == (Attachment.State.STORED, "image/png")
    with one.file.open() as file:
        assert file.read() == PNG
    assert files() == [one.file.name]
    assert one.public_id not in one.file.name
    assert len(Path(one.file.name).stem) == len(one.public_id) == 32
    one.message.refresh_from_db()
    assert one.message.change > 0  # Open pages will show it.


def test_no_token_of_ours_goes_with_the_request(instagram, conversation):
    fetch(attach(conversation, upload(instagram, PNG)))
    calls = instagram.control("requests", method="GET")["requests"]
    assert not [call for call in calls if "cdn" in call["path"] and call["token_in"] != "none"]


def test_the_type_is_read_from_the_bytes_not_from_the_header(instagram, conversation):
    one = fetch(attach(conversation, upload(instagram, b"MZ: a program")))
    assert one.content_type == "application/octet-stream"
    assert not one.is_image


FTYP = b"\0\0\0\x18ftyp"


@pytest.mark.parametrize(
    ("data", "kind", "content_type"),
    [
        (PNG, "image", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image", "image/jpeg"),
        (b"GIF89a", "image", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image", "image/webp"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio", "audio/wav"),
        (b"RIFF\x24\0\0\0AVI LIST", "video", "video/x-msvideo"),
        (b"OggS\0\x02" + b"\0" * 22 + b"\x01*\x80theora", "video", "video/ogg"),
        (b"12345678WEBP", "image", "application/octet-stream"),
        (FTYP + b"isom\0\0\2\0", "video", "video/mp4"),
        (FTYP + b"isom\0\0\2\0", "audio", "audio/mp4"),
        (FTYP + b"M4A \0\0\2\0", "file", "audio/mp4"),
        (FTYP + b"qt  \0\0\2\0", "video", "video/quicktime"),
        (FTYP + b"heic\0\0\2\0", "image", "image/heic"),
        (FTYP + b"avif\0\0\2\0", "image", "image/avif"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81", "video", "video/webm"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81", "audio", "audio/webm"),
        (b"ID3\x04\0\0", "audio", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio", "audio/aac"),
        (b"OggS\0\2", "audio", "audio/ogg"),
        (b"%PDF-1.7 ", "file", "application/pdf"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image", "application/octet-stream"),
        (b"<html><script>alert(1)</script>", "file", "application/octet-stream"),
        (b"\xff\xfeh\0i\0", "file", "application/octet-stream"),
        (b"", "image", "application/octet-stream"),
    ],
)
def test_a_type_is_told_from_the_first_bytes(data, kind, content_type):
    assert media_types.of(data, kind)[0] == content_type


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html><title>Gone", b"\xef\xbb\xbf \n<HTML>", b"<!-- x --><body>Sorry"]
)
def test_a_page_that_says_that_the_link_is_dead_is_no_picture(instagram, conversation, page):
    one = attach(conversation, upload(instagram, page))
    assert fetch_until_settled(one) == media.ATTEMPTS_IF_GONE
    assert (one.state, one.file.name) == (Attachment.State.UNAVAILABLE, "")
    assert files() == []


def test_a_page_that_was_sent_as_a_file_is_a_file(instagram, conversation):
    one = fetch(attach(conversation, upload(instagram, b"<html>My page"), kind="file"))
    assert (one.state, one.content_type) == ("stored", "application/octet-stream")


def test_what_is_too_large_is_not_kept(instagram, conversation, monkeypatch):
    monkeypatch.setattr(media, "MAX_BYTES", 10)
    one = fetch(attach(conversation, upload(instagram, PNG)))
    assert (one.state, one.file.name) == (Attachment.State.UNAVAILABLE, "")


def test_a_failed_download_is_tried_again_and_then_says_so(instagram, conversation):
    one = fetch(attach(conversation, f"{instagram.url}/ig_messaging_cdn/?asset_id=1&signature=x"))
    assert (one.state, one.error) == (Attachment.State.PENDING, Attachment.NOT_FETCHED)
    assert timedelta(seconds=15) < one.due_at - timezone.now() < timedelta(seconds=25)
    one.message.refresh_from_db()
    first = one.message.change
    assert first > 0  # The page says that it is tried again.
    assert 1 + fetch_until_settled(one) == media.ATTEMPTS_IF_GONE
    assert (one.state, one.due_at) == (Attachment.State.UNAVAILABLE, None)
    one.message.refresh_from_db()
    assert one.message.change > first


def test_trouble_on_the_way_is_waited_out_for_longer_than_a_refusal(instagram, conversation):
    one = attach(conversation, f"{instagram.url}/ig_messaging_cdn/?asset_id=1&signature=x")
    instagram.control("faults", endpoint="media", status=503)
    assert fetch_until_settled(one) == media.ATTEMPTS > media.ATTEMPTS_IF_GONE
    assert sum(media.WAITS, timedelta()) > timedelta(days=1)


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": "before"}, {"drop": "after"}])
def test_a_download_that_failed_once_comes_after_all(instagram, conversation, fault):
    one = attach(conversation, upload(instagram, PNG))
    instagram.control("faults", endpoint="media", times=1, **fault)
    assert fetch_until_settled(one) == 2
    assert (one.state, one.error) == (Attachment.State.STORED, "")


def test_neither_address_nor_answer_reaches_the_log(instagram, conversation, caplog):
    one = attach(conversation, f"{instagram.url}/ig_messaging_cdn/?asset_id=1&signature=S3cr3t")
    fetch_until_settled(one)
    assert "HTTP 403" in caplog.text
    assert "S3cr3t" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "http://lookaside.fbsbx.com/x",
        "https://evil.example/x",
        "https://fbsbx.com.evil.example/x",
        "https://evilfbsbx.com/x",
        "http://127.0.0.1:1/x",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://lookaside.fbsbx.com/x",
        "//lookaside.fbsbx.com/x",
        "not a url",
        "https://[::1/x",
        "https://lookaside.fbsbx.com:99999/x",
        "https://user@127.0.0.1\\@lookaside.fbsbx.com/x",
    ],
)
def test_only_instagrams_own_hosts_are_asked(conversation, url):
    one = fetch(attach(conversation, url))
    assert one.state == Attachment.State.UNAVAILABLE
    assert one.due_at is None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.7", "169.254.169.254", "224.0.0.1", "::1", "fd00::1", "ff02::1",
        "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1",
    ],
)  # fmt: skip
def test_a_good_name_that_leads_into_a_private_network_is_refused(
    conversation, monkeypatch, address
):
    def resolve(host, port, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(outbound_http.socket, "getaddrinfo", resolve)
    one = fetch(attach(conversation, "https://lookaside.fbsbx.com/x"))
    assert one.state == Attachment.State.UNAVAILABLE
    assert "private network" in one.error


def test_the_sandbox_exception_does_not_exist_in_production(instagram, conversation, settings):
    settings.IS_PRODUCTION = True
    one = fetch(attach(conversation, upload(instagram, PNG)))
    assert one.state == Attachment.State.UNAVAILABLE


@pytest.fixture
def stored(instagram, conversation):
    return fetch(attach(conversation, upload(instagram, PNG)))


def test_a_member_sees_it(stored, client, user):
    client.force_login(user)
    response = client.get(stored.get_absolute_url())
    assert b"".join(response.streaming_content) == PNG
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"].startswith("private")


def test_nobody_else_does(stored, client, stranger):
    assert client.get(stored.get_absolute_url()).status_code == 302
    client.force_login(stranger)
    assert client.get(stored.get_absolute_url()).status_code == 404
    assert client.get(f"/media/{stored.file.name}").status_code == 404


def test_what_is_no_picture_is_offered_for_download_only(instagram, conversation, client, user):
    one = fetch(attach(conversation, upload(instagram, b"%PDF-1.7 "), kind="file"))
    client.force_login(user)
    response = client.get(one.get_absolute_url())
    response.close()
    assert response.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize("url", [f"https://{'a' * 64}.fbsbx.com/x", "https://x..fbsbx.com/x"])
def test_a_name_that_cannot_be_looked_up_ends_as_unavailable(conversation, url):
    one = attach(conversation, url)
    fetch_until_settled(one)
    assert (one.state, one.due_at) == (Attachment.State.UNAVAILABLE, None)


# --- The disk -------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch):
    """Begins to write, and then there is no room left; `tried` names what was to be written."""
    tried = []

    def save(name, content, max_length=None):
        tried.append(name)
        path = Path(default_storage.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.read(10))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(default_storage, "save", save)
    return SimpleNamespace(tried=tried, make_room=monkeypatch.undo)


def test_a_full_disk_is_waited_for_and_told_once(instagram, conversation, full_disk, caplog):
    several = [attach(conversation, upload(instagram, PNG + bytes([n]))) for n in range(3)]
    rounds = media.ATTEMPTS + 2
    for _ in range(rounds):
        Attachment.objects.update(due_at=timezone.now())
        media.fetch.run()
    assert len(full_disk.tried) == rounds  # One finds out for all.
    told = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert [r.getMessage().partition(".")[0] for r in told] == [
        "files cannot be stored in MEDIA_ROOT: No space left on device"
    ]
    for one in several:
        one.refresh_from_db()
        assert (one.state, one.attempts) == (Attachment.State.PENDING, 0)  # No fault of theirs.
        assert one.due_at > timezone.now()
    media.delete_files.run()
    assert files() == []
    full_disk.make_room()
    Attachment.objects.update(due_at=timezone.now())
    media.fetch.run()
    assert set(Attachment.objects.values_list("state", flat=True)) == {"stored"}
    assert "files can be stored again" in caplog.text


def test_a_folder_that_cannot_be_written_is_tried_again(
    instagram, conversation, settings, tmp_path
):
    blocked = tmp_path / "file"
    blocked.touch()
    one = attach(conversation, upload(instagram, PNG))
    settings.MEDIA_ROOT = blocked  # No directory can be made below a file.
    fetch(one)
    assert one.state == Attachment.State.PENDING
    settings.MEDIA_ROOT = tmp_path
    Attachment.objects.update(due_at=timezone.now())
    assert fetch(one).state == Attachment.State.STORED


def test_a_worker_that_dies_after_storing_leaves_no_file_behind(
    instagram, conversation, monkeypatch
):
    one = attach(conversation, upload(instagram, PNG))
    with monkeypatch.context() as patch:
        patch.setattr(media, "_settle", lambda *args, **changes: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            media.fetch.work()
    assert len(files()) == 1
    soon = FileToDelete.objects.filter(due_at__lte=timezone.now() + media.ORPHANED)
    soon.update(due_at=timezone.now())
    media.delete_files.run()
    assert files() == []
    assert fetch_until_settled(one) == 1
    media.delete_files.run()
    assert files() == [one.file.name]
    assert not FileToDelete.objects.exists()


def test_a_message_taken_back_during_the_download_leaves_no_file(
    instagram, conversation, monkeypatch
):
    one = attach(conversation, upload(instagram, PNG))
    download = media.download

    def slowly(url, limit):
        data = download(url, limit)
        one.message.delete()
        return data

    monkeypatch.setattr(media, "download", slowly)
    media.fetch.run()
    media.delete_files.run()
    assert files() == []
    assert not FileToDelete.objects.exists()


# --- What is kept, and how long -------------------------------------------------------------------

CDN = "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=1&signature=x"
NEVER = [
    "story_mention", "ig_story", "story", "ephemeral", "share", "ig_post", "ig_reel", "reel",
    "template", "fallback", "unsupported_type", "like_heart", "unknown", "something_new",
]  # fmt: skip


@pytest.mark.parametrize("kind", NEVER)
def test_what_is_not_the_customers_own_is_never_fetched(instagram, conversation, kind):
    one = fetch(attach(conversation, upload(instagram, PNG), kind))
    assert (one.state, one.due_at, one.file.name) == (Attachment.State.NOT_KEPT, None, "")
    calls = instagram.control("requests", method="GET")["requests"]
    assert [call for call in calls if "cdn" in call["path"]] == []


@pytest.mark.parametrize("kind", ["image", "video", "audio", "file", "sticker"])
@pytest.mark.parametrize("direction", ["in", "out"])
def test_what_people_send_themselves_is_fetched(instagram, conversation, kind, direction):
    assert fetch(attach(conversation, upload(instagram, PNG), kind)).state == "stored"


@pytest.mark.parametrize(
    ("kind", "url", "ago", "is_linked"),
    [
        ("story_mention", CDN, 1, True),
        ("story_mention", CDN, 25, False),
        ("story", "https://www.instagram.com/stories/mila.tests/1", 25, False),
        ("ig_post", CDN, 25, True),
        ("ig_post", CDN, 24 * 8, False),
        ("ig_reel", "https://www.instagram.com/reel/DExample01/", 24 * 300, True),
        ("ephemeral", CDN, 1, False),
        ("template", CDN, 1, False),
        ("something_new", CDN, 1, False),
        ("share", "https://evil.example/p", 1, False),
        ("share", "https://instagram.com.evil.example/p", 1, False),
        ("share", "https://www.instagram.com@evil.example/p", 1, False),
        ("share", "https://evil.example\\@www.instagram.com/p", 1, False),
        ("share", "http://www.instagram.com/p/1", 1, False),
        ("share", "javascript:alert(1)//www.instagram.com", 1, False),
        ("share", "https://www.instagram.com:x/p", 1, False),
        ("fallback", "https://shop.example/", 1, False),
        ("share", "", 1, False),
    ],
)
def test_a_link_leads_to_instagram_alone_and_while_it_lives(
    conversation, client, user, kind, url, ago, is_linked
):
    one = attach(conversation, url, kind, ago=timedelta(hours=ago), title="Autumn <bowls>")
    client.force_login(user)
    html = client.get(conversation.get_absolute_url()).content.decode()
    assert "Autumn &lt;bowls&gt;" in html
    assert ('rel="noreferrer noopener">Open on Instagram' in html) == is_linked
    assert bool(one.link) == is_linked
    assert ("Look in the Instagram app" in html) != is_linked


def test_what_was_taken_back_leaves_no_file(stored):
    digest = b"d" * 16
    Message.objects.update(mid_digest=digest)
    name = stored.file.name
    with transaction.atomic():
        erasure.forget_content([digest])
    assert not Attachment.objects.exists()
    media.delete_files.run()
    assert not default_storage.exists(name)
    assert files() == []


def test_files_older_than_the_retention_go_and_their_messages_stay(
    instagram, conversation, settings, client, user
):
    old = [
        fetch(attach(conversation, upload(instagram, PNG + bytes([n])), ago=timedelta(days=31)))
        for n in range(3)
    ]
    young = fetch(attach(conversation, upload(instagram, PNG), ago=timedelta(days=29)))
    assert media.prune() == 0  # The default: for ever.
    settings.MEDIA_RETENTION_DAYS = 30
    assert media.prune() == 3
    assert media.prune() == 0
    media.delete_files.run()
    assert files() == [young.file.name]
    for one in old:
        one.refresh_from_db()
        assert (one.state, one.file.name, one.url) == (Attachment.State.EXPIRED, "", "")
    client.force_login(user)
    assert client.get(old[0].get_absolute_url()).status_code == 404
    assert b"is no longer kept here" in client.get(conversation.get_absolute_url()).content


def test_pruning_goes_through_many_in_small_transactions(conversation, settings, monkeypatch):
    settings.MEDIA_RETENTION_DAYS = 1
    monkeypatch.setattr(media, "BATCH", 2)
    for n in range(5):
        one = attach(conversation, f"{CDN}{n}", ago=timedelta(hours=23))
        Message.objects.filter(pk=one.message_id).update(timestamp=timezone.now() - 2 * DAY)
    Attachment.objects.update(state="stored", file="attachments/x.png", due_at=None)
    assert media.prune() == 5
    assert FileToDelete.objects.count() == 5


def test_what_is_too_old_to_be_kept_is_not_fetched_at_all(instagram, conversation, settings):
    settings.MEDIA_RETENTION_DAYS = 30
    one = fetch(attach(conversation, upload(instagram, PNG), ago=timedelta(days=31)))
    assert (one.state, one.due_at) == (Attachment.State.EXPIRED, None)


# --- Asking once more -----------------------------------------------------------------------------


@pytest.fixture
def failed(instagram, conversation):
    one = attach(conversation, upload(instagram, PNG))
    instagram.control("faults", endpoint="media", status=404, times=media.ATTEMPTS_IF_GONE)
    fetch_until_settled(one)
    return one


def test_a_member_asks_for_it_again(failed, conversation, client, user):
    client.force_login(user)
    again = f"/media/{failed.public_id}/again"
    assert again in client.get(conversation.get_absolute_url()).content.decode()
    before = type(conversation).objects.get().change
    response = client.post(again)
    assert response.headers["Location"] == conversation.get_absolute_url()
    assert type(conversation).objects.get().change == before + 1
    failed.refresh_from_db()
    assert failed.state == Attachment.State.PENDING
    assert fetch(failed).state == Attachment.State.STORED
    client.post(again)
    failed.refresh_from_db()
    assert failed.state == Attachment.State.STORED


def test_others_do_not(failed, client, stranger):
    again = f"/media/{failed.public_id}/again"
    assert "/login" in client.post(again).headers["Location"]
    client.force_login(stranger)
    assert client.post(again).status_code == 404
    assert client.get(again).status_code == 405
    failed.refresh_from_db()
    assert failed.state == Attachment.State.UNAVAILABLE


def test_what_was_refused_or_is_long_gone_is_not_offered_again(failed, conversation, client, user):
    client.force_login(user)
    Message.objects.update(timestamp=timezone.now() - media_policy.LINKS_LIVE)
    assert b"Try again" not in client.get(conversation.get_absolute_url()).content
    Message.objects.update(timestamp=timezone.now())
    Attachment.objects.update(error="Not fetched: it is larger than 25 MB.")
    assert b"Try again" not in client.get(conversation.get_absolute_url()).content
    client.post(f"/media/{failed.public_id}/again")
    failed.refresh_from_db()
    assert failed.state == Attachment.State.UNAVAILABLE


# --- Serving --------------------------------------------------------------------------------------


@pytest.fixture
def get(stored, client, user):
    """Asks for the stored picture as a member."""
    client.force_login(user)
    return lambda **headers: client.get(stored.get_absolute_url(), headers=headers)


def body(response):
    with_stream = response.streaming
    return b"".join(response.streaming_content) if with_stream else response.content


def test_a_file_runs_nothing_and_loads_nothing(get):
    response = get()
    body(response)
    assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none';")
    assert response.headers["Content-Disposition"].startswith('inline; filename="image-')
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("data", "kind", "is_inline"),
    [
        (b"\x1a\x45\xdf\xa3\x9f", "video", True),
        (b"ID3\x04", "audio", True),
        (FTYP + b"heic\0", "image", False),
        (b"<svg onload='alert(1)'/>", "image", False),
        (b"<html><script>alert(1)</script>", "file", False),
        (b"%PDF-1.7 ", "file", False),
    ],
)
def test_only_pictures_sound_and_video_are_shown_in_place(
    instagram, conversation, client, user, data, kind, is_inline
):
    one = fetch(attach(conversation, upload(instagram, data), kind))
    client.force_login(user)
    response = client.get(one.get_absolute_url())
    assert body(response) == data
    disposition = response.headers["Content-Disposition"].partition(";")[0]
    assert disposition == ("inline" if is_inline else "attachment")
    assert "html" not in response.headers["Content-Type"]
    assert "svg" not in response.headers["Content-Type"]


END = len(PNG) - 1


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=10-", 10, END),
        ("bytes=-10", END - 9, END),
        ("bytes=10-999999", 10, END),
        ("bytes=-999999", 0, END),
        (f"bytes={END}-{END}", END, END),
    ],
)
def test_a_part_is_answered_with_that_part(get, asked, first, last):
    response = get(Range=asked)
    assert response.status_code == 206
    assert body(response) == PNG[first : last + 1]
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(PNG)}"
    assert response.headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", [f"bytes={len(PNG)}-", "bytes=-0", "bytes=9-3", "bytes=-"])
def test_a_part_that_is_not_there_is_refused(get, asked):
    response = get(Range=asked)
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{len(PNG)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "bytes 0-1"])
def test_what_is_no_single_part_gets_the_whole(get, asked):
    response = get(Range=asked)
    assert response.status_code == 200
    assert body(response) == PNG
    assert response.headers["Content-Length"] == str(len(PNG))
    assert response.headers["Accept-Ranges"] == "bytes"


def test_a_part_of_another_content_gets_the_whole(get):
    etag = get(Range="bytes=0-1")
    body(etag)
    same = get(Range="bytes=0-1", If_Range=etag.headers["ETag"])
    other = get(Range="bytes=0-1", If_Range='"another"')
    assert (body(same), body(other)) == (PNG[:2], PNG)


def test_a_browser_that_has_it_is_told_so_and_always_asks(get, stored):
    first = get()
    body(first)
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = get(If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none';")
    stored.delete()
    assert get(If_None_Match=first.headers["ETag"]).status_code == 404


def test_head_tells_the_size_and_sends_nothing(stored, client, user):
    client.force_login(user)
    response = client.head(stored.get_absolute_url())
    assert (response.status_code, body(response)) == (200, b"")
    assert response.headers["Content-Length"] == str(len(PNG))
    assert response.headers["Content-Type"] == "image/png"
    response = client.head(stored.get_absolute_url(), headers={"Range": "bytes=0-1"})
    assert (response.status_code, response.headers["Content-Length"]) == (206, "2")


def test_a_file_that_is_not_on_the_disk_is_not_found(stored, get):
    default_storage.delete(stored.file.name)
    assert get().status_code == 404


def test_video_and_sound_can_be_played_in_the_thread(instagram, conversation, client, user):
    video = fetch(attach(conversation, upload(instagram, FTYP + b"isom\0"), "video"))
    sound = fetch(attach(conversation, upload(instagram, b"OggS\0"), "audio"))
    client.force_login(user)
    response = client.get(conversation.get_absolute_url())
    html = response.content.decode()
    for tag, one in (("video", video), ("audio", sound)):
        assert (
            f'<{tag} class="{tag}" src="{one.get_absolute_url()}" controls preload="none"' in html
        )
    assert "media-src 'self'" in response.headers["Content-Security-Policy"]
