"""What is checked before an answer is written down, and what a refusal leaves behind: nothing."""

import tracemalloc
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.utils import timezone

from accounts.models import Account
from messaging import media, outbox
from messaging.models import Attachment, Conversation, FileToDelete, Message
from messaging.uploads import MB
from tests.conftest import work

from . import files
from .files import upload

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def media_root(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def refuses(conversation, media_root):
    """Expects a refusal that says so, and that nothing is stored."""

    def refuses(why, text="", sent=(), **how):
        before = conversation.change
        call = partial(outbox.queue_files, files=sent) if sent else outbox.queue_reply
        with pytest.raises(outbox.ReplyRefused, match=why):
            call(conversation, text=text, **how)
        conversation.refresh_from_db()
        media.delete_files.run()
        assert not Message.objects.exists()
        assert not Attachment.objects.exists()
        assert not FileToDelete.objects.exists()
        assert not [path for path in media_root.rglob("*") if path.is_file()]
        assert conversation.change == before

    return refuses


def ago(conversation, **time):
    conversation.last_inbound_at = timezone.now() - timedelta(**time)
    conversation.save()


class TestText:
    def test_nothing_written(self, refuses):
        refuses("Write something first", " \n ")

    def test_too_many_bytes_says_how_many(self, refuses):
        refuses("at most 1000 bytes; this text has 1002", "é" * 501)

    @pytest.mark.parametrize("character", ["\0", "\ud83d"])
    def test_what_cannot_be_stored(self, refuses, character):
        refuses("cannot be sent", f"a{character}b")


class TestQuickReplies:
    @pytest.mark.parametrize(
        ("choices", "why"),
        [
            ([{"title": "x"}] * 14, "at most 13"),
            ([{"title": "  "}], "needs a title"),
            ([{"payload": "RED"}], "needs a title"),
            ([{"title": "a\0"}], "needs a title"),
            ([{"title": "x" * 21}], "after 20 characters"),
            ([{"title": "x", "payload": "y" * 1001}], "at most 1000 characters"),
        ],
    )
    def test_each_limit_is_told(self, refuses, choices, why):
        refuses(why, "Which one?", quick_replies=choices)

    def test_below_files_alone(self, refuses):
        refuses("below a text", sent=[upload()], quick_replies=[{"title": "Red"}])

    def test_13_go_out_and_an_empty_payload_is_the_title(self, instagram, open_conversation):
        choices = [{"title": f"Colour {n}"} for n in range(12)] + [
            {"title": "x" * 20, "payload": "X"}
        ]
        message = outbox.queue_reply(open_conversation, "Which one?", quick_replies=choices)
        assert message.quick_replies[0] == {"title": "Colour 0", "payload": "Colour 0"}
        work()
        message.refresh_from_db()
        assert message.status == Message.Status.SENT


class TestWindow:
    def test_a_machine_has_24_hours(self, conversation, refuses):
        ago(conversation, hours=24, seconds=1)
        refuses("The 24-hour window is closed", "Yes")
        refuses("The 24-hour window is closed", "Yes", [upload()])

    def test_a_person_has_7_days(self, conversation, refuses):
        ago(conversation, days=7, seconds=1)
        refuses("more than 7 days ago", "Yes", is_by_person=True)

    @pytest.mark.parametrize(
        ("time", "tag"),
        [
            ({"hours": 23}, ""),
            ({"hours": 25}, "HUMAN_AGENT"),
            ({"days": 6, "hours": 23}, "HUMAN_AGENT"),
        ],
    )
    def test_the_tag_goes_out_only_when_it_is_needed(self, conversation, time, tag):
        ago(conversation, **time)
        message = outbox.queue_reply(conversation, "Yes", is_by_person=True)
        assert message.tag == tag
        for message in outbox.queue_files(conversation, [upload()], "Yes", is_by_person=True):
            assert message.tag == tag

    def test_within_24_hours_no_tag_for_whoever(self, conversation):
        assert outbox.queue_reply(conversation, "Yes", is_by_person=False).tag == ""

    def test_a_person_answers_after_24_hours_and_instagram_takes_it(
        self, instagram, open_conversation
    ):
        instagram.control("clock", advance=25 * 3600)
        ago(open_conversation, hours=25)
        message = outbox.queue_reply(open_conversation, "Sorry, we were closed", is_by_person=True)
        work()
        message.refresh_from_db()
        assert message.status == Message.Status.SENT

    def test_without_the_feature_it_fails_and_says_so(self, instagram, open_conversation):
        instagram.control("settings", human_agent="unapproved")
        ago(open_conversation, hours=25)
        message = outbox.queue_reply(open_conversation, "Yes", is_by_person=True)
        work()
        message.refresh_from_db()
        assert message.status == Message.Status.FAILED
        assert "Human Agent" in message.error
        open_conversation.account.refresh_from_db()
        assert open_conversation.account.status == Account.Status.CONNECTED

    def test_nobody_writes_first(self, conversation, refuses):
        conversation.last_inbound_at = None
        refuses("once the customer has written", "Hello", is_by_person=True)


class TestAccount:
    def test_disconnected(self, conversation, refuses):
        Account.objects.update(access_token=None, token_expires_at=None)
        conversation.account.refresh_from_db()
        refuses("@luna.ceramics is disconnected. Connect it again", "Yes")

    @pytest.mark.parametrize("problem", [Account.Problem.HELD, Account.Problem.REVOKED])
    def test_whatever_may_be_mended_keeps_a_queue(self, conversation, problem):
        conversation.account.note_problem(problem, "Why.")
        assert outbox.queue_reply(conversation, "Yes").status == Message.Status.QUEUED


class TestFiles:
    @pytest.mark.parametrize(
        ("data", "kind", "content_type"),
        [
            (files.PNG, "image", "image/png"), (files.JPEG, "image", "image/jpeg"),
            (files.GIF, "image", "image/gif"), (files.MP4, "video", "video/mp4"),
            (files.MOV, "video", "video/quicktime"), (files.WEBM, "video", "video/webm"),
            (files.AVI, "video", "video/x-msvideo"), (files.OGV, "video", "video/ogg"),
            (files.M4A, "audio", "audio/mp4"), (files.AAC, "audio", "audio/aac"),
            (files.WAV, "audio", "audio/wav"), (files.PDF, "file", "application/pdf"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )  # fmt: skip
    def test_what_it_is_its_bytes_say_and_not_its_name(
        self, conversation, data, kind, content_type
    ):
        (message,) = outbox.queue_files(conversation, [upload(data, "notes.txt", "text/plain")])
        one = message.attachments.get()
        assert (one.kind, one.content_type, one.state) == (kind, content_type, "stored")
        assert Path(one.file.path).read_bytes() == data
        assert "notes" not in one.file.name
        assert message.text == ""

    @pytest.mark.parametrize("name", ["WEBP", "HEIC", "MP3", "SVG", "EXE"])
    def test_what_instagram_does_not_take(self, refuses, name):
        sent = [upload(getattr(files, name), "cup.png")]
        refuses("Instagram does not take cup.png. It takes pictures", sent=sent)

    def test_an_empty_one(self, refuses):
        refuses("cup.png is empty", sent=[upload(b"")])

    @pytest.mark.parametrize(
        ("data", "limit"), [(files.PNG, 8), (files.MP4, 25), (files.M4A, 25), (files.PDF, 25)]
    )
    def test_a_byte_too_much(self, refuses, data, limit):
        refuses(f"{limit} MB", sent=[upload(data + bytes(limit * MB - len(data) + 1))])

    @pytest.mark.parametrize(("data", "limit"), [(files.PNG, 8), (files.PDF, 25)])
    def test_up_to_the_last_byte(self, conversation, data, limit):
        assert outbox.queue_files(conversation, [upload(data + bytes(limit * MB - len(data)))])

    def test_one_bad_file_refuses_all_and_the_text(self, refuses):
        refuses("does not take b.exe", "Look", [upload(), upload(files.EXE, "b.exe")])

    def test_a_text_that_is_too_long_refuses_the_files_too(self, refuses):
        refuses("1000 bytes", "x" * 1001, [upload()])

    def test_pictures_go_together_and_others_by_themselves_in_their_order(self, conversation):
        sent = [files.PNG, files.JPEG, files.PDF, files.PDF, files.GIF]
        messages = outbox.queue_files(conversation, [upload(data) for data in sent], "Look")
        kinds = [[one.kind for one in message.attachments.all()] for message in messages]
        assert kinds == [["image", "image"], ["file"], ["file"], ["image"], []]
        assert [message.text for message in messages] == ["", "", "", "", "Look"]

    def test_at_most_10_at_once_and_more_are_not_even_read(self, conversation, refuses):
        sent = [upload() for _ in range(11)]
        refuses("At most 10 files", "", sent)
        assert not any(file.tell() for file in sent)
        (message,) = outbox.queue_files(conversation, sent[:10])
        assert message.attachments.count() == 10

    def test_instagram_gets_what_was_meant_in_order(self, instagram, open_conversation):
        instagram.control("settings", fetch_media="off")
        sent = [upload(), upload(), upload(files.PDF)]
        outbox.queue_files(open_conversation, sent, "Look", quick_replies=[{"title": "Nice"}])
        work()
        rows = instagram.control("sent", method="GET")["sent"]
        assert [(row["attachments"], row["text"]) for row in rows] == [
            (["image", "image"], None), (["file"], None), ([], "Look"),
        ]  # fmt: skip
        assert set(Message.objects.values_list("status", flat=True)) == {"sent"}

    def test_no_file_is_left_behind_when_it_cannot_be_written_down(
        self, conversation, media_root, monkeypatch
    ):
        def fails(*args):
            raise RuntimeError

        monkeypatch.setattr(media, "adopt", fails)
        with pytest.raises(RuntimeError):
            outbox.queue_files(conversation, [upload()])
        FileToDelete.objects.update(due_at=timezone.now())
        media.delete_files.run()
        assert not [path for path in media_root.rglob("*") if path.is_file()]


class TestOneFormTwice:
    def test_the_second_click_gives_the_messages_of_the_first(self, conversation, media_root):
        submission = uuid4()

        def click():
            sent = [upload(), upload(files.PDF)]
            return outbox.queue_files(conversation, sent, "Look", submission=submission)

        first, second = click(), click()
        assert second == first
        assert len(first) == 3
        assert Message.objects.count() == 3
        FileToDelete.objects.update(due_at=timezone.now())
        media.delete_files.run()
        assert len([path for path in media_root.rglob("*") if path.is_file()]) == 2

    def test_other_files_from_a_form_that_came_back_are_other_messages(self, conversation):
        submission = uuid4()
        outbox.queue_files(conversation, [upload()], submission=submission)
        outbox.queue_files(conversation, [upload(files.PDF)], submission=submission)
        assert list(Attachment.objects.values_list("kind", flat=True)) == ["image", "file"]

    def test_a_text_with_files_is_not_that_without(self, conversation):
        submission = uuid4()
        outbox.queue_reply(conversation, "Look", submission=submission)
        outbox.queue_files(conversation, [upload()], "Look", submission=submission)
        assert Attachment.objects.count() == 1

    def test_in_another_conversation_it_is_another_form(self, conversation):
        submission = uuid4()
        other = type(conversation).objects.create(
            account=conversation.account, igsid="7", last_inbound_at=timezone.now()
        )
        for one in (conversation, other):
            outbox.queue_reply(one, "Yes", submission=submission)
        assert Message.objects.count() == 2


def test_an_answer_moves_no_conversation_back_when_our_clock_is_slow(open_conversation):
    ahead = timezone.now() + timedelta(minutes=3)  # By Instagram's clock.
    Conversation.objects.update(last_message_at=ahead, last_inbound_at=ahead)
    outbox.queue_reply(open_conversation, "Yes")
    assert Conversation.objects.get().last_message_at == ahead


def test_who_has_read_less_makes_nothing_unread_again(open_conversation):
    Conversation.objects.update(change=5, last_inbound_change=5, read_change=0)
    one, other = Conversation.objects.get(), Conversation.objects.get()
    one.mark_read()
    other.mark_read(up_to=3)
    assert not Conversation.objects.get().is_unread


def test_a_file_that_is_gone_before_its_message_is_written_is_refused(open_conversation):
    with outbox.keep([upload(files.PNG)]) as kept:
        FileToDelete.objects.update(due_at=timezone.now())  # It took longer than marks last.
        media.delete_files.run()
        with pytest.raises(outbox.ReplyRefused, match="Send it once more"):
            outbox.queue_kept(open_conversation, kept)
    assert not Message.objects.exists()


def test_files_that_lie_on_disk_are_not_read_into_memory(open_conversation):
    def large(n):
        file = TemporaryUploadedFile(f"{n}.png", "image/png", 0, None)
        file.write(files.PNG + bytes(4 * MB))
        file.size = file.tell()
        return file

    uploads = [large(n) for n in range(5)]
    tracemalloc.start()
    with outbox.keep(uploads):
        _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for file in uploads:
        file.close()
    assert most < 4 * MB


def test_what_is_written_into_one_answer_is_in_no_other(conversation):
    one, other = (outbox.queue_reply(conversation, text) for text in ("One", "Other"))
    one.context["story"] = one.reactions["1784"] = {"emoji": "❤️"}
    assert (other.context, other.reactions) == ({}, {})
    one.save()
    later = outbox.queue_reply(conversation, "Later")
    later.refresh_from_db()
    assert (later.context, later.reactions) == ({}, {})
