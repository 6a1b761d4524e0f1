import logging
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Account
from messaging import media, participants
from messaging.models import Conversation, FileToDelete

pytestmark = pytest.mark.django_db(transaction=True)

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def empty_folder(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def newcomer(open_conversation):
    """A conversation that has just begun: nobody has been asked yet."""
    Conversation.objects.update(username="")
    open_conversation.refresh_from_db()
    return open_conversation


@pytest.fixture
def known(newcomer):
    return ask(newcomer)


def ask(conversation):
    participants.ask.run()
    conversation.refresh_from_db()
    return conversation


def let_pass(**time):
    """Time passes for the rows."""
    passed = timedelta(**time)
    for row in Conversation.objects.all():
        for name in ("person_due_at", "person_told_at", "person_paused_until", "last_inbound_at"):
            if moment := getattr(row, name):
                setattr(row, name, moment - passed)
        row.save()


def write_again():
    Conversation.objects.update(last_inbound_at=timezone.now())


def asked(instagram):
    """How often names were asked for."""
    calls = instagram.control("requests", method="GET")["requests"]
    return len([call for call in calls if call["endpoint"] == "profile"])


def test_name_and_picture_come_from_instagram(instagram, newcomer, client, user):
    before = newcomer.change
    ask(newcomer)
    assert (newcomer.username, newcomer.title) == ("mila.tests", "Mila Novak")
    assert newcomer.picture_type == "image/png"
    assert newcomer.change > before  # Open pages will show it.
    client.force_login(user)
    for page in ("/", newcomer.get_absolute_url()):
        assert f'<img src="{newcomer.picture_url}" alt=""' in client.get(page).content.decode()
    response = client.get(newcomer.picture_url)
    assert b"".join(response.streaming_content).startswith(PNG)
    assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none';")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"].startswith("private")
    again = client.get(newcomer.picture_url, headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


def test_the_picture_is_for_members_alone(known, client, stranger):
    assert client.get(known.picture_url).status_code == 302
    client.force_login(stranger)
    assert client.get(known.picture_url).status_code == 404


def test_without_a_picture_the_letter_stands(known, client, user):
    Conversation.objects.update(picture="")
    client.force_login(user)
    html = client.get("/").content.decode()
    assert ">M</span>" in html
    assert client.get(f"/conversations/{known.pk}/picture").status_code == 404


@pytest.mark.parametrize(
    "trouble",
    [
        {"profile": "no_consent"},
        {"profile": "no_match"},
        {"blocked": True},
        {"missing_fields": ["name", "username", "profile_pic"]},
        {"null_fields": ["name", "username", "profile_pic"]},
    ],
)
def test_without_a_name_there_is_a_placeholder_and_the_token_is_well(
    instagram, newcomer, client, user, trouble
):
    instagram.control("customers", username="mila.tests", **trouble)
    ask(newcomer)
    assert newcomer.title == f"Customer {newcomer.igsid}"
    assert newcomer.picture_url == ""
    account = Account.objects.get()
    assert (account.problem, account.status) == ("", "connected")
    client.force_login(user)
    assert f"Customer {newcomer.igsid}" in client.get("/").content.decode()
    calls = asked(instagram)
    for _ in range(6):  # Days pass, and they write on.
        let_pass(days=1)
        write_again()
        ask(newcomer)
    assert asked(instagram) == calls
    let_pass(days=1, hours=1)
    write_again()
    ask(newcomer)
    assert asked(instagram) == calls + 1


def test_only_a_part_of_the_profile_is_enough(instagram, newcomer):
    instagram.control("customers", username="mila.tests", null_fields=["name", "profile_pic"])
    ask(newcomer)
    assert (newcomer.title, newcomer.picture_url) == ("mila.tests", "")


def test_what_is_known_stays_when_instagram_no_longer_tells(instagram, known):
    picture = known.picture.name
    instagram.control("customers", username="mila.tests", profile="no_consent")
    let_pass(days=8)
    write_again()
    ask(known)
    assert (known.title, known.picture.name) == ("Mila Novak", picture)


def test_who_writes_after_a_week_is_asked_for_again(instagram, known):
    calls, picture = asked(instagram), known.picture.name
    instagram.control("customers", username="mila.tests", name="Mila N. Kos")
    let_pass(days=6)
    write_again()
    assert ask(known).name == "Mila Novak"
    let_pass(days=2)
    assert ask(known).name == "Mila N. Kos"
    assert asked(instagram) == calls + 1
    media.delete_files.run()
    assert known.picture.name != picture
    assert not default_storage.exists(picture)
    assert default_storage.exists(known.picture.name)
    assert not FileToDelete.objects.exists()


def test_a_thread_that_sleeps_is_left_alone(instagram, known):
    calls = asked(instagram)
    let_pass(days=400)
    ask(known)
    assert asked(instagram) == calls


def test_who_has_not_written_yet_has_not_agreed_to_be_asked_for(instagram, newcomer):
    Conversation.objects.update(last_inbound_at=None)
    ask(newcomer)
    assert asked(instagram) == 0
    write_again()
    assert ask(newcomer).username == "mila.tests"


def test_a_picture_that_was_removed_goes(instagram, known):
    picture = known.picture.name
    instagram.control("customers", username="mila.tests", missing_fields=["profile_pic"])
    let_pass(days=8)
    write_again()
    assert ask(known).picture_url == ""
    media.delete_files.run()
    assert not default_storage.exists(picture)


def other_account(**fields):
    return Account.objects.create(
        instagram_account_id="17841400000000202", username="north.bikes",
        token_expires_at=timezone.now() + timedelta(days=60), **fields,
    )  # fmt: skip


def people(account, count, start=1):
    now = timezone.now()
    return Conversation.objects.bulk_create(
        Conversation(account=account, igsid=f"{start + n}00{account.pk[4:8]}", last_inbound_at=now)
        for n in range(count)
    )


def test_a_dead_token_is_asked_with_once_and_others_get_their_names(instagram, newcomer):
    people(other_account(access_token="IGAAdead" + "0" * 30), 25)
    Conversation.objects.filter(pk=newcomer.pk).update(person_due_at=timezone.now())
    ask(newcomer)
    assert newcomer.username == "mila.tests"
    assert Account.objects.get(username="north.bikes").problem == "revoked"
    calls = [c for c in instagram.control("requests", method="GET")["requests"]
             if c["status"] == 400]  # fmt: skip
    assert len(calls) == 1
    waiting = Conversation.objects.filter(account__username="north.bikes")
    assert set(waiting.values_list("person_attempts", flat=True)) == {0}  # Once reconnected.


def test_an_account_with_many_new_people_does_not_keep_the_others_waiting(
    instagram, newcomer, monkeypatch
):
    people(newcomer.account, 30)
    one = people(other_account(access_token="IGAAother" + "0" * 30), 1)[0]
    claimed = [answer.conversation.pk for answer in participants._claim()]
    assert one.pk in claimed
    assert len(claimed) == participants.BATCH


def test_who_asks_too_often_pauses_that_account_alone(instagram, newcomer):
    people(newcomer.account, 20)
    error = {"code": 613, "http": 429}
    instagram.control("faults", endpoint="profile", error=error)
    for _ in range(2):
        ask(newcomer)
        assert asked(instagram) == 1
        assert not Conversation.objects.filter(person_told_at__isnull=False).exists()
    instagram.control("faults", method="DELETE")
    let_pass(minutes=31)
    ask(newcomer)
    # All but the one that met the limit, whose turn comes a day later.
    assert Conversation.objects.filter(person_told_at__isnull=False).count() == 20
    account = Account.objects.get()
    assert (account.problem, account.status) == ("", "connected")


@pytest.mark.parametrize("error", [{"code": 10}, {"code": 200}, {"code": 3}])
def test_a_missing_permission_pauses_and_says_nothing_of_the_token(instagram, newcomer, error):
    instagram.control("faults", endpoint="profile", error=error)
    for _ in range(3):
        ask(newcomer)
    assert asked(instagram) == 1
    assert Account.objects.get().problem == ""


def test_a_failure_waits_a_day_and_then_longer_each_time(instagram, newcomer):
    instagram.control("faults", endpoint="profile", status=200, body="<html>")
    waits = []
    for _ in range(8):
        ask(newcomer)
        waits.append(round((newcomer.person_due_at - timezone.now()) / timedelta(days=1)))
        calls = asked(instagram)
        ask(newcomer)
        assert asked(instagram) == calls
        Conversation.objects.update(person_due_at=timezone.now())
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    instagram.control("faults", method="DELETE")
    assert ask(newcomer).username == "mila.tests"
    assert newcomer.person_attempts == 0


def test_out_of_reach_puts_everybody_off_with_one_call(newcomer, settings):
    people(newcomer.account, 30)
    settings.INSTAGRAM_GRAPH_URL = "http://127.0.0.1:9"
    with CaptureQueriesContext(connection) as queries:
        ask(newcomer)
    assert len(queries) < 25
    assert not participants.due(timezone.now()).exists()
    later = timezone.now() + participants.PAUSE + timedelta(seconds=1)
    assert participants.due(later).count() == 31
    assert set(Conversation.objects.values_list("person_attempts", flat=True)) == {0}


def test_an_unreadable_token_is_tried_once_for_all(instagram, newcomer, settings, caplog):
    people(newcomer.account, 30)
    Account.objects.update(access_token="x")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts SET access_token_encrypted = 'gAAAAwrong'")
    for _ in range(3):
        ask(newcomer)
    told = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(told) == 1
    assert newcomer.title == f"Customer {newcomer.igsid}"


def test_a_batch_takes_the_same_number_of_queries_whatever_its_size(instagram, newcomer):
    def queries():
        with CaptureQueriesContext(connection) as found:
            participants.ask.work()
        return len(found)

    with_one = queries()
    people(newcomer.account, participants.BATCH)
    assert queries() <= with_one


def test_a_picture_that_cannot_be_had_costs_no_name(instagram, newcomer, monkeypatch):
    def fail(url, limit):
        raise media.NotFetched("HTTP 503")

    with monkeypatch.context() as patch:
        patch.setattr(media, "download", fail)
        ask(newcomer)
    assert (newcomer.username, newcomer.picture_url) == ("mila.tests", "")
    let_pass(days=1, hours=1)
    assert ask(newcomer).picture_url  # Without their writing again.


def test_what_is_no_picture_is_not_shown_as_one(instagram, newcomer, monkeypatch):
    monkeypatch.setattr(media, "download", lambda url, limit: b"<svg onload='alert(1)'/>")
    ask(newcomer)
    assert (newcomer.username, newcomer.picture_url) == ("mila.tests", "")


def test_a_picture_is_fetched_within_its_limits(instagram, newcomer, monkeypatch):
    monkeypatch.setattr(participants, "MAX_PICTURE", 10)
    ask(newcomer)
    assert (newcomer.username, newcomer.picture_url) == ("mila.tests", "")
    assert participants.MAX_PICTURE == 10


def test_a_full_disk_costs_no_name(instagram, newcomer, monkeypatch):
    def save(name, content, max_length=None):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(default_storage, "save", save)
        ask(newcomer)
    assert (newcomer.username, newcomer.picture_url) == ("mila.tests", "")
    let_pass(days=1, hours=1)
    assert ask(newcomer).picture_url


def test_a_conversation_deleted_meanwhile_leaves_no_picture(instagram, newcomer, monkeypatch):
    write = media.write

    def write_and_delete(files):
        marks = write(files)
        Conversation.objects.all().delete()
        return marks

    monkeypatch.setattr(media, "write", write_and_delete)
    participants.ask.run()
    (left,) = FileToDelete.objects.all()
    FileToDelete.objects.update(due_at=timezone.now())
    media.delete_files.run()
    assert not default_storage.exists(left.name)


def test_a_name_that_no_database_holds_is_made_to_fit(instagram, newcomer):
    body = '{"username": "mila.tests", "name": "M\\u0000\\ud800' + "a" * 300 + '", "id": "1"}'
    instagram.control("faults", endpoint="profile", status=200, body=body)
    ask(newcomer)
    assert newcomer.name.startswith("M\ufffd\ufffdaaa")
    assert len(newcomer.name) == 255


def test_two_workers_ask_for_each_once(instagram, newcomer):
    first = participants._claim()
    assert [answer.conversation for answer in first] == [newcomer]
    assert participants._claim() == []
