"""What a person may send from the thread: files, answers to tap, reactions."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from messaging.models import Conversation, Message, SenderAction

from .test_inbox import IN_TIME, write

pytestmark = pytest.mark.browser

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture
def thread(conversation, user, open_page):
    write(conversation, "Is it still available?", ago=timedelta(minutes=5), mid="mid-1")
    return open_page(conversation.get_absolute_url(), user=user)


def sent_out():
    return Message.objects.filter(direction="out").order_by("pk")


def test_a_picture_goes_out_with_the_text_after_it(thread):
    thread.get_by_text("Files, answers to tap").click()
    picture = {"name": "vase.png", "mimeType": "image/png", "buffer": PNG}
    thread.get_by_label("Pictures up to 8 MB").set_input_files(picture)
    expect(thread.locator("#chosen")).to_have_text(": vase.png")
    thread.get_by_label("Your answer to").fill("Here it is")
    thread.get_by_role("button", name="Send", exact=True).click()
    expect(thread.locator(".out")).to_have_count(2)
    expect(thread.locator(".out img")).to_be_visible()
    picture, text = sent_out()
    assert picture.attachments.get().kind == "image"
    assert (picture.text, text.text) == ("", "Here it is")


def test_a_file_that_instagram_would_refuse_is_refused_and_the_text_stays(thread):
    thread.get_by_text("Files, answers to tap").click()
    note = {"name": "prices.docx", "mimeType": "application/msword", "buffer": b"PK\3\4 words"}
    thread.get_by_label("Pictures up to 8 MB").set_input_files(note)
    thread.get_by_label("Your answer to").fill("Our prices")
    thread.get_by_role("button", name="Send", exact=True).click()
    expect(thread.locator("#problem")).to_contain_text("does not take prices.docx")
    expect(thread.get_by_label("Your answer to")).to_have_value("Our prices")
    assert not sent_out().exists()


def test_answers_to_tap_are_shown_below_the_text(thread):
    thread.get_by_text("Files, answers to tap").click()
    thread.get_by_label("Answers that the customer can tap").fill("Red\nBlue")
    thread.get_by_label("Your answer to").fill("Which colour?")
    thread.get_by_role("button", name="Send", exact=True).click()
    expect(thread.get_by_role("list", name="Offered to tap")).to_have_text("RedBlue")
    titles = [choice["title"] for choice in sent_out().get().quick_replies]
    assert titles == ["Red", "Blue"]


def test_a_reaction_is_asked_for_with_the_keyboard_alone(thread):
    thread.locator(".react summary").focus()
    thread.keyboard.press("Enter")
    thread.keyboard.press("Tab")
    with thread.expect_navigation():
        thread.keyboard.press("Enter")
    assert SenderAction.objects.get(kind="reaction").emoji == "❤️"


def test_the_customer_sees_that_somebody_types(thread):
    with thread.expect_response("**/typing"):
        thread.get_by_label("Your answer to").press_sequentially("We")
    assert SenderAction.objects.filter(kind="typing_on").count() == 1


def test_after_a_day_a_person_may_still_answer_and_is_told_so(open_page, conversation, user):
    written_at = timezone.now() - timedelta(days=2)
    Conversation.objects.update(last_inbound_at=written_at)
    page = open_page(conversation.get_absolute_url(), user=user)
    expect(page.get_by_text("marked as written by a person")).to_be_visible()
    page.get_by_label("Your answer to").fill("Sorry for the delay")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".out .bubble")).to_have_text("Sorry for the delay", timeout=IN_TIME)
    assert sent_out().get().tag == "HUMAN_AGENT"


def test_what_failed_can_be_written_again(thread, conversation):
    write(conversation, "Yes", direction="out", status="failed", is_from_here=True)
    thread.reload()
    thread.get_by_role("link", name="Write it again").click()
    expect(thread.get_by_label("Your answer to")).to_have_value("Yes")
