"""Rules by which an account answers by itself, and what holds for all of them."""

import re
import zoneinfo
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models, transaction
from django.db.models import Max

from accounts.models import Account, User

from .. import matching
from ..events import UNSTORABLE

MAX_BYTES = 1000
"""Of a message, disclosure and answer together (Send API, 4.1)."""

BETWEEN_WORDS = re.compile("[,\n\r\u060c\u3001\uff0c]")
"""Commas, also the Arabic, Chinese and Japanese ones, and ends of lines."""

MAX_RULES = 100
MAX_WORDS = 50
MAX_COOLDOWN = timedelta(days=7)
DISCLOSURE = "This is an automatic reply. Write STOP if you want no more of them."
WEEK = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def default_time_zone() -> str:
    return settings.TIME_ZONE


class RuleSettings(models.Model):
    """What holds for all rules of an account. An account without a row has the defaults."""

    account = models.OneToOneField(Account, models.CASCADE, related_name="rule_settings")
    disclosure = models.CharField(
        "first sentence",
        max_length=300,
        default=DISCLOSURE,
        help_text="Begins the first automatic reply of a conversation, the first after a day "
        "without one, and the first after a person has written. Say it in your customers' "
        "language, and leave the word STOP in it.",
    )
    silence_hours = models.PositiveSmallIntegerField(
        "hours of silence",
        default=24,
        validators=[MaxValueValidator(168)],
        help_text="So long nothing is answered automatically after a person has answered, from "
        "here, from the phone or from another app. At most 168, a week.",
    )
    time_zone = models.CharField(max_length=64, default=default_time_zone)
    days = models.CharField(
        "open on",
        max_length=7,
        default="01234",
        blank=True,
        validators=[RegexValidator(r"^0?1?2?3?4?5?6?\Z", "Name each day once, in order.")],
        help_text="0 is Monday.",
    )
    opens_at = models.TimeField(default=time(9))
    closes_at = models.TimeField(
        default=time(18), help_text="Before you open: then it is the night after."
    )

    class Meta:
        db_table = "rule_settings"
        verbose_name_plural = "rule settings"

    def __str__(self) -> str:
        return f"rules of {self.account}"

    def clean(self) -> None:
        errors = {}
        self.disclosure = _plain(self.disclosure)
        if not self.disclosure or UNSTORABLE.search(self.disclosure):
            errors["disclosure"] = "Write what tells customers that nobody wrote the reply."
        elif self.account_id and (longest := self._longest()):
            over = len(self.disclosed(longest.text).encode()) - MAX_BYTES
            if over > 0:
                errors["disclosure"] = (
                    f"Too long by {over} bytes: together with the answer of “{longest.name}” it "
                    f"would be more than the {MAX_BYTES} bytes that Instagram takes."
                )
        if self.time_zone not in zoneinfo.available_timezones():
            errors["time_zone"] = "There is no such time zone. An example: Europe/Lisbon."
        if self.opens_at is not None and self.opens_at == self.closes_at:
            errors["closes_at"] = "Name another time than the one at which you open."
        if errors:
            raise ValidationError(errors)

    def _longest(self) -> "Rule | None":
        rules = Rule.objects.filter(account=self.account_id)
        return max(rules, key=lambda rule: len(rule.text.encode()), default=None)

    def disclosed(self, text: str) -> str:
        """An answer that says first that nobody wrote it (9.4)."""
        return f"{self.disclosure}\n\n{text}"

    def local(self, moment: datetime) -> datetime:
        return moment.astimezone(zoneinfo.ZoneInfo(self.time_zone))

    def is_open(self, moment: datetime) -> bool:
        """Whether `moment` is within business hours. A night belongs to the day it began on."""
        here = self.local(moment)
        clock, today = here.time(), str(here.weekday())
        if self.opens_at < self.closes_at:
            return today in self.days and self.opens_at <= clock < self.closes_at
        yesterday = str((here - timedelta(days=1)).weekday())
        return (today in self.days and clock >= self.opens_at) or (
            yesterday in self.days and clock < self.closes_at
        )

    @property
    def open_days(self) -> list[str]:
        return [WEEK[int(day)] for day in self.days]


class RuleQuerySet(models.QuerySet):
    def for_user(self, user: User) -> Self:
        return self.filter(account__in=Account.objects.for_user(user))

    def next_position(self, account: Account) -> int:
        """The place below all rules that the account has."""
        last = self.filter(account=account).aggregate(last=Max("position"))["last"]
        return 0 if last is None else last + 1


