"""The inbox while it is open: news come in by themselves, and answers go out."""

import re
import time
from datetime import timedelta
from functools import wraps

import pytest
from django.contrib.sessions.models import Session
from django.db import OperationalError, transaction
from django.utils import timezone
from playwright.sync_api import expect

from messaging import automation
from messaging.models import Attachment, Conversation, Message, Rule

pytestmark = [pytest.mark.browser, pytest.mark.waits_for_rows]

IN_TIME = 3000  # ms: the page asks every two seconds


def patiently(work):
    """Try again while the site writes: in memory one writer does not wait for another."""

    @wraps(work)
    def work_when_free(*args, **kwargs):
        for _ in range(100):
            try:
                return work(*args, **kwargs)
            except OperationalError:
                time.sleep(0.05)
        raise AssertionError("the site writes all the time")

    return work_when_free


@patiently
def write(conversation, text, *, direction="in", status="received", ago=timedelta(), **fields):
    """A message as the worker writes it."""
    moment = timezone.now() - ago
    with transaction.atomic():
        message = Message.objects.create(
            account=conversation.account,
            conversation=conversation,
            direction=direction,
            status=status,
            text=text,
            timestamp=moment,
            change=conversation.next_change(),
            due_at=None,
            **fields,
        )
        times = {"last_message_at": moment}
        if direction == "in":
            times["last_inbound_at"] = moment
        Conversation.objects.filter(pk=conversation.pk).update(**times)
    return message


@patiently
def settle(message, **changes):
    with transaction.atomic():
        change = message.conversation.next_change()
        Message.objects.filter(pk=message.pk).update(change=change, **changes)


@pytest.fixture
def thread(conversation, user, open_page):
    """The conversation, open in a tab."""
    write(conversation, "Is it still available?", ago=timedelta(minutes=5))
    return open_page(conversation.get_absolute_url(), user=user)


def bubbles(page):
    return page.locator(".bubble").all_inner_texts()


def test_a_wrong_password_is_told_and_the_right_one_opens_the_inbox(open_page, user):
    page = open_page("/login")
    page.get_by_label("User name").fill("mara")
    page.get_by_label("Password").fill("guess")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    page.get_by_label("Password").fill("correct horse 41")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Inbox")


def test_a_new_conversation_appears_in_the_open_inbox(open_page, user, conversation):
    page = open_page(user=user)
    write(conversation, "Do you ship to Austria?")
    line = page.locator(f"#conversation-{conversation.pk}")
    expect(line).to_contain_text("Do you ship to Austria?", timeout=IN_TIME)
    expect(page.locator("#unread")).to_have_text("1 new")
    expect(page).to_have_title(re.compile(r"^\(1\) Inbox"))


def test_a_new_message_appears_in_the_open_thread(thread, conversation):
    write(conversation, "And how long does shipping take?")
    expect(thread.locator(".bubble")).to_have_count(2, timeout=IN_TIME)
    assert bubbles(thread)[-1] == "And how long does shipping take?"
    expect(thread.locator("#announcer")).to_contain_text("how long does shipping")
    expect(thread.locator("#unread")).to_have_text("")


def test_a_message_that_arrives_late_takes_its_place(thread, conversation):
    write(conversation, "Hello!", ago=timedelta(minutes=9))
    expect(thread.locator(".bubble")).to_have_count(2, timeout=IN_TIME)
    assert bubbles(thread) == ["Hello!", "Is it still available?"]


def test_a_state_is_swapped_in_place_and_typing_goes_on(open_page, user, conversation):
    write(conversation, "Is it?", ago=timedelta(minutes=5))
    answer = write(conversation, "Yes!", direction="out", status="queued", is_from_here=True)
    page = open_page(conversation.get_absolute_url(), user=user)
    state = page.locator(f"#message-{answer.public_id} .state")
    expect(state).to_have_text("Waiting")
    page.get_by_label("Your answer").fill("half a sen")
    settle(answer, status="failed", error="This person cannot be written to.")
    expect(state).to_have_text("Not sent: This person cannot be written to.", timeout=IN_TIME)
    page.get_by_label("Your answer").press_sequentially("tence")
    expect(page.get_by_label("Your answer")).to_have_value("half a sentence")
    assert bubbles(page) == ["Is it?", "Yes!"]


