"""The address under which Instagram fetches what is being sent."""

import re
import time

import pytest
import requests
from django.core.signing import TimestampSigner, b62_encode

from messaging import outbox, uploads
from messaging.events import mid_digest
from messaging.models import Attachment, Message
from tests.conftest import work
from tests.running_site import RunningSite
from tests.waiting import A_WHILE, eventually

from . import events, files
from .files import upload


@pytest.mark.django_db
class TestOfferedAddress:
    @pytest.fixture(autouse=True)
    def media_root(self, settings, tmp_path):
        settings.MEDIA_ROOT = tmp_path

    @pytest.fixture
    def one(self, conversation):
        (message,) = outbox.queue_files(conversation, [upload()])
        return message.attachments.get()

    @pytest.fixture
    def fetch(self, client, settings):
        """Fetches an address without any login, as Instagram does; returns the answer."""

        def fetch(url):
            assert url.startswith(f"{settings.PUBLIC_BASE_URL}/media/offered/")
            answer = client.get(url.removeprefix(settings.PUBLIC_BASE_URL))
            answer.body = b"".join(answer)
            return answer

        return fetch

    def test_it_gives_the_file_to_whoever_knows_it(self, one, fetch):
        answer = fetch(uploads.offer(one))
        assert answer.status_code == 200
        assert answer.body == files.PNG
        assert answer.headers["Content-Type"] == "image/png"
        assert "no-store" in answer.headers["Cache-Control"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not answer.cookies

    def test_it_can_only_be_read(self, one, client, settings):
        path = uploads.offer(one).removeprefix(settings.PUBLIC_BASE_URL)
        assert client.post(path).status_code == 405
        assert client.head(path).status_code == 200

    @pytest.mark.parametrize(("seconds", "status"), [(3590, 200), (3610, 404)])
    def test_it_works_for_an_hour(self, one, fetch, monkeypatch, seconds, status):
        then = b62_encode(int(time.time()) - seconds)
        monkeypatch.setattr(uploads.signer, "timestamp", lambda: then)
        assert fetch(uploads.offer(one)).status_code == status

    @pytest.mark.parametrize("part", range(3))
    def test_a_changed_address_is_none(self, one, fetch, part):
        head, _, token = uploads.offer(one).rpartition("/")
        parts = token.split(":")
        parts[part] = parts[part][:-1] + ("A" if parts[part][-1] != "A" else "B")
        assert fetch(f"{head}/{':'.join(parts)}").status_code == 404

    @pytest.mark.parametrize("token", ["x", "%00", "a:b:c", "x" * 5000, "..%2f..%2fetc"])
    def test_nor_is_an_invented_one(self, one, client, token):
        assert client.get(f"/media/offered/{token}").status_code == 404

    def test_the_files_own_id_opens_nothing(self, one, client):
        assert client.get(f"/media/offered/{one.public_id}").status_code == 404
        assert client.get(f"/media/{one.public_id}").status_code == 302

    def test_a_signature_made_for_something_else_opens_nothing(self, one, client):
        other = TimestampSigner(salt="something.else").sign(str(one.public_id))
        assert client.get(f"/media/offered/{other}").status_code == 404

    def test_what_a_customer_sent_is_never_offered(self, conversation, client, one):
        theirs = Message.objects.create(
            account=conversation.account, conversation=conversation, direction="in",
            status="received", mid="m", timestamp=conversation.last_inbound_at,
        )  # fmt: skip
        Attachment.objects.filter(pk=one.pk).update(message=theirs)
        path = f"/media/offered/{uploads.signer.sign(one.public_id)}"
        assert client.get(path).status_code == 404

    def test_it_is_gone_once_the_message_was_taken_back(self, one, fetch, post_webhook):
        url, digest = uploads.offer(one), mid_digest(events.ACCOUNT, "m")
        Message.objects.update(mid="m", mid_digest=digest, status="sent", due_at=None)
        post_webhook(events.body(events.unsend("m", at=5, by_shop=True)))
        work()
        assert fetch(url).status_code == 404

    def test_and_once_the_account_is_erased(self, one, fetch, account):
        url = uploads.offer(one)
        account.delete()
        assert fetch(url).status_code == 404

    def test_and_once_it_is_kept_no_longer(self, one, fetch):
        url = uploads.offer(one)
        Attachment.objects.update(state=Attachment.State.EXPIRED, file="")
        assert fetch(url).status_code == 404


@pytest.mark.processes
def test_instagram_fetches_what_the_form_brought(tmp_path):
    with RunningSite(tmp_path) as site:
        site.log_in()
        site.connect()
        site.say("What does it look like?")
        ((pk,),) = eventually(
            lambda: site.rows("SELECT id FROM conversations WHERE last_inbound_at IS NOT NULL")
        )
        thread = f"/conversations/{pk}/"
        hidden = re.findall(
            r'name="(csrfmiddlewaretoken|submission)" value="([^"]+)"', site.get(thread).text
        )
        answer = site.browser.post(
            f"{site.url}{thread}reply",
            data=dict(hidden) | {"text": "Like this"},
            files=[("files", ("cup.png", files.PNG)), ("files", ("price.pdf", files.PDF))],
            timeout=10,
            allow_redirects=False,
        )
        assert answer.status_code == 302, answer.text
        query = "SELECT status FROM messages WHERE direction = 'out' ORDER BY id"
        eventually(lambda: site.rows(query) == [("sent",)] * 3, A_WHILE)
        sent = site.control("sent", method="GET")["sent"]
        assert [(one["attachments"], one["text"]) for one in sent] == [
            (["image"], None), (["file"], None), ([], "Like this"),
        ]  # fmt: skip
        # What Instagram keeps of it are the very bytes.
        (conversation,) = site.control("state", method="GET")["conversations"]
        kept = [
            requests.get(one["payload"]["url"], timeout=10).content
            for message in conversation["messages"] if message["by"] == "api"
            for one in message["content"].get("attachments", [])
        ]  # fmt: skip
        assert kept == [files.PNG, files.PDF]
        # Its echo made no second copy.
        site.control("flush")
        time.sleep(1)
        assert site.rows("SELECT COUNT(*) FROM attachments") == [(2,)]
        # The address was nowhere but in the call itself.
        assert "/media/offered/" not in site.log
