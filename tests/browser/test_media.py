"""Pictures, sound and video in the thread, and the faces beside the names."""

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from instamsg.sandbox import media as sandbox_media
from instamsg.sandbox import samples
from messaging.models import Attachment, Conversation, Message

pytestmark = pytest.mark.browser

FILES = {
    "image": (lambda: sandbox_media.picture("hill", 480, 360), "image/png", "png"),
    "video": (samples.video, "video/mp4", "mp4"),
    "audio": (lambda: samples.voice("17995"), "audio/wav", "wav"),
    "file": (lambda: samples.document("17994"), "application/pdf", "pdf"),
}
SCREENS = {
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "desk": {"viewport": {"width": 1280, "height": 900}},
}
PLAYED = """async (element) => {
  element.muted = true;
  await element.play();
  element.pause();
  element.currentTime = element.duration * 0.9;
  await new Promise((done) => element.addEventListener("seeked", done, { once: true }));
  return element.currentTime / element.duration;
}"""


@pytest.fixture
def thread(conversation, settings, tmp_path):
    """A conversation with one of each."""
    settings.MEDIA_ROOT = tmp_path
    message = Message.objects.create(
        account=conversation.account, conversation=conversation, direction="in",
        status="received", timestamp=timezone.now(), due_at=None,
    )  # fmt: skip
    for position, (kind, (make, content_type, ending)) in enumerate(FILES.items()):
        one = Attachment(message=message, position=position, kind=kind, due_at=None)
        one.state, one.content_type = Attachment.State.STORED, content_type
        one.file.save(f"{kind}.{ending}", ContentFile(make()))
    post = "https://www.instagram.com/p/DExample01/"
    rest = [
        {"kind": "ig_post", "url": post, "title": "Autumn bowls, glazed by hand " * 9},
        {"kind": "story_mention", "state": Attachment.State.EXPIRED},
        {"kind": "video", "state": Attachment.State.PENDING, "error": Attachment.NOT_FETCHED},
        {"kind": "image", "state": Attachment.State.UNAVAILABLE, "error": Attachment.NOT_FETCHED},
        {"kind": "like_heart"},
    ]
    for position, fields in enumerate(rest, start=len(FILES)):
        Attachment.objects.create(message=message, position=position, due_at=None, **fields)
    conversation.picture.save("face.png", ContentFile(sandbox_media.picture("mila", 128, 128)))
    Conversation.objects.update(picture_type="image/png", name="Mila Novak")
    return conversation


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_that_came_has_its_place(open_page, thread, user, screen, scheme):
    path = thread.get_absolute_url()
    page = open_page(path, user=user, color_scheme=scheme, **SCREENS[screen])
    page.wait_for_load_state("networkidle")
    page.locator(".picture img").scroll_into_view_if_needed()
    for image in page.locator(".picture img, .thread .avatar img").all():
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    assert page.locator(".scroller").evaluate("e => e.scrollWidth <= e.clientWidth")
    assert page.get_by_role("button", name="Try again").is_visible()
    link = page.get_by_role("link", name="Open on Instagram")
    assert link.get_attribute("target") == "_blank"


@pytest.mark.parametrize("tag", ["video", "audio"])
def test_what_moves_or_sounds_can_be_played_and_wound_forward(open_page, thread, user, tag):
    page = open_page(thread.get_absolute_url(), user=user)
    player = page.locator(f"{tag}.{tag}")
    assert player.get_attribute("aria-label").startswith(("Video from", "Voice message"))
    if tag == "video" and not player.evaluate(
        "e => e.canPlayType('video/mp4; codecs=avc1.42E01E')"
    ):
        pytest.skip("this Chromium plays no H.264")
    assert player.evaluate(PLAYED) == pytest.approx(0.9, abs=0.05)


def test_a_picture_opens_by_itself_in_full_size(open_page, thread, user):
    page = open_page(thread.get_absolute_url(), user=user)
    page.locator(".picture").click()
    image = page.locator("img")
    image.wait_for()
    assert image.evaluate("image => image.naturalWidth") == 480


def test_a_face_that_cannot_be_loaded_leaves_the_letter(open_page, thread, user):
    thread.picture.storage.delete(thread.picture.name)
    page = open_page("/", user=user)
    page.wait_for_load_state("networkidle")
    assert page.locator(f"#conversation-{thread.pk} .avatar").inner_text() == "M"
