"""Answers leave here: many conversations side by side, each message at most once."""

import atexit
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from accounts import instagram_messages
from accounts.instagram import InstagramClient
from accounts.instagram_errors import (
    InstagramError,
    NoAnswer,
    NotSent,
    Passing,
    RateLimited,
    TokenRejected,
    Withheld,
)
from accounts.models import Account, TokenUnreadable

from . import budgets, outcomes, uploads
from .calls import Calls
from .models import Conversation, Message, Tally
from .queues import Drain, rest

logger = logging.getLogger(__name__)

Status = Message.Status

SIDE_BY_SIDE = 64
"""Calls of one worker process at a time."""

TURN = 2
"""Seconds after which the drain has its say, so that a worker can stop."""

GIVE_UP = timedelta(hours=24)
GIVE_UP_AUTOMATIC = timedelta(minutes=10)
"""Hours later an automatic reply is worse than none."""


GATHER = 0.03
"""Seconds in which other calls end, to be written down together."""

LOOK_AGAIN = 0.03
"""Seconds to wait for an answer before looking for others to call: less than budgets.AHEAD."""


class Done(NamedTuple):
    """A call that has come back with Instagram's id of the message, or an exception."""

    message: Message
    client: InstagramClient
    result: str | Exception


@Drain
def send() -> int:
    """Send what is due, as fast as Instagram allows; returns how many messages were tried.

    This thread alone writes; the others wait for Instagram. A call may outlast the turn: a slow
    one holds up nobody else, and when it ends this process takes another turn.
    """
    _stop_waiting_for_answers()
    until, count = time.monotonic() + TURN, 0
    try:
        while time.monotonic() < until and not send.is_ending:
            count += _begin()
            if _calls.under_way:
                _settle_those_that_ended(LOOK_AGAIN)
                rest()
            elif budgets.is_more_due():
                time.sleep(0.02)
            else:
                if moment := budgets.next_due_at():
                    send.start_at(moment)
                return count
    except Exception:
        _settle_all()  # Nobody may look again before their leases end.
        raise
    return count or 1


_calls = Calls(SIDE_BY_SIDE, on_end=lambda: send.ask_here())
_busy: Counter[str] = Counter()
"""Calls of this process under way, of each account. The thread that runs the drain alone touches
both."""


def _settle_all() -> None:
    """Wait for the calls under way, and write down what became of them."""
    while _calls.under_way:
        _settle_those_that_ended(1)


atexit.register(lambda: send.end(_settle_all))


def hint(**signal: object) -> None:
    """A message was written down."""
    send.hint()


def go_on(account: Account, **signal: object) -> None:
    """An account was connected: what waited for that is due."""
    budgets.go_on(account)
    send.hint()


def _begin() -> int:
    """Begin the calls for messages that are to be sent now; returns how many messages there were.

    Whatever goes wrong with one before its call, it was not sent.
    """
    claimed = budgets.claim(SIDE_BY_SIDE - _busy.total(), _busy)
    for message in claimed:
        try:
            _call(message)
        except Exception:
            logger.exception("message %s: not sent yet", message.public_id)
            why = "Trying again: this site had a fault."
            _insist(partial(outcomes.requeue, message, _back_off(message), why))
    return len(claimed)


def _call(message: Message) -> None:
    if too_late := _too_late(message):
        outcomes.failed(message, too_late)
        return
    try:
        client = message.account.client()
    except TokenUnreadable as exc:
        outcomes.requeue(message, timedelta(seconds=60), f"Waiting: {exc}")
        return
    has_files = bool(message.attachments.all())
    call = partial(client.send, message.conversation.igsid, _body(message), has_files=has_files)
    _calls.start((message, client), budgets.make_at, message.called_at, message.account, call)
    _busy[message.account_id] += 1


def _too_late(message: Message) -> str:
    """Why it is not sent any more, or ""."""
    age = timezone.now() - message.created_at
    if message.is_automatic and age > GIVE_UP_AUTOMATIC:
        return "Given up: so late an automatic reply helps nobody."
    return "Given up: it waited more than 24 hours." if age > GIVE_UP else ""