def test_whoever_reads_further_up_is_not_pulled_down(open_page, user, conversation):
    for number in range(40):
        write(conversation, f"Message {number}", ago=timedelta(minutes=60 - number))
    page = open_page(conversation.get_absolute_url(), user=user)
    scroller = page.locator("#scroller")
    place = page.locator(".message").nth(10)
    place.evaluate("element => element.scrollIntoView()")
    before = place.bounding_box()["y"]
    write(conversation, "The newest")
    expect(page.locator(".bubble")).to_have_count(41, timeout=IN_TIME)
    assert place.bounding_box()["y"] == pytest.approx(before, abs=2)
    scroller.evaluate("element => element.scrollTop = 0")
    write(conversation, "Newer still")
    expect(page.get_by_text("Newer still").last).to_be_in_viewport(timeout=IN_TIME)


def test_a_page_of_earlier_messages_takes_no_new_ones(open_page, user, conversation):
    written = [write(conversation, f"{n}", ago=timedelta(minutes=90 - n)) for n in range(60)]
    page = open_page(f"{conversation.get_absolute_url()}?before={written[20].pk}", user=user)
    assert bubbles(page) == [f"{n}" for n in range(20)]
    write(conversation, "new")
    expect(page.locator(f"#conversation-{conversation.pk}")).to_contain_text("new", timeout=IN_TIME)
    assert "new" not in bubbles(page)
    page.get_by_role("link", name="latest messages").click()
    assert bubbles(page)[-1] == "new"
    assert len(bubbles(page)) == 50


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no script"])
def test_an_answer_is_queued(open_page, user, conversation, has_script):
    page = open_page(conversation.get_absolute_url(), user=user, java_script_enabled=has_script)
    page.get_by_label("Your answer").fill("Yes, until Sunday.")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".message.out .bubble")).to_have_text("Yes, until Sunday.")
    expect(page.locator(".message.out .state")).to_have_text("Waiting")
    expect(page.get_by_label("Your answer")).to_have_value("")
    message = Message.objects.get()
    assert (message.status, message.text, message.written_by) == (
        "queued",
        "Yes, until Sunday.",
        user,
    )


def test_the_keyboard_alone_reaches_the_composer_and_sends(thread):
    for _ in range(30):
        thread.keyboard.press("Tab")
        if thread.evaluate("document.activeElement.id") == "id_text":
            break
    thread.keyboard.type("First line")
    thread.keyboard.press("Shift+Enter")
    thread.keyboard.type("second line")
    assert not Message.objects.filter(direction="out").exists()
    thread.keyboard.press("Enter")
    expect(thread.locator(".message.out")).to_have_count(1)
    assert Message.objects.get(direction="out").text == "First line\nsecond line"
    expect(thread.get_by_label("Your answer")).to_be_focused()


def test_two_clicks_send_once(thread):
    thread.get_by_label("Your answer").fill("Once only")
    thread.get_by_role("button", name="Send").dblclick()
    expect(thread.locator(".message.out")).to_have_count(1)
    assert Message.objects.filter(direction="out").count() == 1


def test_the_count_is_of_bytes_and_what_is_too_long_comes_back_with_its_text(thread):
    text = "é" * 501
    thread.get_by_label("Your answer").fill(text)
    expect(thread.locator("#count")).to_have_text("1002 of 1000 bytes")
    thread.get_by_role("button", name="Send").click()
    expect(thread.locator("#problem")).to_contain_text("at most 1000 bytes")
    expect(thread.get_by_label("Your answer")).to_have_value(text)
    assert not Message.objects.filter(direction="out").exists()


