"""Which rule answers: decided without a database."""

from datetime import UTC, date, datetime, time, timedelta

import pytest

from accounts.models import Account
from messaging.models import Rule, RuleSettings
from messaging.rules import MOST_PER_HOUR, Answered, Situation, decide

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

ABOUT = RuleSettings(account=Account(pk="acc_1"), disclosure="A machine says:", time_zone="UTC")


def rule(kind="any", words="", text="Answer", pk=1, **fields):
    return Rule(pk=pk, name=f"rule {pk}", kind=kind, words=words, text=text, **fields)


def ask(text, *rules, about=ABOUT, now=NOON, **situation):
    return decide(text, list(rules), about, Situation(now, **situation))


def answered(*ago, rule_id=9, text="hm"):
    return [Answered(NOON - one, rule_id, text) for one in sorted(ago, reverse=True)]


def test_the_first_rule_that_fits_answers_and_each_before_it_says_why_not():
    price, hours, rest = rule("keyword", "price", pk=1), rule("contains", "open", pk=2), rule(pk=3)
    decision = ask("When are you opening?", price, hours, rest)
    assert decision.rule == hours
    assert [reason for _, reason in decision.reasons] == [
        "None of its words is in the message.",
        "",
        "",
    ]


def test_no_rule_that_fits_is_no_answer():
    decision = ask("Hello", rule("keyword", "price"))
    assert (decision.rule, decision.text, decision.silence) == (None, "", "")


def test_contains_finds_parts_of_words_and_keyword_does_not():
    assert ask("priceless", rule("contains", "price")).rule
    assert not ask("priceless", rule("keyword", "price")).rule


def test_only_the_first_message_of_a_customer_is_the_first():
    assert ask("Hello", rule("first"), is_first=True).rule
    assert not ask("Hello", rule("first")).rule


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-25T08:59", False),
        ("2026-11-25T09:00", True),
        ("2026-11-25T17:59", True),
        ("2026-11-25T18:00", False),
        ("2026-11-28T12:00", False),  # a Saturday
    ],
)
def test_outside_business_hours_is_by_the_clock_of_the_account(moment, is_open):
    about = RuleSettings(account=Account(pk="acc_1"), time_zone="America/Sao_Paulo")
    now = datetime.fromisoformat(f"{moment}-03:00")
    assert about.is_open(now) is is_open
    assert bool(ask("Hello", rule("closed"), about=about, now=now).rule) is not is_open


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-27T22:00", True),  # Friday night
        ("2026-11-28T01:59", True),  # which goes on
        ("2026-11-28T02:00", False),
        ("2026-11-28T22:00", False),  # Saturday has none
        ("2026-11-30T01:00", False),  # nor has Sunday
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(moment, is_open):
    about = RuleSettings(time_zone="UTC", days="01234", opens_at=time(20), closes_at=time(2))
    assert about.is_open(datetime.fromisoformat(f"{moment}+00:00")) is is_open


def test_a_rule_holds_from_its_first_to_its_last_day():
    sale = rule(starts_on=date(2026, 11, 25), ends_on=date(2026, 11, 26))
    days = [bool(ask("Hello", sale, now=NOON + timedelta(days=n)).rule) for n in (-1, 0, 1, 2)]
    assert days == [False, True, True, False]


def test_a_rule_that_is_switched_off_does_not_answer():
    assert not ask("Hello", rule(is_enabled=False)).rule


def test_a_rule_pauses_after_it_has_answered_and_leaves_it_to_the_next():
    once, other = rule(cooldown_minutes=30, pk=1), rule(pk=2)
    just_now = answered(29 * MINUTE, rule_id=1)
    assert ask("Hello", once, other, answered=just_now).rule == other
    assert ask("Hello", once, other, answered=answered(30 * MINUTE, rule_id=1)).rule == once


class TestDisclosure:
    def test_the_first_automatic_reply_says_that_it_is_one(self):
        assert ask("Hello", rule()).text == "A machine says:\n\nAnswer"

    def test_those_that_follow_need_not(self):
        assert ask("Hello", rule(), answered=answered(23 * HOUR)).text == "Answer"

    def test_after_a_day_without_one_it_is_said_again(self):
        assert "machine" in ask("Hello", rule(), answered=answered(24 * HOUR)).text

    def test_where_a_machine_takes_over_from_a_person_it_is_said_again(self):
        about = RuleSettings(disclosure="A machine says:", time_zone="UTC", silence_hours=1)
        before, after = NOON - 3 * HOUR, NOON - HOUR
        latest = answered(2 * HOUR)
        assert (
            "machine" not in ask("Hi", rule(), about=about, person_at=before, answered=latest).text
        )
        assert "machine" in ask("Hi", rule(), about=about, person_at=after, answered=latest).text


class TestSilence:
    def test_after_a_person_has_answered(self):
        decision = ask("Hello", rule(), person_at=NOON - 24 * HOUR + MINUTE)
        assert decision.rule is None
        assert "person" in decision.silence
        assert ask("Hello", rule(), person_at=NOON - 24 * HOUR).rule

    def test_for_as_long_as_the_account_says(self):
        about = RuleSettings(time_zone="UTC", silence_hours=0)
        assert ask("Hello", rule(), about=about, person_at=NOON).rule

    def test_where_it_is_switched_off(self):
        decision = ask("Hello", rule(), switched_off="Paused.")
        assert (decision.rule, decision.silence) == (None, "Paused.")

    def test_stop_itself_is_not_answered(self):
        assert "STOP" in ask("Stop!", rule("keyword", "stop")).silence


class TestLoops:
    def test_a_cap_per_hour_ends_it(self):
        minutes = [n * MINUTE for n in range(1, MOST_PER_HOUR + 1)]
        decision = ask("Hello", rule(), answered=answered(*minutes))
        assert decision.is_loop
        assert decision.rule is None
        assert not ask("Hello", rule(), answered=answered(*minutes[1:])).is_loop
        older = [*minutes[1:], 60 * MINUTE]
        assert not ask("Hello", rule(), answered=answered(*older)).is_loop

    def test_the_third_equal_message_in_a_row_ends_it(self):
        twice = answered(MINUTE, 2 * MINUTE, text="Thanks for writing!")
        assert ask("thanks for  writing!", rule(), answered=twice).is_loop
        assert not ask("Thanks", rule(), answered=twice).is_loop
        assert not ask("thanks for writing!", rule(), answered=twice[1:]).is_loop

    def test_pictures_have_no_words_to_be_equal(self):
        assert ask("", rule(), answered=answered(MINUTE, 2 * MINUTE, text="")).rule

    def test_where_no_rule_would_answer_nothing_goes_round(self):
        minutes = [n * MINUTE for n in range(MOST_PER_HOUR)]
        assert not ask("Hello", rule("first"), answered=answered(*minutes)).is_loop