class Rule(models.Model):
    """When an account answers by itself, and with which text. The first that fits answers."""

    class Kind(models.TextChoices):
        KEYWORD = "keyword", "The message has one of these words"
        CONTAINS = "contains", "The message contains one of these texts"
        FIRST = "first", "It is the customer's first message"
        CLOSED = "closed", "It comes outside business hours"
        ANY = "any", "Any message"

    account = models.ForeignKey(Account, models.CASCADE, related_name="rules")
    name = models.CharField(max_length=80, help_text="For your team; customers do not see it.")
    kind = models.CharField("answers when", max_length=16, choices=Kind, default=Kind.KEYWORD)
    words = models.TextField(
        "words",
        blank=True,
        max_length=2000,
        help_text="For the first two kinds: separated by commas or on lines of their own. Capital "
        "letters and accents make no difference. Languages that write endings on to a word, such "
        "as Korean, need “contains”.",
    )
    text = models.TextField(
        "answer",
        max_length=1000,
        help_text=f"Together with the sentence that says it is automatic, at most {MAX_BYTES} "
        "bytes. Letters outside the Latin alphabet and emoji count two to four each.",
    )
    position = models.PositiveIntegerField(
        default=0, help_text="The lowest is asked first, and the first that fits answers."
    )
    cooldown_minutes = models.PositiveIntegerField(
        "pause in minutes",
        default=60,
        validators=[MaxValueValidator(int(MAX_COOLDOWN.total_seconds() // 60))],
        help_text="So long the rule does not answer again in the same conversation. At most "
        "10,080, a week.",
    )
    is_enabled = models.BooleanField("switched on", default=True)
    starts_on = models.DateField("from", null=True, blank=True, help_text="Empty: at once.")
    ends_on = models.DateField(
        "to", null=True, blank=True, help_text="The last day. Empty: for ever."
    )

    objects = RuleQuerySet.as_manager()

    class Meta:
        db_table = "rules"
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        errors = {}
        self.text = _plain(self.text)
        if self.kind in (self.Kind.KEYWORD, self.Kind.CONTAINS):
            words = self.word_list()
            if not words:
                errors["words"] = "Name at least one word."
            elif len(words) > MAX_WORDS:
                errors["words"] = f"At most {MAX_WORDS}; these are {len(words)}. Make two rules."
        if UNSTORABLE.search(self.text):
            errors["text"] = "The answer holds a character that cannot be sent."
        elif self.account_id:
            whole = settings_of(self.account).disclosed(self.text)
            if (over := len(whole.encode()) - MAX_BYTES) > 0:
                errors["text"] = f"Too long by {over} bytes, the sentence before it included."
        if self.starts_on and self.ends_on and self.ends_on < self.starts_on:
            errors["ends_on"] = "This is before the first day."
        if errors:
            raise ValidationError(errors)
        if self.pk is None and Rule.objects.filter(account=self.account_id).count() >= MAX_RULES:
            raise ValidationError(f"An account has at most {MAX_RULES} rules. Delete one first.")

    def move(self, *, up: bool) -> None:
        """Change places with the rule above it, or below it."""
        with transaction.atomic():
            rules = list(Rule.objects.filter(account=self.account_id).select_for_update())
            places = [rule.pk for rule in rules]
            here = places.index(self.pk)
            there = min(max(here + (-1 if up else 1), 0), len(rules) - 1)
            rules.insert(there, rules.pop(here))
            for position, rule in enumerate(rules):
                rule.position = position
            Rule.objects.bulk_update(rules, ["position"])

    def word_list(self) -> tuple[str, ...]:
        """Each word as messages are compared with it."""
        return _words(self.words)

    def holds_on(self, day: date) -> bool:
        return (self.starts_on is None or self.starts_on <= day) and (
            self.ends_on is None or day <= self.ends_on
        )

    @property
    def cooldown(self) -> timedelta:
        return timedelta(minutes=self.cooldown_minutes)


def settings_of(account: Account) -> RuleSettings:
    """The account's, stored or the defaults."""
    try:
        return account.rule_settings
    except RuleSettings.DoesNotExist:
        return RuleSettings(account=account)


@lru_cache(maxsize=1000)  # The same for each message that comes.
def _words(text: str) -> tuple[str, ...]:
    found = (matching.plain(word) for word in BETWEEN_WORDS.split(text))
    return tuple(dict.fromkeys(filter(None, found)))


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()