def test_a_closed_window_opens_by_itself_when_the_customer_writes(open_page, user, conversation):
    Conversation.objects.update(last_inbound_at=timezone.now() - timedelta(days=8))
    page = open_page(conversation.get_absolute_url(), user=user)
    expect(page.get_by_label("Your answer")).to_be_disabled()
    expect(page.locator("#window")).to_contain_text("once the customer has written")
    write(conversation, "Still there?")
    expect(page.get_by_label("Your answer")).to_be_enabled(timeout=IN_TIME)


def test_until_when_an_answer_goes_out_follows_what_the_customer_writes(
    open_page, user, conversation
):
    write(conversation, "Do you ship?", ago=timedelta(hours=30))
    page = open_page(conversation.get_absolute_url(), user=user)
    expect(page.locator("#window")).to_contain_text("The 24 hours for any answer are over")
    write(conversation, "Still there?")
    expect(page.locator("#window")).to_contain_text("You can answer until", timeout=IN_TIME)


def test_that_automatic_replies_were_paused_shows_in_every_open_tab(open_page, user, conversation):
    Rule.objects.create(account=conversation.account, name="Hello", kind="any", text="Welcome!")
    write(conversation, "Hello?")
    page = open_page(conversation.get_absolute_url(), user=user)
    expect(page.locator("#automation")).to_contain_text("Automatic replies are on")
    automation.switch(conversation, Conversation.Automation.PAUSED)
    expect(page.locator("#automation")).to_contain_text("paused here", timeout=IN_TIME)


@pytest.mark.parametrize(("button", "status"), [("It arrived", "sent"), ("It did not", "failed")])
def test_a_person_settles_what_instagram_did_not_confirm(
    open_page, user, conversation, button, status
):
    answer = write(conversation, "Yes!", direction="out", status="unconfirmed", is_from_here=True)
    page = open_page(conversation.get_absolute_url(), user=user, java_script_enabled=False)
    page.get_by_role("button", name=button).click()
    expect(page.locator(".settle")).to_have_count(0)
    answer.refresh_from_db()
    assert answer.status == status


def test_what_cannot_be_shown_says_what_it_is(open_page, user, conversation):
    message = write(conversation, "")
    kinds = [("image", "pending"), ("audio", "unavailable"), ("share", "not_kept")]
    for position, (kind, state) in enumerate(kinds):
        Attachment.objects.create(message=message, position=position, kind=kind, state=state)
    page = open_page(conversation.get_absolute_url(), user=user)
    said = [" ".join(text.split()) for text in page.locator(".placeholder").all_inner_texts()]
    assert said == [
        "Picture is being fetched…",
        "Voice message could not be fetched. Look in the Instagram app.",
        "Shared post is not kept here. Look in the Instagram app.",
    ]


def test_a_login_that_ended_is_told_and_what_was_typed_is_still_there(thread, user):
    thread.get_by_label("Your answer").fill("Not yet sent")
    patiently(Session.objects.all().delete)()
    expect(thread.locator("#logged-out")).to_be_visible(timeout=IN_TIME)
    thread.get_by_role("link", name="Log in again").click()
    thread.get_by_label("User name").fill("mara")
    thread.get_by_label("Password").fill("correct horse 41")
    thread.get_by_role("button", name="Log in").click()
    expect(thread.get_by_label("Your answer")).to_have_value("Not yet sent")


def test_a_lost_connection_is_told_and_mends_itself(thread, conversation):
    thread.route("**/updates?*", lambda route: route.abort())
    expect(thread.locator("#offline")).to_contain_text("Trying again", timeout=IN_TIME)
    thread.unroute("**/updates?*")
    write(conversation, "Are you there?")
    expect(thread.get_by_text("Are you there?").first).to_be_visible(timeout=3 * IN_TIME)
    expect(thread.locator("#offline")).to_be_empty()
