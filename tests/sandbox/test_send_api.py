import json
import time

import pytest

DAY = 24 * 3600


def test_text_is_sent_and_answered_with_recipient_and_mid(open_chat, send, control):
    answer = send(*open_chat, message={"text": "Grüße 🙂"})
    assert answer.status == 200
    assert answer.json["recipient_id"] == open_chat[1]
    assert len(answer.json["message_id"]) == 164
    [conversation] = control("state", method="GET")["conversations"]
    assert conversation["messages"][-1]["content"] == {"text": "Grüße 🙂"}


@pytest.mark.parametrize("path", ["/me/messages", "/v26.0/17841400000000101/messages"])
def test_path_may_name_the_account_with_or_without_version(open_chat, send, path):
    assert send(*open_chat, path=path).status == 200


def test_token_may_come_by_header_query_or_body(open_chat, call, control):
    token, igsid = open_chat
    order = {"recipient": {"id": igsid}, "message": {"text": "Hi"}}
    form = {"recipient": f'{{"id":"{igsid}"}}', "message": '{"text":"Hi"}', "access_token": token}
    assert call("POST", "/me/messages", token=token, order=order).status == 200
    assert call("POST", f"/me/messages?access_token={token}", order=order).status == 200
    assert call("POST", "/me/messages", form=form).status == 200
    log = control("requests", method="GET")["requests"]
    assert [row["token_in"] for row in log[-3:]] == ["header", "query", "body"]


def test_text_is_measured_in_bytes(open_chat, send):
    assert send(*open_chat, message={"text": "é" * 500}).status == 200
    error = send(*open_chat, message={"text": "é" * 500 + "a"}).json["error"]
    assert (error["code"], error["error_subcode"]) == (100, 2534015)


def test_window_closes_after_a_day_and_human_agent_has_a_week(open_chat, send, control, say):
    control("clock", advance=DAY + 1)
    late = send(*open_chat)
    assert late.status == 403
    assert late.json["error"]["message"] == "This message is sent outside of allowed window."
    assert late.json["error"]["code"] == 10
    assert late.json["error"]["error_subcode"] == 2534022
    tagged = {"messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT"}
    assert send(*open_chat, **tagged).status == 200
    assert send(*open_chat).status == 403, "an own message does not open the window"
    control("clock", advance=6 * DAY)
    assert send(*open_chat, **tagged).status == 403
    say("I am back")
    assert send(*open_chat).status == 200


def test_human_agent_can_be_unapproved_and_other_tags_are_gone(open_chat, send, control):
    assert send(*open_chat, tag="ACCOUNT_UPDATE").json["error"]["code"] == 100
    control("settings", human_agent="unapproved")
    answer = send(*open_chat, tag="HUMAN_AGENT")
    assert answer.status == 403
    assert answer.json["error"]["message"].startswith("To use 'Human Agent'")


def test_recipients_nobody_can_write_to(open_chat, send, control, call):
    token, igsid = open_chat
    igsids = {row["username"]: row for row in control("state", method="GET")["customers"]}
    stranger = igsids["jonas.outdoors"]["igsids"]["luna.ceramics"]
    elsewhere = igsids["mila.tests"]["igsids"]["north.bikes"]
    control("customers", username="mila.tests", blocked=True)
    seen = {}
    for name in ("1234567890123456", elsewhere, stranger, igsid):
        error = send(token, name).json["error"]
        seen[name] = (error["code"], error["error_subcode"])
    assert list(seen.values()) == [
        (100, 2534014),
        (100, 2018001),
        (10, 2534022),
        (100, 2534029),
    ]
    order = {"message": {"text": "To whom?"}}
    assert call("POST", "/me/messages", token=token, order=order).json["error"]["code"] == 100


def test_refusals_come_in_order(open_chat, send, control, call):
    """Token, access, recipient, window, body: the first that is wrong is told."""
    token, igsid = open_chat
    bad = {"message": {"text": ""}}
    control("clock", advance=DAY + 1)
    assert send(token, igsid, **bad).json["error"]["error_subcode"] == 2534022
    assert send(token, "123", **bad).json["error"]["error_subcode"] == 2534014
    control("accounts", username="luna.ceramics", messages_allowed=False)
    closed = send(token, "123", **bad)
    assert (closed.status, closed.json["error"]["error_subcode"]) == (403, 2534041)
    assert send("IGAAnone", "123", **bad).json["error"]["code"] == 190


