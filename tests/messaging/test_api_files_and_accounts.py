"""Files of the API, and what it does to whole accounts."""

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.models import Account, DeletionRequest, Role
from messaging.models import Attachment, HistorySync, Message
from tests.accounts.test_api import assert_problem
from tests.conftest import work

from .test_media import PNG

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def message(conversation):
    return Message.objects.create(
        account=conversation.account, conversation=conversation, direction="in",
        status="received", mid="mid.1", timestamp=timezone.now(), due_at=None,
    )  # fmt: skip


@pytest.fixture
def attachment(message):
    one = Attachment(
        message=message, kind="image", state="stored", content_type="image/png", due_at=None
    )
    one.file.save("cup.png", ContentFile(PNG))
    return one


class TestFiles:
    def test_a_file_is_the_bytes_themselves(self, ask, attachment):
        response = ask("get", f"/attachments/{attachment.public_id}")
        assert b"".join(response.streaming_content) == PNG
        assert response.headers["Content-Type"] == "image/png"
        assert "sandbox" in response.headers["Content-Security-Policy"]

    def test_parts_of_it_and_nothing_for_who_has_it(self, ask, attachment):
        path = f"/attachments/{attachment.public_id}"
        part = ask("get", path, Range="bytes=1-3")
        assert (part.status_code, b"".join(part.streaming_content)) == (206, b"PNG")
        beyond = ask("get", path, Range=f"bytes={len(PNG)}-")
        problem = assert_problem(beyond, 416)
        assert problem["type"].endswith(":no-such-part")
        assert beyond.headers["Content-Range"] == f"bytes */{len(PNG)}"
        known = ask("get", path, **{"If-None-Match": part.headers["ETag"]})
        assert (known.status_code, known.content) == (304, b"")

    def test_one_that_is_not_kept_is_not_there(self, ask, attachment):
        Attachment.objects.update(state="expired")
        assert_problem(ask("get", f"/attachments/{attachment.public_id}"), 404)

    def test_one_that_could_not_be_fetched_is_asked_for_again(self, ask, attachment):
        path = f"/attachments/{attachment.public_id}/again"
        problem = assert_problem(ask("post", path), 409)
        assert problem["type"].endswith(":not-to-be-fetched")
        Attachment.objects.update(state="unavailable", error=Attachment.NOT_FETCHED)
        assert ask("post", path).status_code == 202
        assert Attachment.objects.get().state == "pending"

    def test_a_customers_picture(self, ask, conversation):
        path = f"/conversations/{conversation.pk}/picture"
        assert_problem(ask("get", path), 404)
        conversation.picture_type = "image/png"
        conversation.picture.save("mila.png", ContentFile(PNG))
        assert b"".join(ask("get", path).streaming_content) == PNG
        [shown] = ask("get", "/conversations").json()["conversations"]
        assert shown["picture_url"].endswith(f"/api/v1{path}")


class TestSync:
    def test_it_is_begun_once_and_its_progress_told(self, ask, account):
        path = f"/accounts/{account.pk}/sync"
        assert_problem(ask("get", path), 404)
        first, second = (ask("post", path) for _ in range(2))
        walk = HistorySync.objects.get()
        assert first.status_code == second.status_code == 202
        told = {"job_id": walk.pk, "status": "started", "account_id": account.pk}
        assert first.json() == told
        assert second.json() == told | {"status": "already_running"}
        assert first.headers["Location"] == f"/api/v1{path}"
        shown = ask("get", path).json()
        assert (shown["job_id"], shown["state"], shown["messages_new"]) == (walk.pk, "pending", 0)

    def test_not_while_instagram_cannot_be_asked(self, ask, account):
        Account.objects.update(token_expires_at=timezone.now() - timedelta(days=1))
        problem = assert_problem(ask("post", f"/accounts/{account.pk}/sync"), 409)
        assert problem["type"].endswith(":account-not-connected")
        assert not HistorySync.objects.exists()


class TestDeletion:
    def test_all_of_it_goes_and_is_counted(self, ask, attachment, account, client):
        answer = ask("delete", f"/accounts/{account.pk}/delete-permanently")
        assert answer.status_code == 200
        told = answer.json()
        assert told["deleted_account_id"] == account.pk
        assert told["statistics"] == {
            "conversations_deleted": 1,
            "messages_deleted": 1,
            "attachments_deleted": 1,
            "inbound_files_deleted": 1,
            "outbound_files_deleted": 0,
            "members_removed": 1,
        }
        assert_problem(ask("get", f"/accounts/{account.pk}"), 404)
        assert_problem(ask("get", f"/attachments/{attachment.public_id}"), 404)
        page = told["status_url"].partition("127.0.0.1:8000")[2]
        assert client.get(page).status_code == 200
        DeletionRequest.objects.update(requested_at=timezone.now() - timedelta(minutes=1))
        work()
        assert not Account.objects.exists()
        assert not Message.objects.exists()

    def test_only_owners_may(self, ask, account):
        account.memberships.update(role=Role.MEMBER)
        path = f"/accounts/{account.pk}/delete-permanently"
        assert "owner" in assert_problem(ask("delete", path), 403)["detail"]
        assert ask("get", f"/accounts/{account.pk}").status_code == 200
