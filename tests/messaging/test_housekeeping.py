import io
import json
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import ConnectAttempt, IdempotentRequest, Invitation
from crypto.models import Census
from messaging import housekeeping, pruning, tasks
from messaging.models import WebhookEvent


def run(*options: str) -> dict:
    out = io.StringIO()
    call_command("housekeeping", "--json", *options, stdout=out)
    return json.loads(out.getvalue())["jobs"]


@pytest.fixture
def leftovers(account, user):
    """Two of each kind: one is over, the other is not."""
    now = timezone.now()
    for name, days in (("old", -1), ("new", 1)):
        Session.objects.create(session_key=name, expire_date=now + timedelta(days=days))
        attempt = AccessAttempt.objects.create(username=name, failures_since_start=1)
        AccessAttempt.objects.filter(pk=attempt.pk).update(
            attempt_time=now + timedelta(days=2 * days)
        )
        Invitation.issue(timedelta(days=40 * days), account=account, invited_by=user)
        ConnectAttempt.issue(timedelta(days=days), user=user)
        asked = IdempotentRequest.objects.create(caller="key 1", key=name)
        IdempotentRequest.objects.filter(pk=asked.pk).update(created_at=now + timedelta(days=days))
        WebhookEvent.objects.create(
            body=b"{}", state="processed", received_at=now + timedelta(days=40 * days)
        )


LEFT = {
    "old webhooks": WebhookEvent,
    "old API requests": IdempotentRequest,
    "ended logins": Session,
    "old login attempts": AccessAttempt,
    "old invitations": Invitation,
    "unfinished connects": ConnectAttempt,
}


def test_what_is_over_goes_and_the_rest_stays(leftovers):
    done = run()
    for job, model in LEFT.items():
        assert done[job] == 1, job
        assert model.objects.count() == 1, job
    assert Session.objects.get().pk == "new"
    assert AccessAttempt.objects.get().username == "new"
    assert not Invitation.objects.get().is_expired


def test_a_dry_run_counts_and_changes_nothing(leftovers):
    planned = run("--dry-run")
    assert [planned[job] for job in LEFT] == [1] * len(LEFT)
    assert [model.objects.count() for model in LEFT.values()] == [2] * len(LEFT)
    assert planned["encrypted values"] == 1
    assert not Census.objects.exists()
    assert run() == planned | {"access tokens": 0, "owners of troubled accounts": 0}


def test_an_invitation_that_just_ended_still_says_so(account, user):
    Invitation.issue(-timedelta(days=29), account=account, invited_by=user)
    assert run()["old invitations"] == 0


def test_more_than_a_batch_goes_as_well(db, monkeypatch):
    monkeypatch.setattr(pruning, "BATCH", 2)
    past = timezone.now() - timedelta(days=1)
    Session.objects.bulk_create(Session(session_key=f"{n}", expire_date=past) for n in range(5))
    assert run()["ended logins"] == 5
    assert not Session.objects.exists()


@pytest.mark.parametrize("prune", [run, tasks.prune.call_local])
def test_old_api_requests_go_in_batches(db, monkeypatch, prune):
    monkeypatch.setattr(pruning, "BATCH", 2)
    day_before = timezone.now() - timedelta(days=2)
    IdempotentRequest.objects.bulk_create(
        IdempotentRequest(caller="key 1", key=str(n), created_at=day_before) for n in range(5)
    )
    with CaptureQueriesContext(connection) as queries:
        prune()
    deleted = [one for one in queries if one["sql"].startswith('DELETE FROM "idempotent_requests"')]
    assert len(deleted) == 3
    assert not IdempotentRequest.objects.exists()


def test_every_encrypted_value_is_tried(account):
    assert run()["encrypted values"] == 1
    assert Census.objects.get().unreadable == 0


def test_for_people_there_is_one_line_for_each_job(db):
    out = io.StringIO()
    call_command("housekeeping", stdout=out)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(housekeeping.JOBS)
    assert "ended logins: 0 deleted" in lines


def test_what_goes_wrong_with_one_job_does_not_keep_the_others(leftovers, monkeypatch, caplog):
    broken = housekeeping.Job("broken", "done", lambda: 1 / 0, lambda: 0)
    monkeypatch.setattr(housekeeping, "LEFTOVERS", (broken, *housekeeping.LEFTOVERS))
    tasks.tidy.call_local()
    assert "broken: stopped" in caplog.text
    assert Session.objects.count() == 1
    assert WebhookEvent.objects.count() == 2, "these have a time of their own"


def test_a_database_that_fails_one_job_gives_code_6(leftovers, monkeypatch):
    def fail():
        raise DatabaseError("the disk is full")

    jobs = tuple(
        job._replace(run=fail) if job.name == "old webhooks" else job for job in housekeeping.JOBS
    )
    monkeypatch.setattr("messaging.management.commands.housekeeping.JOBS", jobs)
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("housekeeping", "--json", stdout=out, stderr=err)
    assert caught.value.code == 6
    assert json.loads(out.getvalue())["failed"] == ["old webhooks"]
    assert "the disk is full" in err.getvalue()
    assert Session.objects.count() == 1
