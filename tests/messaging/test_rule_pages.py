from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import Membership, Role, User
from messaging import deletion, outbox
from messaging.models import Conversation, Message, Rule, RuleSettings
from messaging.models.rules import DISCLOSURE, MAX_RULES

from .test_views import page, say

pytestmark = pytest.mark.django_db

FILLED_IN = {
    "name": "Prices", "kind": "keyword", "words": "price, cost", "text": "From 40 €.",
    "cooldown_minutes": "60", "starts_on": "", "ends_on": "", "is_enabled": "on",
}  # fmt: skip
SETTINGS = {
    "disclosure": "Automatisch:", "silence_hours": "12", "time_zone": "Europe/Vienna",
    "days": ["0", "5"], "opens_at": "20:00", "closes_at": "02:00",
}  # fmt: skip


@pytest.fixture
def owner(client, user, account):
    client.force_login(user)
    return client


@pytest.fixture
def member(client, account):
    someone = User.objects.create_user("nils", password="another good 42")
    Membership.objects.create(user=someone, account=account, role=Role.MEMBER)
    client.force_login(someone)
    return client


@pytest.fixture
def rules(account):
    told = [
        ("Prices", "keyword", "price", "From 40 €."),
        ("Hours", "contains", "open", "Nine to six."),
        ("Greeting", "first", "", "Hello!"),
    ]
    return [
        Rule.objects.create(
            account=account, position=n, name=name, kind=kind, words=words, text=text
        )
        for n, (name, kind, words, text) in enumerate(told)
    ]


def names(account):
    return list(account.rules.values_list("name", flat=True))


def test_the_account_leads_to_its_rules(owner, account, rules):
    html = page(owner.get(account.get_absolute_url()))
    assert reverse("rules", args=[account.pk]) in html
    assert "3 rules" in html
    html = page(owner.get(reverse("rules", args=[account.pk])))
    assert html.index("Prices") < html.index("Hours") < html.index("Greeting")


def test_a_rule_is_added_below_the_others_and_changed(owner, account, rules):
    response = owner.post(reverse("rule_add", args=[account.pk]), FILLED_IN | {"name": "Costs"})
    assert response.url == reverse("rules", args=[account.pk])
    assert names(account) == ["Prices", "Hours", "Greeting", "Costs"]
    rule = account.rules.last()
    assert (rule.words, rule.text, rule.is_enabled) == ("price, cost", "From 40 €.", True)
    owner.post(
        reverse("rule", args=[rule.pk]), FILLED_IN | {"text": "From 50 €.", "is_enabled": ""}
    )
    rule.refresh_from_db()
    assert (rule.name, rule.text, rule.position) == ("Prices", "From 50 €.", 3)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("words", " , \n", "Name at least one word."),
        ("words", ",".join(f"w{n}" for n in range(51)), "these are 51"),
        ("text", "  ", "required"),
        ("text", "é" * 480, "Too long by"),
        ("text", "x" * (1000 - len(DISCLOSURE) - 1), "Too long by 1 bytes"),
        ("text", "a\x00b", "Null characters"),
        ("cooldown_minutes", "10081", "10080"),
        ("cooldown_minutes", "-1", "0"),
        ("kind", "weekday", "Select a valid choice"),
        ("starts_on", "yesterday", "valid date"),
    ],
)
def test_a_rule_that_could_not_answer_is_refused(owner, account, field, value, complaint):
    response = owner.post(reverse("rule_add", args=[account.pk]), FILLED_IN | {field: value})
    assert response.status_code == 422
    assert complaint in response.content.decode()
    assert not Rule.objects.exists()


def test_the_longest_text_that_fits_is_taken(owner, account):
    text = "x" * (1000 - len(DISCLOSURE) - 2)
    owner.post(reverse("rule_add", args=[account.pk]), FILLED_IN | {"text": text})
    assert Rule.objects.get().text == text


def test_days_in_the_wrong_order_are_refused(owner, account):
    days = {"starts_on": "2026-12-24", "ends_on": "2026-12-23"}
    response = owner.post(reverse("rule_add", args=[account.pk]), FILLED_IN | days)
    assert "before the first day" in response.content.decode()


def test_an_account_has_so_many_rules_at_most(owner, account):
    Rule.objects.bulk_create(
        Rule(account=account, name=str(n), kind="any", text="Hi") for n in range(MAX_RULES)
    )
    response = owner.post(reverse("rule_add", args=[account.pk]), FILLED_IN)
    assert response.status_code == 422
    assert "Delete one first" in response.content.decode()