@pytest.mark.parametrize(
    ("message", "subcode"),
    [
        ({}, 2534015),
        ({"text": " "}, 2534015),
        ({"text": 5}, 2534015),
        ({"text": "a", "attachment": {"type": "like_heart"}}, 2534015),
        ({"attachment": {"type": "hologram", "payload": {"url": "https://a.example"}}}, 2534015),
        ({"attachment": {"type": "image"}}, 2534015),
        ({"attachment": {"type": "image", "payload": {"url": "not a url"}}}, 2018008),
        ({"attachment": {"type": "image", "payload": {"attachment_id": "1"}}}, 2018074),
        ({"attachments": [{"type": "like_heart"}] * 11}, 2534015),
        ({"attachments": [{"type": "like_heart"}] * 2}, 2534015),
    ],
)
def test_bodies_that_are_not_sent(open_chat, send, control, message, subcode):
    answer = send(*open_chat, message=message)
    assert answer.status == 400
    assert answer.json["error"]["error_subcode"] == subcode
    [conversation] = control("state", method="GET")["conversations"]
    assert len(conversation["messages"]) == 1


def test_sender_actions_answer_without_a_mid(open_chat, send, say, site, control):
    mid = say()["mid"]
    react = {"payload": {"message_id": mid, "reaction": "love"}}
    for order in ({"sender_action": "typing_on"}, {"sender_action": "mark_seen"}):
        assert send(*open_chat, **order).json == {"recipient_id": open_chat[1]}
    assert send(*open_chat, sender_action="react", **react).status == 200
    assert send(*open_chat, sender_action="react").json["error"]["code"] == 100
    assert send(*open_chat, sender_action="dance").json["error"]["code"] == 100
    both = send(*open_chat, sender_action="typing_on", message={"text": "Hi"})
    assert both.json["error"]["error_subcode"] == 2018014
    control("flush")
    assert not [event for event in site.events if event["message"].get("is_echo")]


@pytest.mark.parametrize("echo", ["with", "after"])
def test_echo_carries_the_mid_of_the_answer(open_chat, send, site, control, echo):
    control("settings", echo=echo)
    mid = send(*open_chat, message={"text": "Yes"}).json["message_id"]
    control("flush")
    event = site.events[-1]
    assert event["sender"]["id"] == "17841400000000101"
    assert event["recipient"]["id"] == open_chat[1]
    assert event["message"] == {"mid": mid, "text": "Yes", "is_echo": True}


def test_echo_can_overtake_the_answer(open_chat, send, site, control):
    control("settings", echo="before")
    mid = send(*open_chat).json["message_id"]
    assert site.events[-1]["message"]["mid"] == mid


def test_echo_can_stay_away(open_chat, send, site, control):
    control("settings", echo="none")
    send(*open_chat)
    control("flush")
    assert len(site.events) == 1


def test_human_reply_from_the_shops_phone_is_an_echo_only(connect, control, site):
    connect()
    answer = control(
        "phone-reply", account="luna.ceramics", customer="mila.tests", text="From the counter"
    )
    control("flush")
    [event] = site.events
    assert event["message"]["mid"] == answer["mid"]
    assert event["message"]["is_echo"] is True
    assert event["recipient"]["id"] == answer["igsid"]


def test_missing_permission_is_refused(call, long_token, say, send):
    token = long_token(grant=["instagram_business_basic"])
    assert send(token, say()["igsid"]).json["error"]["code"] == 10


def test_error_on_the_second_call_only(open_chat, send, control):
    error = {"http": 429, "code": 613, "message": "Calls to this api have exceeded the limit."}
    control("faults", endpoint="messages", account="luna.ceramics", nth=2, error=error)
    answers = [send(*open_chat) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 429, 200]
    assert answers[1].json["error"]["code"] == 613


def test_error_for_some_calls_of_one_account(open_chat, send, control, connect, say):
    control("faults", endpoint="messages", account="north.bikes", times=1, error={"code": 2})
    other = (connect("north.bikes"), say(account="north.bikes")["igsid"])
    assert send(*open_chat).status == 200
    assert send(*other).json["error"]["code"] == 2
    assert send(*other).status == 200


