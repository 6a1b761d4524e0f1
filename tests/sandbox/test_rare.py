import json

import pytest

from instamsg.sandbox.rare import KINDS

WHO = {"account": "luna.ceramics", "customer": "mila.tests"}
LUNA = "17841400000000101"


@pytest.fixture
def heard(connect, control, site):
    """The one entry that the site hears of an event of this kind."""
    connect()

    def heard(kind, **order):
        before = len(site.received)
        assert control("event", **WHO, kind=kind, **order)["heard"] is True
        control("flush")
        [hook] = site.received[before:]
        [entry] = json.loads(hook.body)["entry"]
        assert entry["id"] == LUNA
        return entry

    return heard


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_in_one_entry(heard, kind):
    assert set(heard(kind)) & {"messaging", "standby", "changes", "field"}


def test_comments_count_seconds_and_name_who_wrote_them(heard):
    entry = heard("comment", value={"text": "Nice!"})
    [change] = entry["changes"]
    assert entry["time"] < 10**11
    assert change["field"] == "comments"
    assert change["value"]["text"] == "Nice!"
    assert change["value"]["from"]["username"] == "mila.tests"
    assert "self_ig_scoped_id" not in change["value"]["from"]


def test_own_comment_gives_itself_away(heard):
    [change] = heard("own_comment")["changes"]
    assert change["value"]["from"]["id"] == LUNA
    assert change["value"]["from"]["self_ig_scoped_id"]


def test_particular_comments(heard):
    assert heard("comment_reply")["changes"][0]["value"]["parent_id"]
    assert heard("ad_comment")["changes"][0]["value"]["media"]["media_product_type"] == "AD"
    assert "text" not in heard("sticker_comment")["changes"][0]["value"]
    assert heard("live_comment")["changes"][0]["field"] == "live_comments"
    flat = heard("flat_comment")
    assert flat["field"] == "comments"
    assert "changes" not in flat


def test_comment_opens_no_chat(heard, control):
    heard("comment")
    assert control("state", method="GET")["conversations"] == []


def test_standby_is_a_list_of_its_own_and_the_chat_keeps_the_message(heard, control):
    entry = heard("standby")
    assert "messaging" not in entry
    assert entry["standby"][0]["message"]["text"] == "Are you there?"
    assert "payload" not in heard("standby_postback")["standby"][0]["postback"]
    [conversation] = control("state", method="GET")["conversations"]
    assert len(conversation["messages"]) == 1


def test_handover_and_optin(heard):
    assert heard("pass_thread_control")["messaging"][0]["pass_thread_control"]["metadata"]
    taken = heard("take_thread_control")["messaging"][0]["take_thread_control"]
    assert taken["metadata"] is None
    assert heard("optin")["messaging"][0]["optin"]["type"] == "notification_messages"


def test_message_to_oneself_has_the_account_on_both_sides(heard, control):
    [event] = heard("self_message")["messaging"]
    assert event["sender"]["id"] == LUNA
    assert event["message"]["is_echo"] is event["message"]["is_self"] is True
    [event] = heard("self_postback")["messaging"]
    assert event["is_self"] is True
    assert control("state", method="GET")["conversations"] == []


def test_nobody_hears_an_event_without_a_subscription(control, site):
    assert control("event", **WHO, kind="comment")["heard"] is False
    control("flush")
    assert site.received == []


def test_test_button_needs_no_subscription_and_names_no_account(control, site):
    for variant in ("changes", "messaging", "comments", "popup"):
        assert control("test-button", variant=variant)["status"] == 200
    changes, messaging, comments, popup = (json.loads(hook.body) for hook in site.received)
    assert {body["entry"][0]["id"] for body in (changes, messaging, comments)} == {"0"}
    assert changes["entry"][0]["changes"][0]["value"]["timestamp"] == "1527459824"
    assert messaging["entry"][0]["messaging"][0]["message"]["mid"] == "random_mid"
    assert comments["entry"][0]["changes"][0]["field"] == "comments"
    assert list(popup) == ["field", "value"]
    assert "X-Hub-Signature-256" in site.received[0].headers