def test_rules_are_moved_switched_and_deleted(owner, account, rules):
    prices, hours, greeting = rules
    owner.post(reverse("rule_move", args=[greeting.pk, "up"]))
    assert names(account) == ["Prices", "Greeting", "Hours"]
    owner.post(reverse("rule_move", args=[prices.pk, "down"]))
    assert names(account) == ["Greeting", "Prices", "Hours"]
    owner.post(reverse("rule_move", args=[greeting.pk, "up"]))
    owner.post(reverse("rule_move", args=[hours.pk, "down"]))
    assert names(account) == ["Greeting", "Prices", "Hours"]
    owner.post(reverse("rule_switch", args=[prices.pk, "off"]))
    prices.refresh_from_db()
    assert not prices.is_enabled
    owner.post(reverse("rule_delete", args=[prices.pk]))
    assert names(account) == ["Greeting", "Hours"]


def test_settings_hold_for_all_rules(owner, account, rules):
    url = reverse("rule_settings", args=[account.pk])
    assert DISCLOSURE in page(owner.get(url))
    assert owner.post(url, SETTINGS).status_code == 302
    about = RuleSettings.objects.get()
    assert (about.days, about.silence_hours, about.opens_at.hour) == ("05", 12, 20)
    html = page(owner.get(url))
    assert html.count(" checked") == 2
    owner.post(url, SETTINGS | {"days": []})
    assert RuleSettings.objects.get().days == ""


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("disclosure", " ", "required"),
        ("disclosure", "é" * 300, "Too long by"),
        ("time_zone", "Europe/Atlantis", "Select a valid choice"),
        ("closes_at", "20:00", "another time"),
        ("silence_hours", "169", "168"),
        ("days", ["7"], "Select a valid choice"),
    ],
)
def test_settings_that_cannot_hold_are_refused(owner, account, field, value, complaint):
    Rule.objects.create(account=account, name="Long", kind="any", text="x" * 900)
    response = owner.post(reverse("rule_settings", args=[account.pk]), SETTINGS | {field: value})
    assert response.status_code == 422
    assert complaint in response.content.decode()
    assert not RuleSettings.objects.exists()


class TestTryingOut:
    def ask(self, client, account, text, **more):
        response = client.post(reverse("rules", args=[account.pk]), {"text": text, **more})
        assert not Message.objects.exists()
        return page(response)

    def test_it_shows_the_whole_answer_and_why_the_others_do_not(self, member, account, rules):
        html = self.ask(member, account, "When do you OPEN?", is_first="on")
        assert "“Hours” would answer" in html
        assert f"{DISCLOSURE}\n\nNine to six." in html
        assert "None of its words is in the message." in html
        assert "Not asked: one above it answers." in html

    def test_first_or_not_is_chosen(self, member, account, rules):
        assert "“Greeting” would answer" in self.ask(member, account, "Hi", is_first="on")
        assert "No rule would answer" in self.ask(member, account, "Hi")

    def test_the_time_is_that_of_the_account(self, member, account):
        RuleSettings.objects.create(account=account, time_zone="Asia/Tokyo")
        Rule.objects.create(account=account, name="Night", kind="closed", text="Asleep")
        assert "would answer:" in self.ask(member, account, "Hi", at="2026-11-25T18:00")
        assert "No rule would answer" in self.ask(member, account, "Hi", at="2026-11-25T17:59")

    def test_stop_is_told_and_nonsense_refused(self, member, account, rules):
        assert "until they write START" in self.ask(member, account, "Stop")
        response = member.post(reverse("rules", args=[account.pk]), {"at": "soon"})
        assert response.status_code == 422

    def test_what_is_typed_is_escaped(self, member, account, rules):
        rules[0].name = "<b>bold</b>"
        rules[0].save()
        html = self.ask(member, account, "<script>price</script>")
        assert "<script>price" not in html
        assert "<b>bold" not in html


def test_members_look_and_owners_change(member, account, rules, conversation):
    html = page(member.get(reverse("rules", args=[account.pk])))
    assert "Only an owner" in html
    assert "Add a rule" not in html
    assert [member.get(url).status_code for url in readable(account, rules)[1:]] == [403] * 3
    assert [member.post(url, FILLED_IN).status_code for url in changing(account, rules)] == [
        403
    ] * 6
    assert member.post(in_conversation(conversation)).status_code == 302
    assert names(account) == ["Prices", "Hours", "Greeting"]