def test_raw_answer_with_headers(open_chat, call, control):
    control(
        "faults",
        endpoint="me",
        status=502,
        body="<html>Bad gateway",
        headers={"X-App-Usage": '{"call_count":99}'},
    )
    answer = call("GET", "/me", token=open_chat[0])
    assert (answer.status, answer.body) == (502, b"<html>Bad gateway")
    assert answer.headers["X-App-Usage"] == '{"call_count":99}'
    control("faults", method="DELETE")
    assert call("GET", "/me", token=open_chat[0]).status == 200


def test_connection_lost_before_acting_sends_nothing(open_chat, send, site, control):
    control("faults", endpoint="messages", drop="before")
    with pytest.raises(OSError, match=r"without response|reset"):
        send(*open_chat)
    control("flush")
    assert len(site.events) == 1


def test_connection_lost_after_acting_has_sent_and_the_echo_comes(open_chat, send, site, control):
    control("faults", endpoint="messages", drop="after")
    with pytest.raises(OSError, match=r"without response|reset"):
        send(*open_chat, message={"text": "Lost?"})
    control("flush")
    assert site.texts == ["Hello", "Lost?"]
    log = control("requests", method="GET")["requests"]
    assert log[-1]["status"] == "dropped after acting"


def test_latency_delays_the_answer_but_not_the_others(open_chat, send, control, call):
    control("faults", endpoint="messages", latency=0.15)
    began = time.monotonic()
    assert call("GET", "/me", token=open_chat[0]).status == 200
    assert time.monotonic() - began < 0.1
    assert send(*open_chat).status == 200
    assert time.monotonic() - began >= 0.15


def test_a_fault_with_a_mistake_is_refused(call):
    for order in ({"endpoint": "nowhere"}, {"endpoint": "me", "drop": "twice"}, {"colour": 1}):
        answer = call("POST", "/_sandbox/faults", order=order, token="control-me")
        assert answer.status == 400


def picture(**card):
    return {"title": "Red bag", "subtitle": "in stock", **card}


def template(**payload):
    return {"attachment": {"type": "template", "payload": payload}}


OPEN = {"type": "web_url", "url": "https://shop.example/red", "title": "Open"}
ASK = {"type": "postback", "title": "Ask", "payload": "ASK"}


@pytest.mark.parametrize(
    "message",
    [
        template(template_type="generic", elements=[picture(buttons=[OPEN, ASK])]),
        template(template_type="generic", elements=[{"title": "a" * 80}] * 10),
        template(template_type="button", text="a" * 640, buttons=[ASK] * 3),
        {"attachment": {"type": "like_heart"}},
        {"attachments": {"type": "like_heart"}},
        {"attachment": {"type": "MEDIA_SHARE", "payload": {"id": "18012345678901234"}}},
    ],
)
def test_what_else_a_shop_may_send(open_chat, send, control, site, message):
    assert send(*open_chat, message=message).status == 200
    control("flush")
    [attachment] = site.events[-1]["message"]["attachments"]
    assert attachment["type"] in ("template", "like_heart", "ig_post")


@pytest.mark.parametrize(
    "payload",
    [
        {"template_type": "receipt"},
        {"template_type": "generic", "elements": []},
        {"template_type": "generic", "elements": [picture()] * 11},
        {"template_type": "generic", "elements": [{"title": "a" * 81}]},
        {"template_type": "generic", "elements": [picture(subtitle="a" * 81)]},
        {"template_type": "generic", "elements": [picture(buttons=[ASK] * 4)]},
        {"template_type": "generic", "elements": [picture(buttons=[{"type": "web_url"}])]},
        {"template_type": "button", "text": "a" * 641, "buttons": [ASK]},
        {"template_type": "button", "text": "Choose", "buttons": []},
    ],
)
def test_templates_have_limits(open_chat, send, payload):
    answer = send(*open_chat, message=template(**payload))
    assert answer.json["error"]["error_subcode"] == 2534015


