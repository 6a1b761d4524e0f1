"""What Prometheus reads: figures from the rows, right whichever process is asked."""

import re
from contextlib import closing
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import Account
from crypto.heartbeat import Heartbeat
from crypto.keyring import KeyRing
from messaging import backlog, inbound, ledger, metrics, outbox, tasks
from messaging.models import Message, Tally, WebhookEvent
from tests.conftest import work

from . import events

pytestmark = pytest.mark.django_db

ELSEWHERE = {"REMOTE_ADDR": "203.0.113.7"}


@pytest.fixture
def scrape(client):
    """Metric and label → value, as Prometheus understands the page."""

    def scrape():
        text = client.get("/metrics").content.decode()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    return scrape


def test_webhooks_are_counted_for_ever_though_old_ones_go(scrape, post_webhook, settings):
    before = scrape()["instamsg_webhooks_accepted_total",]
    for number in range(3):
        post_webhook(events.body(events.message(f"mid-{number}", "Hello")))
    assert scrape()["instamsg_webhooks_accepted_total",] == before + 3
    inbound.process.run_dry()
    settings.WEBHOOK_RETENTION_DAYS = 0
    assert ledger.prune() == 3
    assert scrape()["instamsg_webhooks_accepted_total",] == before + 3


def test_events_are_counted_by_what_became_of_them(scrape, account, post_webhook):
    post_webhook(events.body(events.message("mid-1", "Hello"), events.message("mid-2", "There")))
    post_webhook(events.change("comments", {"text": "Lovely"}))
    work()
    found = scrape()
    assert found["instamsg_events_total", "processed"] == 2
    assert found["instamsg_events_total", "unhandled"] == 1


def test_calls_are_counted_by_what_instagram_answered(scrape, open_conversation, instagram):
    outbox.queue_reply(open_conversation, "Yes")
    work()
    instagram.control("faults", endpoint="messages", error={"code": 100}, times=1)
    outbox.queue_reply(open_conversation, "No")
    work()
    sends = {key[1]: n for key, n in scrape().items() if key[0] == "instamsg_send_calls_total"}
    assert sends.pop("sent") == 1
    assert sum(sends.values()) == 1


def test_what_is_rolled_back_is_not_counted():
    with transaction.atomic():
        Tally.objects.add("send", {"sent": 5})
        transaction.set_rollback(True)
    Tally.objects.add("send", {"sent": 1, "refused": 2, "nothing": 0})
    Tally.objects.add("send", {"sent": 1})
    assert dict(Tally.objects.values_list("outcome", "count")) == {"sent": 2, "refused": 2}


def test_every_queue_has_its_age(scrape):
    assert set(backlog.DUE) == set(tasks.QUEUES)
    ages = [name for name, *_ in scrape() if name == "instamsg_backlog_age_seconds"]
    assert len(ages) == len(tasks.QUEUES)


def test_the_age_is_that_of_the_oldest_that_is_due(scrape):
    for seconds in (-60, 20, 90):
        due_at = timezone.now() - timedelta(seconds=seconds)
        WebhookEvent.objects.create(body=b"{}", due_at=due_at)
    found = scrape()
    assert 90 <= found["instamsg_backlog_age_seconds", "inbound.process"] < 95
    assert found["instamsg_backlog_age_seconds", "media.fetch"] == 0


def test_what_waits_for_its_account_is_no_backlog(scrape, conversation):
    message = outbox.queue_reply(conversation, "Later")
    Message.objects.filter(pk=message.pk).update(due_at=timezone.now() - timedelta(seconds=90))
    assert scrape()["instamsg_backlog_age_seconds", "sending.send"] >= 90
    Account.objects.update(problem=Account.Problem.REVOKED)
    found = scrape()
    assert found["instamsg_backlog_age_seconds", "sending.send"] == 0
    assert found["instamsg_messages_on_their_way", "queued"] == 1


def test_accounts_are_told_by_status_and_tokens_by_their_end(scrape, account):
    Account.objects.create(
        instagram_account_id="1", username="mara.prints", access_token="IGAAother",
        token_expires_at=timezone.now() + timedelta(days=5),
    )  # fmt: skip
    Account.objects.create(instagram_account_id="2", username="otto.old")
    found = scrape()
    assert [found["instamsg_accounts", s] for s in ("connected", "expiring", "disconnected")] == [
        1, 1, 1,
    ]  # fmt: skip
    assert [found["instamsg_tokens_ending", days] for days in ("3", "7", "30", "60")] == [
        0,
        1,
        1,
        2,
    ]
    assert found["instamsg_token_seconds_left",] == pytest.approx(5 * 86400, abs=60)


def test_a_scrape_opens_nothing_and_tells_no_names(client, account, settings):
    settings.KEYRING = KeyRing(None)
    text = client.get("/metrics").content.decode()
    assert "instamsg_secret_age_seconds" in text
    assert not re.search("luna|IGAA|gAAAA|acc_", text)


def test_workers_are_counted_and_their_silence_is_told(scrape):
    found = scrape()
    assert found["instamsg_processes", "worker"] == 0
    assert found["instamsg_worker_heartbeat_age_seconds",] == float("inf")
    Heartbeat("worker").beat()
    found = scrape()
    assert found["instamsg_processes", "worker"] == 1
    assert found["instamsg_worker_heartbeat_age_seconds",] < 5


def test_only_this_machine_and_the_token_see_figures(client, settings):
    settings.METRICS_TOKEN = "figures-for-prometheus"
    assert client.get("/metrics", **ELSEWHERE).status_code == 403
    headers = {"Authorization": "Bearer figures-for-prometheus"}
    answer = client.get("/metrics", headers=headers, **ELSEWHERE)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.skipif(not settings.IS_SQLITE, reason="asks SQLite for its plans")
def test_a_scrape_goes_through_no_long_table(account):
    """Each query finds its rows by an index, however many there are."""
    plans = []

    def explain(execute, sql, params, many, context):
        if sql.startswith("SELECT"):
            with closing(connection.connection.cursor()) as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql.replace('%s', '?')}", params)
                plans.extend(row[-1] for row in cursor.fetchall())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        metrics.page()
    long = "messages|webhook_events|inbound_events|attachments|conversations"
    assert any(re.search(rf"SEARCH \w*({long})", plan) for plan in plans)
    assert [plan for plan in plans if re.fullmatch(rf"SCAN ({long})", plan)] == []