def test_strangers_find_nothing(client, stranger, account, rules, conversation):
    client.force_login(stranger)
    assert {client.get(url).status_code for url in readable(account, rules)} == {404}
    changes = [*changing(account, rules), in_conversation(conversation)]
    assert {client.post(url, FILLED_IN).status_code for url in changes} == {404}
    client.logout()
    assert {client.get(url).status_code for url in readable(account, rules)} == {302}
    assert names(account) == ["Prices", "Hours", "Greeting"]


def readable(account, rules):
    return [
        *(reverse(name, args=[account.pk]) for name in ("rules", "rule_add", "rule_settings")),
        reverse("rule", args=[rules[0].pk]),
    ]


def changing(account, rules):
    pk = rules[0].pk
    return [
        *readable(account, rules)[1:],
        reverse("rule_delete", args=[pk]),
        reverse("rule_switch", args=[pk, "off"]),
        reverse("rule_move", args=[pk, "down"]),
    ]


def in_conversation(conversation):
    return reverse("automation", args=[conversation.pk, "paused"])


class TestTheThread:
    def test_it_says_which_messages_were_automatic(self, owner, conversation, rules):
        asked = say(conversation, "price?")
        outbox.queue_reply(conversation, "From 40 €.", rule=rules[0], answers=asked)
        url = conversation.get_absolute_url()
        assert "automatic: Prices" in page(owner.get(url))
        rules[0].delete()
        html = page(owner.get(url))
        assert "<span>automatic</span>" in html

    def test_the_team_pauses_automatic_replies_and_lets_them_go_on(
        self, owner, conversation, rules
    ):
        html = page(owner.get(conversation.get_absolute_url()))
        assert "Automatic replies are on." in html
        owner.post(in_conversation(conversation))
        assert "are paused here" in page(owner.get(conversation.get_absolute_url()))
        owner.post(reverse("automation", args=[conversation.pk, "on"]))
        assert Conversation.objects.get().automation == "on"
        assert owner.post(f"/conversations/{conversation.pk}/automation/stopped").status_code == 404

    def test_it_says_where_and_why_they_stopped(self, owner, conversation):
        say(conversation, "Beep", context={"automation_stopped": True})
        Conversation.objects.update(automation="stopped")
        html = page(owner.get(conversation.get_absolute_url()))
        assert "automatic replies stopped here" in html
        assert "one machine answering another" in html
        Conversation.objects.update(stopped_at=timezone.now())
        assert "wrote STOP" in page(owner.get(conversation.get_absolute_url()))

    def test_without_rules_nothing_is_said_of_them(self, owner, conversation):
        assert "utomatic replies" not in page(owner.get(conversation.get_absolute_url()))

    def test_a_wish_that_was_revoked_is_none(self, conversation):
        conversation.stopped_at = timezone.now()
        assert conversation.has_opted_out
        conversation.started_at = conversation.stopped_at + timedelta(seconds=1)
        assert not conversation.has_opted_out


def test_the_admin_checks_as_the_pages_do(admin_client, account):
    url = reverse("admin:messaging_rule_add")
    filled_in = FILLED_IN | {"account": account.pk, "position": "0"}
    response = admin_client.post(url, filled_in | {"text": "x" * 1000})
    assert "Too long by" in response.content.decode()
    assert not Rule.objects.exists()
    assert admin_client.post(url, filled_in).status_code == 302
    assert Rule.objects.get().account == account
    url = reverse("admin:messaging_rulesettings_add")
    about = SETTINGS | {"account": account.pk}
    assert "another time" in admin_client.post(url, about | {"closes_at": "20:00"}).content.decode()
    assert admin_client.post(url, about).status_code == 302
    assert RuleSettings.objects.get().days == "05"


def test_rules_go_with_their_account(account, conversation, rules, user):
    RuleSettings.objects.create(account=account)
    asked = say(conversation, "price?")
    outbox.queue_reply(conversation, "From 40 €.", rule=rules[0], answers=asked)
    assert deletion.what_would_go(account)["rules"] == 3
    account.delete()
    assert not Rule.objects.exists()
    assert not RuleSettings.objects.exists()
