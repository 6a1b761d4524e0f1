"""Which rule answers a message, and with which words.

A function of what it is given: the worker asks it about messages that have come, the page's
try-it box about messages that have not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from . import matching
from .models import Rule, RuleSettings

Kind = Rule.Kind

LAPSE = timedelta(days=1)
"""Without an automatic reply; then the next one says anew that it is one (9.4)."""

HOUR = timedelta(hours=1)
MOST_PER_HOUR = 10
"""Automatic replies to one customer. Somebody who writes more is a machine, or needs a person."""

SAME_IN_A_ROW = 3
"""Equal messages one after the other: what a machine writes that answers whatever comes."""


class Answered(NamedTuple):
    """An automatic reply of before: when, by which rule, and to which text."""

    at: datetime
    rule_id: int | None
    text: str


@dataclass
class Situation:
    """A conversation at the moment in which a message comes."""

    now: datetime
    is_first: bool = False
    switched_off: str = ""
    """Why nothing is answered here; for people to read."""
    person_at: datetime | None = None
    """When a person last wrote for the account."""
    answered: list[Answered] = field(default_factory=list)
    """Automatic replies of the last days, in order."""


@dataclass
class Decision:
    """What becomes of a message. `reasons` says of each rule why it does not answer, in order;
    it is empty for the one that does, and for those after it."""

    rule: Rule | None = None
    text: str = ""
    silence: str = ""
    is_loop: bool = False
    reasons: list[tuple[Rule, str]] = field(default_factory=list)


def decide(text: str, rules: list[Rule], about: RuleSettings, situation: Situation) -> Decision:
    """The one rule that answers `text`, if any; `rules` come in the order of their priority."""
    if silence := _silence(text, about, situation):
        return Decision(silence=silence)
    decision, words = Decision(), matching.plain(text)
    for rule in rules:
        reason = "" if decision.rule else _hindrance(rule, words, about, situation)
        decision.reasons.append((rule, reason))
        if not reason and not decision.rule:
            decision.rule = rule
    if decision.rule and (loop := _loop(words, situation)):
        return Decision(silence=loop, is_loop=True)
    if decision.rule:
        discloses = _has_to_disclose(situation)
        answer = decision.rule.text
        decision.text = about.disclosed(answer) if discloses else answer
    return decision


def _silence(text: str, about: RuleSettings, situation: Situation) -> str:
    if matching.is_stop(text):
        return "STOP: the customer gets no automatic replies until they write START."
    if situation.switched_off:
        return situation.switched_off
    until = situation.person_at and situation.person_at + timedelta(hours=about.silence_hours)
    if until and situation.now < until:
        return "A person has answered: automatic replies are silent for a while."
    return ""


def _hindrance(rule: Rule, words: str, about: RuleSettings, situation: Situation) -> str:
    if not rule.is_enabled:
        return "It is switched off."
    if not rule.holds_on(about.local(situation.now).date()):
        return "It does not hold on this day."
    if reason := FITS[rule.kind](rule, words, about, situation):
        return reason
    own = [one.at for one in situation.answered if one.rule_id == rule.pk]
    if own and rule.cooldown and own[-1] > situation.now - rule.cooldown:
        return "It has answered in this conversation a short while ago."
    return ""


def _keyword(rule: Rule, words: str, about: RuleSettings, situation: Situation) -> str:
    has_one = any(matching.has_word(words, word) for word in rule.word_list())
    return "" if has_one else "None of its words is in the message."


def _contains(rule: Rule, words: str, about: RuleSettings, situation: Situation) -> str:
    has_one = any(word in words for word in rule.word_list())
    return "" if has_one else "None of its texts is in the message."


def _first(rule: Rule, words: str, about: RuleSettings, situation: Situation) -> str:
    return "" if situation.is_first else "The customer has written before."


def _closed(rule: Rule, words: str, about: RuleSettings, situation: Situation) -> str:
    return "You are open at that time." if about.is_open(situation.now) else ""


def _any(rule: Rule, words: str, about: RuleSettings, situation: Situation) -> str:
    return ""


FITS: dict[str, Callable[[Rule, str, RuleSettings, Situation], str]] = {
    Kind.KEYWORD: _keyword,
    Kind.CONTAINS: _contains,
    Kind.FIRST: _first,
    Kind.CLOSED: _closed,
    Kind.ANY: _any,
}


def _loop(words: str, situation: Situation) -> str:
    """Why this looks like one machine that answers another; "" while it does not."""
    lately = [one for one in situation.answered if one.at > situation.now - HOUR]
    if len(lately) >= MOST_PER_HOUR:
        return f"{MOST_PER_HOUR} automatic replies went to the customer within an hour."
    latest = lately[1 - SAME_IN_A_ROW :]
    is_full = len(latest) == SAME_IN_A_ROW - 1
    if is_full and words and all(matching.plain(one.text) == words for one in latest):
        return f"The customer has written the same {SAME_IN_A_ROW} times."
    return ""


def _has_to_disclose(situation: Situation) -> bool:
    """At the beginning, after a lapse, and where a machine takes over from a person."""
    latest = situation.answered[-1].at if situation.answered else None
    if latest is None or latest <= situation.now - LAPSE:
        return True
    return situation.person_at is not None and situation.person_at >= latest
