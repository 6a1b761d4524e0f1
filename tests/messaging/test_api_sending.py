"""`POST messages/send`: what it takes, what it refuses, and that a retry sends nothing twice."""

import json
import threading
import time
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import api_keys
from accounts.models import Account, IdempotentRequest, Scope
from messaging import media, outbox, uploads
from messaging.models import Attachment, Conversation, FileToDelete, Message
from tests.accounts.test_api import V1, assert_problem, bearer
from tests.conftest import work

from .test_media import PNG

pytestmark = pytest.mark.django_db(transaction=True)

SEND = "/messages/send"


@pytest.fixture
def wanted(open_conversation):
    return {
        "account_id": open_conversation.account_id,
        "recipient_id": open_conversation.igsid,
        "message": "Yes, it is",
    }


@pytest.fixture
def send_form(client, key):
    def send(fields, **headers):
        return client.post(V1 + SEND, fields, headers=bearer(key) | headers)

    return send


def picture(name="cup.png", data=PNG):
    return SimpleUploadedFile(name, data, "image/png")


def stored_files():
    if not default_storage.exists("attachments"):
        return set()
    return set(default_storage.listdir("attachments")[1])


def test_a_text_is_pending_at_once_and_sent_soon(ask, instagram, wanted, user):
    answer = ask("post", SEND, wanted)
    assert answer.status_code == 202
    told = answer.json()
    assert (told["status"], told["account_status"]) == ("pending", "connected")
    assert told["message_ids"] == [told["message_id"]]
    assert answer.headers["Location"] == f"{V1}/messages/{told['message_id']}"
    work()
    assert instagram.sent_by_api() == ["Yes, it is"]
    shown = ask("get", f"/messages/{told['message_id']}").json()
    assert (shown["status"], shown["written_by"]) == ("sent", user.username)


def test_a_form_means_the_same_as_json(send_form, instagram, wanted):
    choices = json.dumps([{"title": "Blue"}])
    answer = send_form(wanted | {"metadata": "dropped", "quick_replies": choices})
    assert answer.status_code == 202
    work()
    assert instagram.sent_by_api() == ["Yes, it is"]
    assert Message.objects.get().quick_replies == [{"title": "Blue", "payload": "Blue"}]


def test_text_and_file_are_two_messages_the_file_first(send_form, instagram, wanted, ask):
    told = send_form(wanted | {"file": picture()}).json()
    first, second = (Message.objects.get(public_id=one) for one in told["message_ids"])
    assert told["message_id"] == first.public_id
    assert (first.text, second.text) == ("", "Yes, it is")
    [file] = first.attachments.all()
    assert first.pk < second.pk
    shown = ask("get", f"/messages/{first.public_id}").json()["attachments"][0]
    assert shown["url"].endswith(f"/api/v1/attachments/{file.public_id}")
    downloaded = ask("get", f"/attachments/{file.public_id}")
    assert b"".join(downloaded.streaming_content) == PNG


def test_files_alone_under_either_name(send_form, wanted):
    del wanted["message"]
    for name in ("file", "attachment"):
        answer = send_form(wanted | {name: [picture("a.png"), picture("b.png")]})
        assert len(answer.json()["message_ids"]) == 1
    assert Attachment.objects.count() == 4


def test_what_a_person_wrote_may_go_out_for_seven_days(ask, wanted):
    Conversation.objects.update(last_inbound_at=timezone.now() - timedelta(days=3))
    problem = assert_problem(ask("post", SEND, wanted), 409)
    assert problem["type"].endswith(":window-closed")
    answer = ask("post", SEND, wanted | {"human_agent": True})
    assert ask("get", f"/messages/{answer.json()['message_id']}").json()["human_agent"]


