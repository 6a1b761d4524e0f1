"""Any order, any number of copies, any number of workers: the same conversations."""

import random
import threading

import pytest
from django.conf import settings
from django.db import connection
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from messaging import inbound
from messaging.models import Conversation, InboundEvent, Message, WebhookEvent

from . import events as e

pytestmark = pytest.mark.django_db(transaction=True)

CUSTOMERS = ["501", "502", "503"]
WORKERS = 1 if settings.IS_SQLITE else 3
"""SQLite has one writer; two workers' turns come one after the other there."""


def home(n):
    """Each message has one conversation, one side and one text, whatever is told of it."""
    return {"customer": CUSTOMERS[n % len(CUSTOMERS)]}


KINDS = {
    "message": lambda n, at: e.message(f"mid-{n}", f"text {n}", n, **home(n)),
    # A copy that tells another time, and wishes of the customer that do.
    "copy": lambda n, at: e.message(f"mid-{n}", f"text {n}", at, **home(n)),
    "copied echo": lambda n, at: e.echo(f"out-{n}", f"answer {n}", at, **home(n)),
    "wish": lambda n, at: e.message(
        f"wish-{n}", ["STOP", "START"][n % 2], at, customer=CUSTOMERS[0]
    ),
    "edit": lambda n, at: e.edit(f"mid-{n}", f"edit {at}", str(at % 3 + 1), at, **home(n)),
    "empty edit": lambda n, at: e.edit(f"mid-{n}", None, 0, at, **home(n)),
    "nameless edit": lambda n, at: e.nameless_edit(f"mid-{n}", at),
    "react": lambda n, at: e.react(f"mid-{n}", "❤️😮👍"[at % 3], at, **home(n)),
    "unreact": lambda n, at: e.unreact(f"mid-{n}", at, **home(n)),
    "our reaction": lambda n, at: e.react(f"mid-{n}", "👍", at, by_shop=True, **home(n)),
    "unsend": lambda n, at: e.unsend(f"mid-{n}", at, **home(n)),
    "seen": lambda n, at: e.seen(f"mid-{n}", at, **home(n)),
    "echo": lambda n, at: e.echo(f"out-{n}", f"answer {n}", n, **home(n)),
    "unsend ours": lambda n, at: e.unsend(f"out-{n}", at, by_shop=True, **home(n)),
    "heart": lambda n, at: e.message(
        f"pic-{n}", None, n, attachments=[e.attachment("like_heart")], **home(n)
    ),
    "ad": lambda n, at: e.message(
        f"ad-{n}-{at}", "Hello", at, referral={"ref": f"ref {at}"}, **home(n)
    ),
}


@st.composite
def streams(draw):
    """Events of a few kinds about a few messages, so that they get in each other's way."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3, unique=True))
    picks = st.tuples(st.sampled_from([*kinds, "message"]), st.integers(0, 2), st.integers(10, 40))
    return [KINDS[kind](n, at) for kind, n, at in draw(st.lists(picks, min_size=5, max_size=25))]


def state():
    conversations = Conversation.objects.exclude(last_message_at=None, seen_at=None)
    messages = Message.objects.order_by("mid")
    return (
        list(conversations.order_by("igsid").values_list(
            "igsid", "last_message_at", "last_inbound_at", "seen_at", "referral", "referral_at",
            "stopped_at", "started_at",
        )),
        [
            (m.mid, m.text, m.direction, m.status, m.timestamp, m.reactions, m.edit_number,
             m.edited_at, m.unsent_at, m.context, [a.kind for a in m.attachments.all()])
            for m in messages.prefetch_related("attachments")
        ],
    )  # fmt: skip


def forget():
    Conversation.objects.all().delete()
    WebhookEvent.objects.all().delete()


def work_side_by_side():
    def run():
        inbound.process.run_dry()
        connection.close()

    if WORKERS == 1:
        inbound.process.run_dry()
        return
    workers = [threading.Thread(target=run) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def take(events, rng):
    """Store them in bodies of a few, with the workers at work now and then."""
    left = list(events)
    while left:
        size = rng.randint(1, 4)
        WebhookEvent.objects.create(body=e.as_bytes(e.body(*left[:size])))
        left = left[size:]
        if rng.random() < 0.3:
            work_side_by_side()
    work_side_by_side()
    # What failed to get its turn, by a deadlock of two workers, is due in a few seconds.
    InboundEvent.objects.filter(state="pending").update(due_at=None)
    for row in InboundEvent.objects.filter(state="pending"):
        InboundEvent.objects.filter(pk=row.pk).update(due_at=row.webhook.received_at, lease=None)
    inbound.process.run_dry()
    assert not InboundEvent.objects.filter(state__in=["pending", "failed"]).exists()
    found = state()
    forget()
    return found


@hypothesis_settings(
    max_examples=80 if settings.IS_SQLITE else 30,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # Short enough to read as they are.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=streams(), seed=st.integers(0, 2**32 - 1))
def test_the_same_events_in_any_order_and_number_give_the_same_conversations(account, events, seed):
    rng = random.Random(seed)  # noqa: S311  (an order, no secret)
    first = take(events, rng)
    shuffled = [*events, *rng.choices(events, k=len(events) // 2)]
    rng.shuffle(shuffled)
    assert take(shuffled, rng) == first
