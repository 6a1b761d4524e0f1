"""An owner deletes an account for good; somebody leaves one."""

import itertools
import random
import threading
import time
from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import connecting, token_watch
from accounts import deletion as wishes
from accounts.instagram import InstagramClient
from accounts.models import Account, DeletionRequest, Invitation, Membership, Role
from messaging import deletion, inbound, media
from messaging.models import (
    Attachment,
    Conversation,
    FileToDelete,
    InboundEvent,
    Message,
    WebhookEvent,
)

from .passing_time import let_pass

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Nothing is on its way any more; what a deletion waits for has a test of its own."""
    monkeypatch.setattr(deletion, "SETTLING", timedelta())


def fill(account, *, conversations=3, messages=20, files=0) -> list[Attachment]:
    """So many conversations with so many messages each; the first `files` have a picture."""
    made = Conversation.objects.bulk_create(
        Conversation(account=account, igsid=f"11845273906{n:05}") for n in range(conversations)
    )
    written = Message.objects.bulk_create(
        Message(
            account=account, conversation=one, direction="in", status="received",
            text="Do you ship to Lyon?", timestamp=timezone.now(), due_at=None,
        )
        for one in made
        for _ in range(messages)
    )  # fmt: skip
    attachments = []
    for message in written[:files]:
        one = Attachment(message=message, kind="image", state="stored", due_at=None)
        one.file.save(f"{one.public_id}.png", ContentFile(b"\x89PNG"), save=True)
        attachments.append(one)
    return attachments


def files_are_gone(attachments: list[Attachment]) -> bool:
    media.delete_files.run()
    return not any(one.file.storage.exists(one.file.name) for one in attachments)


def wish() -> DeletionRequest:
    return DeletionRequest.objects.get()


class TestDeletePage:
    @pytest.fixture
    def owner(self, client, user):
        client.force_login(user)
        return client

    def test_it_first_shows_what_would_go(self, owner, account):
        fill(account, conversations=2, messages=600, files=1)
        page = owner.get(f"/accounts/{account.pk}/delete").content.decode()
        for count in ("<dd>2</dd>", "<dd>1,200</dd>", "<dd>1</dd>"):
            assert count in page
        assert not DeletionRequest.objects.exists()

    @pytest.mark.parametrize("typed", ["", "luna", "sol.prints", "@luna.ceramics x"])
    def test_another_name_deletes_nothing(self, owner, account, typed):
        response = owner.post(f"/accounts/{account.pk}/delete", {"username": typed})
        assert response.status_code == 422
        assert owner.get(f"/accounts/{account.pk}/").status_code == 200
        assert not DeletionRequest.objects.exists()

    def test_the_name_typed_deletes_it_and_shows_what_went(self, owner, account):
        files = fill(account, files=2)
        response = owner.post(
            f"/accounts/{account.pk}/delete", {"username": "@Luna.Ceramics"}, follow=True
        )
        assert "under way" in response.content.decode()
        assert owner.get(f"/accounts/{account.pk}/").status_code == 404
        assert "luna" not in owner.get("/").content.decode()
        deletion.delete.run()
        page = owner.get(response.redirect_chain[-1][0]).content.decode()
        for count in ("deleted</dt><dd>3<", "Messages</dt><dd>60<", "files</dt><dd>2<"):
            assert count in page
        assert "lost access</dt><dd>1<" in page
        assert not Account.objects.exists()
        assert files_are_gone(files)

    def test_members_may_not_and_strangers_find_nothing(self, client, account, stranger):
        client.force_login(stranger)
        url = f"/accounts/{account.pk}/delete"
        assert client.post(url, {"username": "luna.ceramics"}).status_code == 404
        Membership.objects.create(user=stranger, account=account, role=Role.MEMBER)
        assert client.get(url).status_code == 403
        assert client.post(url, {"username": "luna.ceramics"}).status_code == 403
        client.logout()
        assert client.post(url).status_code == 302
        assert not DeletionRequest.objects.exists()

    def test_instagram_is_asked_for_no_more_messages(self, owner, instagram, connected):
        owner.post(f"/accounts/{connected.pk}/delete", {"username": connected.username})
        calls = instagram.control("requests", method="GET")["requests"]
        assert [c["method"] for c in calls if "subscribed_apps" in c["path"]][-1] == "DELETE"


class TestWhileItIsBeingDeleted:
    def test_nobody_sees_it_nor_is_let_in(self, account, user, conversation):
        Invitation.issue(timedelta(days=1), account=account, invited_by=user)
        wishes.delete(account)
        assert not Account.objects.for_user(user).exists()
        assert not Conversation.objects.for_user(user).exists()
        assert not Invitation.objects.exists()
        # Somebody who was accepting it at this moment.
        Membership.objects.create(user=user, account=account, role=Role.OWNER)
        assert not Account.objects.for_user(user).exists()

    def test_it_takes_no_more_messages(self, account, deliver):
        wishes.delete(account)
        deliver("text")
        inbound.process.run()
        assert not Message.objects.exists()

    def test_what_waited_to_be_sent_is_not_sent(self, instagram, connected, open_conversation):
        Message.objects.create(
            account=connected, conversation=open_conversation, direction="out", status="queued",
            text="Yes, it is.", timestamp=timezone.now(), is_from_here=True,
        )  # fmt: skip
        wishes.delete(connected)
        deletion.delete.run()
        assert instagram.sent_by_api() == []

    def test_the_same_instagram_account_may_be_connected_anew(self, instagram, connected, user):
        fill(connected)
        wishes.delete(connected)
        url = connecting.begin(user, "browser")
        again = connecting.finish(user, "browser", instagram.consent(url))
        assert again.is_new
        deletion.delete.run()
        assert list(Account.objects.all()) == [again.account]
        assert again.account.access_token

    def test_a_second_click_changes_nothing(self, account):
        fill(account)
        wishes.delete(account)
        wishes.delete(account)
        deletion.delete.run()
        assert sorted(DeletionRequest.objects.values_list("messages", flat=True)) == [0, 60]


class TestTheWork:
    def test_it_goes_on_where_a_killed_worker_left_it(self, account):
        """The worker dies at a random moment, over and over."""
        seed = random.randrange(10**6)  # noqa: S311  (moments of a kill, no secret)
        print(f"seed {seed}")  # noqa: T201  (what a failing run needs)
        rng = random.Random(seed)  # noqa: S311
        files = fill(account, files=25)
        wishes.delete(account)
        deaths = 0
        while wish().state != "done":
            left = rng.randint(1, 8)

            def killed(execute, sql, params, many, context):
                nonlocal left
                left -= sql.startswith(("DELETE", "UPDATE", "SELECT"))
                if left <= 0:
                    raise KeyboardInterrupt
                return execute(sql, params, many, context)

            try:
                with connection.execute_wrapper(killed):
                    deletion._delete_some(wish())
            except KeyboardInterrupt:
                deaths += 1
                if deaths % 5 == 0:  # Or nothing would ever be finished.
                    deletion._delete_some(wish())
        assert deaths > 3
        assert (wish().messages, wish().conversations, wish().accounts_deleted) == (60, 3, 1)
        assert wish().files == 25
        assert files_are_gone(files)

    def test_what_was_forgotten_before_a_kill_is_counted(self, account, deliver):
        for number in range(45):
            deliver("text", mid=f"mid-{number}")
        inbound.process.run()
        wishes.delete(account)
        times = itertools.count(1)

        def killed(execute, sql, params, many, context):
            if sql.startswith('DELETE FROM "inbound_events"') and next(times) == 2:
                raise KeyboardInterrupt
            return execute(sql, params, many, context)

        with connection.execute_wrapper(killed), pytest.raises(KeyboardInterrupt):
            deletion.delete.run_dry()
        deletion.delete.run()
        assert (wish().state, wish().notifications) == ("done", 45)

    def test_one_that_cannot_go_on_does_not_keep_the_others(self, account, caplog):
        other = Account.objects.create(instagram_account_id="17841405309213999", username="sol")
        fill(account)
        fill(other)
        wishes.delete(account)
        stuck = wish()
        wishes.delete(other)

        def no_counting(execute, sql, params, many, context):
            if sql.startswith('UPDATE "deletion_requests"') and params[-1] == stuck.pk:
                raise OperationalError("the disk is full")
            return execute(sql, params, many, context)

        with connection.execute_wrapper(no_counting):
            deletion.delete.run()
        assert list(Account.objects.all()) == [account]
        assert Message.objects.count() == 60  # What is not counted is not deleted.
        assert f"deletion {stuck.pk}: stopped" in caplog.text
        deletion.delete.run()
        assert not Account.objects.exists()

    def test_a_download_under_way_is_waited_for(self, account):
        fill(account)
        message = Message.objects.order_by("pk").first()
        later = timezone.now() + timedelta(seconds=30)
        Attachment.objects.create(message=message, kind="image", lease=uuid4(), due_at=later)
        wishes.delete(account)
        deletion.delete.run()
        assert Message.objects.count() == 60
        Attachment.objects.update(due_at=timezone.now())  # Its lease has ended.
        deletion.delete.run()
        assert not Account.objects.exists()

    def test_a_waiting_download_is_not_begun(self, account):
        fill(account)
        Attachment.objects.create(message=Message.objects.first(), kind="image")
        wishes.delete(account)
        deletion.delete.run()
        assert wish().state == "done"

    def test_the_pictures_of_customers_go_with_their_conversations(self, account, conversation):
        conversation.picture.save("somebody.jpg", ContentFile(b"\xff\xd8\xff"), save=True)
        assert deletion.what_would_go(account)["files"] == 1
        wishes.delete(account)
        deletion.delete.run()
        media.delete_files.run()
        assert not conversation.picture.storage.exists(conversation.picture.name)
        assert (wish().conversations, wish().files) == (1, 1)

    def test_what_instagram_sent_goes_from_the_ledger(self, account, deliver):
        deliver("text")
        inbound.process.run()
        assert InboundEvent.objects.filter(account=account).exists()
        wishes.delete(account)
        deletion.delete.run()
        assert not InboundEvent.objects.exists()
        assert not WebhookEvent.objects.exists()
        assert (wish().messages, wish().notifications) == (1, 1)

    def test_so_does_what_came_before_and_was_not_read_yet(self, account, deliver):
        deliver("text")
        wishes.delete(account)
        deletion.delete.run()
        assert wish().state == "under_way"
        inbound.process.run()
        deletion.delete.run()
        assert wish().state == "done"
        assert not WebhookEvent.objects.exists()

    def test_so_does_what_comes_while_it_is_being_deleted(self, account, deliver):
        wishes.delete(account)
        deliver("text")
        inbound.process.run()
        deletion.delete.run()
        assert wish().state == "done"
        assert not InboundEvent.objects.exists()
        assert not WebhookEvent.objects.exists()

    def test_but_not_what_comes_for_the_same_account_connected_anew(self, account, deliver):
        instagram_account_id = account.instagram_account_id
        wishes.delete(account)
        deliver("text")
        inbound.process.run()
        Account.objects.create(instagram_account_id=instagram_account_id, username="luna")
        deletion.delete.run()
        assert InboundEvent.objects.get().instagram_account_id == instagram_account_id

    def test_it_is_not_done_before_what_was_on_its_way_has_come(
        self, account, deliver, monkeypatch
    ):
        """A webhook has its time when it arrives, and its row a little later."""
        monkeypatch.setattr(deletion, "SETTLING", timedelta(seconds=5))
        wishes.delete(account)
        deletion.delete.run()
        assert wish().state == "under_way"
        deliver("text")
        DeletionRequest.objects.update(requested_at=timezone.now() - timedelta(seconds=4.9))
        time.sleep(0.1)
        deletion.delete.run()
        assert wish().state == "under_way"  # The webhook is not read yet.
        inbound.process.run()
        deletion.delete.run()
        assert wish().state == "done"
        assert not WebhookEvent.objects.exists()

    def test_what_came_for_others_stays(self, account, deliver):
        Account.objects.create(instagram_account_id="17841405309213999", username="sol")
        deliver("text")
        inbound.process.run()
        wishes.delete(Account.objects.get(username="sol"))
        deletion.delete.run()
        assert InboundEvent.objects.get().account == account
        assert Message.objects.get().text

    @pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer")
    def test_a_picture_that_is_just_being_stored_goes_too(self, account, conversation):
        wishes.delete(account)
        is_written = threading.Event()

        def store():
            with transaction.atomic():
                Conversation.objects.update(picture="people/somebody.png")
                is_written.set()
                time.sleep(0.5)
            connection.close()

        storing = threading.Thread(target=store)
        storing.start()
        assert is_written.wait(10)
        deletion.delete.run()
        storing.join(10)
        assert wish().state == "done"
        assert FileToDelete.objects.filter(name="people/somebody.png").exists()

    def test_a_message_that_just_came_takes_its_files_along(self, account, conversation):
        wishes.delete(account)
        came = []

        def come(execute, sql, params, many, context):
            if sql.startswith('SELECT "conversations"') and "IN (" in sql and not came:
                came.append(sql)
                message = Message.objects.create(
                    account=account, conversation=conversation, direction="in",
                    status="received", timestamp=timezone.now(), due_at=None,
                )  # fmt: skip
                one = Attachment(message=message, kind="image", state="stored", due_at=None)
                one.file.save("late.png", ContentFile(b"\x89PNG"), save=True)
                came.append(one)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(come):
            deletion.delete.run()
        assert (wish().state, wish().messages, wish().files) == ("done", 1, 1)
        assert files_are_gone(came[1:])

    def test_no_query_looks_for_messages_among_everybodys(self, account):
        """Sorted by key, PostgreSQL would walk through all that are older."""
        fill(account)
        wishes.delete(account)
        with CaptureQueriesContext(connection) as asked:
            deletion.delete.run()
        assert wish().state == "done"
        read = [q["sql"] for q in asked if 'FROM "messages"' in q["sql"]]
        in_order = [sql for sql in read if "ORDER BY" in sql and "LIMIT" in sql]
        assert in_order
        assert all('"conversation_id" = ' in sql for sql in in_order)

    def test_no_transaction_deletes_more_than_a_batch(self, account):
        """So that the webhook never waits long for SQLite's one writer."""
        fill(account, conversations=120, messages=2)
        wishes.delete(account)
        left = [120 + 240]
        while wish().state != "done":
            deletion._delete_some(wish())
            left.append(Conversation.objects.count() + Message.objects.count())
        assert max(a - b for a, b in pairwise(left)) == deletion.BATCH


