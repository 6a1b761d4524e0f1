"""A request that is sent again does its work once, whatever happens in between."""

import json
import threading
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import RequestFactory
from django.test.client import encode_multipart
from django.utils import timezone

from accounts import api_bodies, idempotency
from accounts.api_middleware import answer_headers
from accounts.models import IdempotentRequest, User
from accounts.problems import FORBIDDEN, Problem


@pytest.fixture
def post(user):
    def post(body="{}", key="wish-1", who=user, path="/api/v1/things", **options):
        options = {"data": body, "content_type": "application/json"} | options
        headers = {} if key is None else {"Idempotency-Key": key}
        request = RequestFactory().post(path, headers=headers, **options)
        request.user, request.api_key = who, None
        return request

    return post


class Work:
    """Makes a row, and says how many times it was asked to."""

    def __init__(self, name="colleague"):
        self.name, self.times = name, 0

    def __call__(self):
        self.times += 1
        User.objects.create(username=f"{self.name}-{self.times}")
        return api_bodies.answer(202, {"made": self.times})

    @property
    def made(self):
        return User.objects.filter(username__startswith=self.name).count()


@pytest.fixture
def work(db):
    return Work()


def told(answer) -> int:
    return json.loads(answer.content)["made"]


def problem(*args) -> Problem:
    with pytest.raises(Problem) as refused:
        idempotency.once(*args)
    return refused.value


def test_the_second_time_gives_the_first_answer_and_does_nothing(post, work):
    first, second = (idempotency.once(post(), work) for _ in range(2))
    assert first.status_code == second.status_code == 202
    assert told(first) == told(second) == 1
    assert work.made == 1


def test_a_repeated_answer_says_so_and_keeps_its_location(post, work):
    request = post()

    def with_location():
        answer_headers(request)["Location"] = "/api/v1/things/1"
        return work()

    idempotency.once(request, with_location)
    again = post()
    idempotency.once(again, work)
    expected = {"Location": "/api/v1/things/1", "Idempotency-Replayed": "true"}
    assert answer_headers(again) == expected


def test_without_the_header_each_request_does_its_work(post, work):
    for _ in range(2):
        idempotency.once(post(key=None), work)
    assert work.made == 2
    assert not IdempotentRequest.objects.exists()


@pytest.mark.parametrize("other", [{"body": '{"a": 1}'}, {"path": "/api/v1/others"}])
def test_another_request_under_the_same_key_is_refused(post, work, other):
    idempotency.once(post(), work)
    assert problem(post(**other), work).kind.status == 422
    assert work.made == 1


def test_the_keys_of_two_callers_are_two(post, work, stranger):
    idempotency.once(post(), work)
    idempotency.once(post(who=stranger), work)
    assert work.made == 2


def test_what_failed_is_not_kept(post, work):
    def refuse():
        work()
        raise Problem(FORBIDDEN, "Not today.")

    assert problem(post(), refuse).kind is FORBIDDEN
    assert work.made == 0
    assert idempotency.once(post('{"better": 1}'), work).status_code == 202


def test_a_form_is_the_same_form_whatever_its_boundary(post, work):
    def form(picture=b"\x89PNG", text="Here it is", boundary="another"):
        file = SimpleUploadedFile("cup.png", picture, "image/png")
        body = encode_multipart(boundary, {"text": text, "file": file})
        return post(body, content_type=f"multipart/form-data; boundary={boundary}")

    first, second = form(boundary="one"), form(boundary="two")
    idempotency.once(first, work)
    idempotency.once(second, work)
    assert work.made == 1
    assert second.FILES["file"].read() == b"\x89PNG"
    assert problem(form(b"another"), work).kind.status == 422
    assert problem(form(text="Other words"), work).kind.status == 422


def test_what_was_asked_cannot_be_tried_out_with_the_database_alone(post, work, settings):
    """Whoever has all rows, but another secret, finds no fingerprint of theirs."""
    idempotency.once(post('{"message": "yes"}'), work)
    kept = IdempotentRequest.objects.get()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a guess", []
    IdempotentRequest.objects.filter(pk=kept.pk).delete()
    idempotency.once(post('{"message": "yes"}'), work)
    again = IdempotentRequest.objects.get(caller=kept.caller, key=kept.key)
    assert again.fingerprint != kept.fingerprint


def test_equal_requests_under_two_keys_do_not_look_equal(post, work):
    for key in ("wish-1", "wish-2"):
        idempotency.once(post(key=key), work)
    first, second = IdempotentRequest.objects.values_list("fingerprint", flat=True)
    assert first != second


def test_a_request_is_known_again_after_a_rotation_of_the_secret(post, work, settings):
    idempotency.once(post(), work)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "the new one"
    assert told(idempotency.once(post(), work)) == 1
    assert problem(post('{"a": 1}'), work).kind.status == 422


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 256, "tab\there"])
def test_a_key_that_is_none_is_refused(post, work, key):
    refused = problem(post(key=key), work)
    assert refused.kind.status == 422
    assert work.made == 0


@pytest.fixture
def row_of_0_1_0(post, work):
    """As release 0.1.0 has it while it works: committed before the work, under a lease."""
    who = f"user:{post().user.pk}"
    return IdempotentRequest.objects.create(
        caller=who,
        key="wish-1",
        fingerprint=idempotency._fingerprints(post(), who, "wish-1")[0],
        lease=uuid4(),
        leased_until=timezone.now() + timedelta(seconds=60),
    )


def test_what_a_host_of_0_1_0_is_doing_is_not_begun_again(post, work, row_of_0_1_0):
    refused = problem(post(), work)
    assert refused.kind.status == 409
    assert refused.headers["Retry-After"]
    assert work.made == 0


def test_what_a_host_of_0_1_0_left_undone_is_done_once(post, work, row_of_0_1_0):
    IdempotentRequest.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert told(idempotency.once(post(), work)) == 1
    assert told(idempotency.once(post(), work)) == 1
    assert work.made == 1
    # By this it finds out, should it still be there, that it has to undo what it did.
    assert not IdempotentRequest.objects.filter(lease=row_of_0_1_0.lease).exists()


def test_a_day_later_the_key_is_new(post, work):
    idempotency.once(post(), work)
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert told(idempotency.once(post('{"other": 1}'), work)) == 2
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert idempotency.old().count() == 1


needs_locks = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="in memory nobody waits for a lock"
)


@needs_locks
@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_does_the_work(post):
    work, outcomes = Work(), []
    barrier = threading.Barrier(6)

    def ask(request):
        barrier.wait()
        try:
            outcomes.append(told(idempotency.once(request, work)))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=[post()]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [1] * 6
    assert work.made == work.times == 1


@needs_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_one_that_is_under_way_is_not_begun_again(post, settings, ends):
    """It is waited for a while. What comes after it is what it left."""
    settings.DATABASE_WAIT = 1
    work, is_over = Work(), threading.Event()

    def slow():
        answer = work()
        is_begun.set()
        assert is_over.wait(10)
        if ends == "badly":
            raise Problem(FORBIDDEN, "Not today.")
        return answer

    is_begun = threading.Event()

    def ask(request):
        try:
            with suppress(Problem):
                idempotency.once(request, slow)
        finally:
            connection.close()

    first = threading.Thread(target=ask, args=[post()])
    first.start()
    try:
        assert is_begun.wait(10)
        refused = problem(post(), work)
    finally:
        is_over.set()
        first.join()
    assert refused.kind.name == "still-running"
    assert refused.headers["Retry-After"]
    assert work.times == 1
    again = idempotency.once(post(), work)
    assert told(again) == (1 if ends == "well" else 2)
    assert work.made == 1