def test_an_account_that_cannot_send_says_so_at_once(ask, wanted):
    Account.objects.update(token_expires_at=timezone.now() - timedelta(days=1))
    told = ask("post", SEND, wanted).json()
    assert (told["status"], told["account_status"]) == ("pending", "expired")


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "status", "kind"),
        [
            ({"message": "x" * 1001}, 422, "text-too-long"),
            ({"message": "é" * 501}, 422, "text-too-long"),
            ({"message": " "}, 422, "invalid-input"),
            ({"message": None}, 422, "invalid-input"),
            ({"recipient_id": "999"}, 409, "customer-has-not-written"),
            ({"recipient_id": 999}, 422, "invalid-input"),
            ({"account_id": "acc_of_others"}, 404, "not-found"),
            ({"quick_replies": [{"title": " "}]}, 422, "quick-replies-not-taken"),
            ({"quick_replies": [{"title": "x" * 21}]}, 422, "invalid-input"),
            ({"quick_replies": [{"title": "x"}] * 14}, 422, "invalid-input"),
            ({"attachment": {"url": "https://shop.example/a.png"}}, 422, "invalid-input"),
            ({"human_agnet": True}, 422, "invalid-input"),
        ],
    )
    def test_each_has_its_type_and_stores_nothing(self, ask, wanted, change, status, kind):
        problem = assert_problem(ask("post", SEND, wanted | change), status)
        assert problem["type"] == f"urn:instamsg:problem:{kind}"
        assert not Message.objects.exists()

    def test_one_for_each_reason_of_the_outbox(self):
        from messaging.api import KINDS

        assert set(KINDS) == set(outbox.Reason)

    def test_a_disconnected_account(self, ask, wanted):
        Account.objects.update(access_token=None)
        problem = assert_problem(ask("post", SEND, wanted), 409)
        assert problem["type"].endswith(":account-disconnected")

    def test_a_customer_who_only_reacted(self, ask, wanted):
        Conversation.objects.update(last_inbound_at=None)
        problem = assert_problem(ask("post", SEND, wanted), 409)
        assert problem["type"].endswith(":customer-has-not-written")

    @pytest.mark.parametrize("data", [b"", b"<svg/>", b"MZ" * 99])
    def test_a_file_that_instagram_does_not_take(self, send_form, wanted, data):
        # The test client, like a browser, says nothing of an empty file's size.
        file = SimpleUploadedFile("cup.png", data, "image/png")
        problem = assert_problem(send_form(wanted | {"file": file}), 422)
        assert problem["type"].endswith(":file-not-taken")
        assert not Message.objects.exists()

    def test_a_file_whose_text_is_refused_is_not_kept(self, send_form, wanted):
        before = stored_files()
        assert_problem(send_form(wanted | {"message": "x" * 1001, "file": picture()}), 422)
        assert not Message.objects.exists()
        media.delete_files.run()
        assert stored_files() == before

    def test_a_body_larger_than_any_message(self, send_form, wanted, monkeypatch):
        monkeypatch.setattr(uploads, "LARGEST_REQUEST", 50_000)
        file = SimpleUploadedFile("cup.png", b"x" * 100_000)
        assert_problem(send_form(wanted | {"file": file}), 413)

    def test_quick_replies_without_a_text(self, send_form, wanted):
        wanted |= {"message": "", "quick_replies": '[{"title": "Blue"}]', "file": picture()}
        assert_problem(send_form(wanted), 422)
        assert_problem(send_form(wanted | {"quick_replies": "{"}), 422)

    def test_a_key_that_only_reads(self, client, user, wanted):
        _, secret = api_keys.make(user, "Reads", scopes=[Scope.READ])
        response = client.post(V1 + SEND, wanted, headers=bearer(secret))
        assert assert_problem(response, 403)["scope"] == "send"


class TestRetries:
    """The same Idempotency-Key never makes two messages."""

    def send(self, ask, wanted, key="order-17"):
        return ask("post", SEND, wanted, **{"Idempotency-Key": key})

    def test_the_answer_is_that_of_the_first_time(self, ask, wanted):
        first, again = self.send(ask, wanted), self.send(ask, wanted)
        assert (first.status_code, first.json()) == (again.status_code, again.json())
        assert again.headers["Location"] == first.headers["Location"]
        assert Message.objects.count() == 1
        self.send(ask, wanted, "order-18")
        assert Message.objects.count() == 2

    def test_another_body_is_refused(self, ask, wanted):
        self.send(ask, wanted)
        problem = assert_problem(self.send(ask, wanted | {"message": "No"}), 422)
        assert problem["type"].endswith(":idempotency-key-reused")
        assert Message.objects.count() == 1

    def test_a_refusal_is_not_kept(self, ask, wanted):
        Conversation.objects.update(last_inbound_at=timezone.now() - timedelta(days=2))
        assert_problem(self.send(ask, wanted), 409)
        Conversation.objects.update(last_inbound_at=timezone.now())
        assert self.send(ask, wanted).status_code == 202

    def test_the_answer_comes_after_the_window_has_closed_too(self, ask, wanted):
        first = self.send(ask, wanted)
        Conversation.objects.update(last_inbound_at=timezone.now() - timedelta(days=2))
        assert self.send(ask, wanted).json() == first.json()

    def test_no_text_is_kept_with_the_answer(self, ask, wanted):
        self.send(ask, wanted)
        row = IdempotentRequest.objects.get()
        assert wanted["message"] not in f"{row.body} {row.headers} {row.fingerprint}"

    def test_a_file_that_is_sent_again_is_kept_once(self, send_form, wanted):
        before = stored_files()
        told = [
            send_form(wanted | {"file": picture()}, **{"Idempotency-Key": "order-17"}).json()
            for _ in range(2)
        ]
        assert told[0] == told[1]
        media.delete_files.run()
        assert len(stored_files() - before) == 1
        assert not FileToDelete.objects.exists()

    def test_of_many_at_once_one_makes_the_message(self, wanted, key):
        """Each repeats itself until it has an answer, as clients do."""
        answers, barrier = [], threading.Barrier(6)
        end = time.monotonic() + 60

        def send():
            barrier.wait()
            try:
                while time.monotonic() < end:
                    answer = Client().post(
                        V1 + SEND, json.dumps(wanted), content_type="application/json",
                        headers=bearer(key) | {"Idempotency-Key": "order-17"},
                    )  # fmt: skip
                    if answer.status_code not in (409, 503):
                        answers.append((answer.status_code, answer.json()["message_id"]))
                        return
                    time.sleep(0.02)
            finally:
                connection.close()

        threads = [threading.Thread(target=send) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [(202, Message.objects.get().public_id)] * 6
