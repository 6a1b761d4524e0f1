"""What Prometheus is told: read from the rows at each scrape, so it is right whoever is asked.

Nothing is counted in a process: there may be several, and they restart. Nothing is opened: tokens
and secrets are told of by their dates and by what was found earlier.
"""

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Count, Max, Min, Q
from django.utils import timezone
from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from accounts.models import Account
from crypto import heartbeat, verdict, workers
from crypto.models import Census, Process, Secret

from . import backlog
from .models import Message, Tally, WebhookEvent

DAYS = (1, 3, 7, 14, 30, 60)
"""Tokens are counted that end within so many days."""

TALLIES = {
    "event": ("instamsg_events", "Events out of webhooks that were dealt with, by outcome."),
    "send": ("instamsg_send_calls", "Calls that sent a message, by what Instagram answered."),
    "delivery": ("instamsg_deliveries", "Deliveries to CRMs that were tried, by outcome."),
}
"""Of each kind of tally: how Prometheus calls it."""


def page() -> bytes:
    """All of it, as text for Prometheus."""
    return generate_latest(Everything())


class Everything:
    """Looks like a registry of collectors; asks a few indexed queries each time."""

    def collect(self) -> Iterator[Metric]:
        yield from _webhooks()
        yield from _tallies()
        yield from _messages()
        yield from _backlogs()
        yield from _accounts()
        yield from _secret()
        yield from _processes()


def accepted() -> int:
    """How many webhooks were ever stored: the last number that the ledger gave to one.

    Old webhooks go, their numbers do not come again. PostgreSQL also counts those that it was
    given and did not store.
    """
    table = WebhookEvent._meta.db_table
    with connection.cursor() as cursor:
        if settings.IS_SQLITE:
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        else:
            sequence = f"pg_get_serial_sequence('{table}', 'id')::regclass"
            cursor.execute(f"SELECT pg_sequence_last_value({sequence})")
        row = cursor.fetchone()
    return row[0] or 0 if row else 0


def _webhooks() -> Iterator[Metric]:
    yield _counter("instamsg_webhooks_accepted", "Signed webhooks that were stored.", accepted())
    latest = WebhookEvent.objects.aggregate(at=Max("received_at"))["at"]
    if latest:
        yield _gauge(
            "instamsg_webhook_last_timestamp_seconds", "When the last one came.", latest.timestamp()
        )


def _tallies() -> Iterator[Metric]:
    families = {
        kind: CounterMetricFamily(name, text, labels=["outcome"])
        for kind, (name, text) in TALLIES.items()
    }
    for tally in Tally.objects.filter(kind__in=families).order_by("kind", "outcome"):
        families[tally.kind].add_metric([tally.outcome], tally.count)
    yield from families.values()


def _messages() -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "instamsg_messages_on_their_way",
        "Answers that are not settled: also those whose account has to be mended first.",
        labels=["status"],
    )
    unsettled = Message.objects.filter(due_at__isnull=False)  # An index holds these alone.
    counts = dict(unsettled.order_by().values_list("status").annotate(Count("pk")))
    for status in (Message.Status.QUEUED, Message.Status.SENDING, Message.Status.UNCONFIRMED):
        family.add_metric([status], counts.get(status, 0))
    yield family


def _backlogs() -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "instamsg_backlog_age_seconds",
        "For how long the oldest row that is due waits for a worker; 0 when none does.",
        labels=["queue"],
    )
    for queue in backlog.DUE:
        family.add_metric([backlog.name(queue)], backlog.age(queue))
    yield family


def _accounts() -> Iterator[Metric]:
    accounts = Account.objects.filter(deletion=None)
    states = GaugeMetricFamily("instamsg_accounts", "Accounts by status.", labels=["status"])
    for status in Account.Status:
        states.add_metric([status], accounts.in_status(status).count())
    yield states
    now = timezone.now()
    within = {
        str(days): Count("pk", filter=Q(token_expires_at__lte=now + timedelta(days=days)))
        for days in DAYS
    }
    living = accounts.filter(access_token__isnull=False, token_expires_at__gt=now)
    found = living.aggregate(soonest=Min("token_expires_at"), **within)
    ending = GaugeMetricFamily(
        "instamsg_tokens_ending", "Living tokens that end within so many days.", labels=["days"]
    )
    for days in within:
        ending.add_metric([days], found[days])
    yield ending
    if found["soonest"]:
        yield _gauge(
            "instamsg_token_seconds_left",
            "Until the first of the living tokens ends.",
            (found["soonest"] - now).total_seconds(),
        )


def _secret() -> Iterator[Metric]:
    if current := Secret.objects.current():
        age = (timezone.now() - current.first_used_at).total_seconds()
        yield _gauge("instamsg_secret_age_seconds", "Since SESSION_SECRET was first used.", age)
    if verdict.latest:
        yield _gauge(
            "instamsg_secret_ok",
            "1 when the process that answers saw nothing wrong with its secret.",
            int(verdict.latest.is_well),
        )
    if census := Census.objects.first():
        yield _gauge(
            "instamsg_unreadable_values",
            "Stored values that no secret opened at the last count, nightly or by check_secret.",
            census.unreadable,
        )


def _processes() -> Iterator[Metric]:
    living = heartbeat.living()
    family = GaugeMetricFamily("instamsg_processes", "Living processes.", labels=["kind"])
    for kind in ("web", workers.WORKER):
        family.add_metric([kind], sum(one.kind == kind for one in living))
    yield family
    seen = Process.objects.filter(kind=workers.WORKER).aggregate(at=Max("seen_at"))["at"]
    age = (timezone.now() - seen).total_seconds() if seen else float("inf")
    yield _gauge(
        "instamsg_worker_heartbeat_age_seconds", "Since a worker last said that it lives.", age
    )


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