class TestLeaving:
    def leave(self, client, who, account):
        client.force_login(who)
        return client.post(f"/accounts/{account.pk}/leave", follow=True).content.decode()

    def test_a_member_goes_and_nothing_else(self, client, account, user, stranger):
        Membership.objects.create(user=stranger, account=account, role=Role.MEMBER)
        assert "You no longer answer for @luna.ceramics." in self.leave(client, stranger, account)
        assert list(account.users.all()) == [user]
        account.refresh_from_db()
        assert account.access_token

    def test_the_only_owner_of_others_is_told_what_to_do_first(
        self, client, account, user, stranger
    ):
        Membership.objects.create(user=stranger, account=account, role=Role.MEMBER)
        assert "invitation as owner first" in self.leave(client, user, account)
        assert account.users.count() == 2
        Membership.objects.filter(user=stranger).update(role=Role.OWNER)
        self.leave(client, user, account)
        assert list(account.users.all()) == [stranger]

    def test_the_last_person_disconnects_it_and_conversations_are_kept(
        self, client, account, user, conversation
    ):
        assert "It is disconnected" in self.leave(client, user, account)
        account.refresh_from_db()
        assert account.access_token is None
        assert not account.users.exists()
        assert Conversation.objects.exists()

    @pytest.mark.parametrize("role", [Role.OWNER, Role.MEMBER])
    def test_of_two_who_leave_at_once_the_second_disconnects_it(
        self, instagram, connected, user, stranger, role
    ):
        """The other is gone by the time that the second one's turn has come."""
        Membership.objects.create(user=stranger, account=connected, role=role)
        left = []

        def the_other_was_first(execute, sql, params, many, context):
            # As late as can be: with the lock of the second one's transaction.
            if not left and 'FROM "accounts"' in sql and 'WHERE "accounts"."id"' in sql:
                left.append(stranger)
                Membership.objects.filter(user=stranger).delete()
            return execute(sql, params, many, context)

        with connection.execute_wrapper(the_other_was_first):
            assert wishes.leave(Account.objects.get(), user)
        assert left
        assert not Membership.objects.exists()
        assert Account.objects.get().access_token is None

    def test_instagram_is_asked_for_no_more_webhooks(self, instagram, connected, user):
        assert wishes.leave(Account.objects.get(), user)
        assert instagram.control("state", method="GET")["subscriptions"] == {}

    def test_a_refresh_just_before_the_last_one_leaves_keeps_no_token(
        self, instagram, connected, user
    ):
        let_pass(instagram, hours=25)
        before = Account.objects.get()
        assert token_watch.refresh(Account.objects.get()).outcome == "refreshed"
        assert wishes.leave(before, user)
        assert Account.objects.get().access_token is None

    def test_no_crash_leaves_an_account_connected_without_people(
        self, instagram, connected, user, monkeypatch
    ):
        def die(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(InstagramClient, "unsubscribe", die)
        with pytest.raises(KeyboardInterrupt):
            wishes.leave(Account.objects.get(), user)
        account = Account.objects.get()
        assert (account.access_token, account.users.count()) == (None, 0)

        Account.objects.update(access_token="IGAATestTokenThatOpensNothing00000000000")
        Membership.objects.create(user=user, account=account, role=Role.OWNER)
        monkeypatch.setattr(connecting, "forget_token", die)
        with pytest.raises(KeyboardInterrupt):
            wishes.leave(Account.objects.get(), user)
        account = Account.objects.get()
        assert account.access_token is not None
        assert list(account.users.all()) == [user]

    def test_strangers_leave_nothing(self, client, account, stranger):
        client.force_login(stranger)
        assert client.post(f"/accounts/{account.pk}/leave").status_code == 404
        assert client.get(f"/accounts/{account.pk}/leave").status_code == 405