def _body(message: Message) -> instagram_messages.Body:
    if files := message.attachments.all():
        urls = [uploads.offer(file) for file in files]
        body = instagram_messages.files(files[0].kind, urls)
    else:
        body = instagram_messages.text(message.text, message.quick_replies)
    return instagram_messages.by_a_person(body) if message.tag else body


def _settle_those_that_ended(patience: float) -> None:
    if not (ended := _calls.ended(patience)):
        return
    if _calls.under_way:
        time.sleep(GATHER)
        ended += _calls.ended(0)
    done = [Done(*which, result) for which, result in ended]
    _busy.subtract(one.message.account_id for one in done)
    _settle(done)


def _settle(done: list[Done]) -> None:
    """Write outcomes down, together or else one by one."""
    try:
        _insist(partial(_record, done))
    except Exception:
        for one in done:
            try:
                _record([one])
            except Exception:  # Its lease says what comes next: nobody knows whether it was sent.
                logger.exception("message %s: its outcome is not known", one.message.public_id)


def _insist(record: Callable[[], None]) -> None:
    """Write an outcome down, even while the database is busy: nobody else knows it."""
    for pause in (0.2, 1, 5, 15):
        try:
            record()
            return
        except (OperationalError, InterfaceError) as exc:
            logger.warning("an outcome is not written yet: %s", exc)
            connection.close_if_unusable_or_obsolete()
            time.sleep(pause)
    record()


def _record(done: list[Done]) -> None:
    sent = [one for one in done if not isinstance(one.result, Exception)]
    with transaction.atomic():
        if len(sent) < len(done):  # Else only `outcomes.sent` needs them.
            Conversation.objects.lock(one.message.conversation_id for one in done)
        outcomes.sent([(one.message, one.result) for one in sent])
        for one in done:
            if isinstance(one.result, InstagramError):
                _not_sent(one.message, one.message.account, one.result)
            elif isinstance(one.result, Exception):
                raise one.result
            elif one.message.account.problem:
                one.message.account.clear_problem()
        Tally.objects.add("send", Counter(_answer(one) for one in done))
    for one in done:
        budgets.heed(one.message.account, one.result, one.client.usage)


def _answer(one: Done) -> str:
    """What Instagram said, in a word: sent, or the name of the error."""
    if not isinstance(one.result, Exception):
        return "sent"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(one.result).__name__).lower()


def _not_sent(message: Message, account: Account, exc: InstagramError) -> None:
    logger.warning(
        "message %s: %s (code %s/%s, trace %s)",
        message.public_id, type(exc).__name__, exc.code, exc.subcode, exc.trace,
    )  # fmt: skip
    match exc:
        case NoAnswer():
            outcomes.unconfirmed(message)
        case NotSent():
            outcomes.requeue(message, _back_off(message), f"Trying again: {exc}")
        case RateLimited():
            delay = max(_back_off(message), exc.wait)
            outcomes.requeue(message, delay, f"Trying again: {exc}", exc.number)
        case Passing() if _tries(message, exc) < exc.tries:
            delay, tries = max(_back_off(message), exc.wait), _tries(message, exc)
            outcomes.requeue(message, delay, f"Trying again: {exc}", exc.number, attempts=tries)
        case TokenRejected() | Withheld():
            account.note_error(exc)
            outcomes.requeue(message, timedelta(), f"Waiting: {exc}", exc.number)
        case _:
            outcomes.failed(message, str(exc), exc.number)


def _tries(message: Message, exc: InstagramError) -> int:
    """How often it was tried, since it first failed like this: what was before is over."""
    return message.attempts if message.error_code == exc.number else 1


def _back_off(message: Message) -> timedelta:
    seconds = min(2 * 2**message.attempts, 300)
    return timedelta(seconds=seconds * random.uniform(0.8, 1.2))  # noqa: S311  (jitter, no secret)


def _stop_waiting_for_answers() -> None:
    """A worker died in mid-call. Better to ask a person than to send twice."""
    overdue = Message.objects.filter(status=Status.SENDING, due_at__lt=timezone.now())
    for message in overdue.select_related("conversation"):
        outcomes.unconfirmed(message)
