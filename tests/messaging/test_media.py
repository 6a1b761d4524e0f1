import base64
import socket

import pytest
from django.utils import timezone

from messaging import media, outbound_http
from messaging.models import Attachment, Message
from messaging.wire import AttachmentEvent
from tests.conftest import work

pytestmark = pytest.mark.django_db(transaction=True)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def attach(conversation, url, kind="image"):
    message = Message.objects.create(
        account=conversation.account, conversation=conversation, direction="in",
        status="received", mid=url[:500], timestamp=timezone.now(), due_at=None,
    )  # fmt: skip
    one = media.attachment(message, 0, AttachmentEvent(kind, url))
    one.save()
    return one


def upload(instagram, data: bytes) -> str:
    body = base64.b64encode(data).decode()
    return instagram.control("assets", body_base64=body, content_type="image/png")["url"]


def fetch(one):
    media.fetch.run()
    one.refresh_from_db()
    return one


def test_a_picture_is_fetched_and_kept_under_an_opaque_name(instagram, conversation):
    one = fetch(attach(conversation, upload(instagram, PNG)))
    assert (one.state, one.content_type) == (Attachment.State.STORED, "image/png")
    with one.file.open() as file:
        assert file.read() == PNG
    assert one.file.name == f"attachments/{one.public_id}.png"
    assert len(one.public_id) == 32
    one.message.refresh_from_db()
    assert one.message.change > 0  # Open pages will show it.


def test_no_token_of_ours_goes_with_the_request(instagram, conversation):
    fetch(attach(conversation, upload(instagram, PNG)))
    calls = instagram.control("requests", method="GET")["requests"]
    assert not [call for call in calls if "cdn" in call["path"] and call["token_in"] != "none"]


def test_the_type_is_read_from_the_bytes_not_from_the_header(instagram, conversation):
    one = fetch(attach(conversation, upload(instagram, b"<script>alert(1)</script>")))
    assert one.content_type == "application/octet-stream"
    assert not one.is_image


def test_what_is_too_large_is_not_kept(instagram, conversation, monkeypatch):
    monkeypatch.setattr(media, "MAX_BYTES", 10)
    one = fetch(attach(conversation, upload(instagram, PNG)))
    assert (one.state, one.file.name) == (Attachment.State.UNAVAILABLE, "")


def test_a_failed_download_is_tried_again_and_then_says_so(instagram, conversation):
    one = attach(conversation, f"{instagram.url}/ig_messaging_cdn/?asset_id=1&signature=gone")
    for _ in range(media.ATTEMPTS):
        assert one.state == Attachment.State.PENDING
        Attachment.objects.update(due_at=timezone.now())
        fetch(one)
    assert one.state == Attachment.State.UNAVAILABLE
    assert one.due_at is None


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


def test_names_of_customers_come_from_instagram(instagram, open_conversation):
    type(open_conversation).objects.update(username="")
    work()
    open_conversation.refresh_from_db()
    assert (open_conversation.username, open_conversation.title) == ("mila.tests", "Mila Novak")


@pytest.mark.parametrize("url", [f"https://{'a' * 64}.fbsbx.com/x", "https://x..fbsbx.com/x"])
def test_a_name_that_cannot_be_looked_up_ends_as_unavailable(conversation, url):
    one = attach(conversation, url)
    for _ in range(media.ATTEMPTS):
        Attachment.objects.update(due_at=timezone.now())
        fetch(one)
    assert (one.state, one.due_at) == (Attachment.State.UNAVAILABLE, None)


def test_a_full_disk_is_tried_again(instagram, conversation, settings, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    one = attach(conversation, upload(instagram, PNG))
    settings.MEDIA_ROOT = blocked  # No directory can be made below a file.
    fetch(one)
    assert one.state == Attachment.State.PENDING
    settings.MEDIA_ROOT = tmp_path
    Attachment.objects.update(due_at=timezone.now())
    assert fetch(one).state == Attachment.State.STORED
