"""Automatic replies: asks the rules about messages that have just come, and writes answers down.

It runs in the transaction that writes the messages, their conversations being locked.
"""

import logging
from collections import defaultdict
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Subquery
from django.utils import timezone

from accounts.models import Membership

from . import outbox
from .models import Conversation, Message, Rule, settings_of
from .models.rules import MAX_COOLDOWN
from .rules import Answered, Decision, Situation, decide

logger = logging.getLogger(__name__)

LATE = timedelta(minutes=10)
"""After an outage: an answer to what was written before would come out of the blue."""

ECHOING = timedelta(minutes=10)
"""How long after an automatic reply its words may come back from another account of ours."""

OPTED_OUT = "The customer wrote STOP: no automatic replies until they write START."


def answer(messages: list[Message]) -> None:
    """Answer those of the new `messages` for which there is a rule.

    Whatever goes wrong here, the messages stay: an automatic reply is not worth one of them.
    """
    now = timezone.now()
    fresh = [one for one in messages if _may_be_answered(one, now)]
    rules = _rules(fresh) if fresh else {}
    asking = [one for one in fresh if one.account_id in rules]
    if not asking:
        return
    try:
        with transaction.atomic():
            _answer(asking, rules, now)
    except Exception:
        logger.exception("messages %s: not answered automatically", [one.pk for one in asking])


def is_used_by(conversation: Conversation) -> bool:
    """Whether its account has rules, or it says something about them by itself."""
    return (
        conversation.automation != Conversation.Automation.ON
        or conversation.has_opted_out
        or Rule.objects.filter(account=conversation.account_id, is_enabled=True).exists()
    )


def switch(conversation: Conversation, automation: str) -> None:
    """Have automatic replies in one conversation as `automation` says; pages will hear of it."""
    with transaction.atomic():
        conversation.next_change()
        Conversation.objects.filter(pk=conversation.pk).update(automation=automation)
    conversation.automation = automation


def _may_be_answered(message: Message, now: datetime) -> bool:
    is_elsewhere = "standby" in message.context  # Another app has the conversation.
    return not (message.unsent_at or is_elsewhere) and now - message.timestamp < LATE


def _rules(messages: list[Message]) -> dict[str, list[Rule]]:
    """By account, of those that can send; what would wait is not answered."""
    enabled = Rule.objects.filter(
        account__in={one.account_id for one in messages}, account__deletion=None, is_enabled=True
    )
    found = defaultdict(list)
    for rule in enabled.select_related("account__rule_settings"):
        if rule.account.can_send:
            found[rule.account_id].append(rule)
    return dict(found)


def _answer(messages: list[Message], rules: dict[str, list[Rule]], now: datetime) -> None:
    """One after the other: each answer is part of what the next message finds."""
    situations = _situations(messages, now)
    echoing = _words_of_others(messages, now)
    for message in sorted(messages, key=lambda one: (one.timestamp, one.pk)):
        situation, own = situations[message.conversation_id], rules[message.account_id]
        if (message.account_id, message.text) not in echoing:
            decision = decide(message.text, own, settings_of(own[0].account), situation)
            _carry_out(decision, message, situation)
        situation.is_first = False


def _situations(messages: list[Message], now: datetime) -> dict[int, Situation]:
    """Of each conversation, as it was before the messages came."""
    here = Message.objects.filter(conversation=OuterRef("pk"))
    before = here.filter(direction=Message.Direction.IN).exclude(pk__in=[m.pk for m in messages])
    people = here.filter(
        direction=Message.Direction.OUT, answers=None, timestamp__gt=now - MAX_COOLDOWN
    )
    rows = Conversation.objects.filter(pk__in={one.conversation_id for one in messages}).annotate(
        is_known=Exists(before),
        person_at=Subquery(people.order_by("-timestamp").values("timestamp")[:1]),
    )
    situations = {
        row.pk: Situation(now, not row.is_known, _why_off(row), row.person_at) for row in rows
    }
    answered = Message.objects.filter(
        conversation__in=situations, answers__isnull=False, timestamp__gt=now - MAX_COOLDOWN
    ).exclude(status=Message.Status.FAILED)
    for pk, *one in answered.order_by("timestamp", "pk").values_list(
        "conversation", "timestamp", "rule", "answers__text"
    ):
        situations[pk].answered.append(Answered(*one))
    return situations


def _why_off(conversation: Conversation) -> str:
    if conversation.has_opted_out:
        return OPTED_OUT
    if conversation.automation == Conversation.Automation.ON:
        return ""
    return f"In this conversation automatic replies are {conversation.get_automation_display()}."


def _words_of_others(messages: list[Message], now: datetime) -> set[tuple[str, str]]:
    """Which texts, for which account, are automatic replies that another one of its team just gave.

    Two shops of one team that write to each other would else go on until the cap. What strangers
    on the same site have their rules say is none of its business.
    """
    said = Message.objects.filter(
        answers__isnull=False,
        timestamp__gt=now - ECHOING,
        text__in={one.text for one in messages},
    ).values_list("account", "text")
    if not said:  # As nearly always.
        return set()
    accounts = {one.account_id for one in messages} | {account for account, _ in said}
    team = defaultdict(set)
    members = Membership.objects.filter(account__in=accounts)
    for account, user in members.values_list("account", "user"):
        team[account].add(user)
    return {
        (one.account_id, text)
        for one in messages
        for account, text in said
        if text == one.text
        and account != one.account_id
        and not team[account].isdisjoint(team[one.account_id])
    }


def _carry_out(decision: Decision, message: Message, situation: Situation) -> None:
    conversation = message.conversation
    if decision.is_loop:
        switch(conversation, Conversation.Automation.STOPPED)
        situation.switched_off = decision.silence
        message.context["automation_stopped"] = True  # So that the thread shows where.
        message.save(update_fields=["context"])
        logger.warning(
            "conversation %s: automatic replies stopped (%s)", conversation.pk, decision.silence
        )
    if decision.rule is None:
        return
    try:
        reply = outbox.queue_reply(conversation, decision.text, rule=decision.rule, answers=message)
    except outbox.ReplyRefused as exc:
        logger.warning("message %s: rule %s: %s", message.pk, decision.rule.pk, exc)
        return
    situation.answered.append(Answered(reply.timestamp, decision.rule.pk, message.text))