def test_template_in_the_echo_is_a_card(open_chat, send, control, site):
    send(*open_chat, message=template(template_type="button", text="Choose", buttons=[ASK]))
    control("flush")
    [attachment] = site.events[-1]["message"]["attachments"]
    assert attachment["payload"] == {
        "generic": {"elements": [{"title": "Choose", "buttons": [ASK]}]}
    }


def quick(title="Red", payload="RED", **more):
    return {"content_type": "text", "title": title, "payload": payload, **more}


def test_quick_replies_are_offered_with_their_titles_cut(open_chat, send, control):
    offered = [quick("A very long title indeed"), *[quick()] * 12]
    answer = send(
        *open_chat,
        messaging_type="RESPONSE",
        message={"text": "Which colour?", "quick_replies": offered},
    )
    assert answer.status == 200
    [conversation] = control("state", method="GET")["conversations"]
    titles = [row["title"] for row in conversation["messages"][-1]["choices"]]
    assert titles == ["A very long title in", *["Red"] * 12]


@pytest.mark.parametrize(
    "quick_replies",
    [
        [quick()] * 14,
        [quick(content_type="user_email")],
        [quick(title=" ")],
        [quick(payload="a" * 1001)],
        [quick(payload=None)],
        "RED",
    ],
)
def test_quick_replies_have_limits(open_chat, send, quick_replies):
    message = {"text": "Which colour?", "quick_replies": quick_replies}
    assert send(*open_chat, message=message).json["error"]["code"] == 100


def test_quick_replies_go_with_a_text_only(open_chat, send):
    message = {"attachment": {"type": "like_heart"}, "quick_replies": [quick()]}
    assert send(*open_chat, message=message).json["error"]["error_subcode"] == 2534015


def test_messaging_types(open_chat, send):
    for kind in ("RESPONSE", "UPDATE"):
        assert send(*open_chat, messaging_type=kind).status == 200
    assert send(*open_chat, messaging_type="MESSAGE_TAG", tag="HUMAN_AGENT").status == 200
    assert send(*open_chat, messaging_type="MESSAGE_TAG").json["error"]["code"] == 100
    assert send(*open_chat, messaging_type="SHOUT").json["error"]["code"] == 100


def test_a_form_with_json_in_its_fields_sends_anything(open_chat, call, control):
    token, igsid = open_chat
    form = {"recipient": json.dumps({"id": igsid}), "messaging_type": "RESPONSE"}
    form["message"] = json.dumps({"text": "Which?", "quick_replies": [quick()]})
    assert call("POST", "/me/messages", token=token, form=form).status == 200
    del form["message"]
    form["sender_action"] = "mark_seen"
    assert call("POST", "/me/messages", token=token, form=form).status == 200
    [conversation] = control("state", method="GET")["conversations"]
    assert conversation["messages"][-1]["choices"][0]["payload"] == "RED"
    assert conversation["seen_at"]


def test_a_reply_names_the_message_it_answers(open_chat, send, say, control, site):
    mid = say("Is it red?")["mid"]
    assert send(*open_chat, reply_to={"mid": mid}).status == 200
    control("flush")
    assert site.events[-1]["message"]["reply_to"] == {"mid": mid}
    unknown = send(*open_chat, reply_to={"mid": "aWdnone"})
    assert unknown.json["error"]["error_subcode"] == 2534015
    control("settings", reply_to="refused")
    assert send(*open_chat, reply_to={"mid": mid}).json["error"]["code"] == 100


def test_a_reaction_is_love_or_an_emoji_and_has_no_webhook(open_chat, send, say, control, site):
    mid = say()["mid"]

    def react(action="react", **payload):
        return send(*open_chat, sender_action=action, payload={"message_id": mid, **payload})

    def reactions():
        [conversation] = control("state", method="GET")["conversations"]
        return conversation["messages"][-1]["reactions"]

    assert react(reaction="😮").status == 200
    assert reactions() == {"account": {"reaction": "other", "emoji": "😮"}}
    assert react(reaction="love").status == 200
    assert reactions() == {"account": {"reaction": "love", "emoji": "\u2764\ufe0f"}}
    assert react(reaction="smile").json["error"]["code"] == 100
    assert react("unreact").json == {"recipient_id": open_chat[1]}
    assert reactions() == {}
    control("flush")
    assert len(site.events) == 2
