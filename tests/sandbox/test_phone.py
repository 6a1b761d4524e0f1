import json

import pytest

from instamsg.sandbox.taps import KINDS

CHAT = "account=luna.ceramics&customer=mila.tests"
WHO = {"account": "luna.ceramics", "customer": "mila.tests"}
ORDER = {"account": "luna.ceramics", "customer": "mila.tests", "what": "text", "text": "Hello"}


@pytest.fixture
def page(call):
    def page(path=f"/phone/chat?{CHAT}"):
        answer = call("GET", path)
        assert answer.status == 200
        return answer.body.decode()

    return page


def test_visitor_chooses_who_to_be_and_whom_to_write_to(page, connect):
    connect("north.bikes")
    text = page("/phone/")
    assert "Mila Novak" in text
    assert "@luna.ceramics · not connected yet" in text
    assert "@north.bikes · connected" in text
    assert "theo.at.home" not in text


def test_chat_says_when_the_shop_is_not_connected_and_leads_to_the_site(page, connect):
    text = page()
    assert "Luna Ceramics is not connected yet" in text
    assert 'href="http://localhost:8000/"' in text
    connect()
    assert "not connected" not in page()


def test_writing_without_scripts(call, connect, site, control, page):
    connect()
    answer = call("POST", "/phone/say", form=ORDER)
    assert (answer.status, answer.headers["Location"]) == (303, f"/phone/chat?{CHAT}")
    control("flush")
    assert site.texts == ["Hello"]
    assert "<p>Hello</p>" in page()
    assert "Delivered" in page()


def test_sending_a_picture(call, connect, site, control, page):
    connect()
    call("POST", "/phone/say", form={**ORDER, "what": "picture"})
    control("flush")
    assert site.events[0]["message"]["attachments"][0]["type"] == "image"
    assert '<img src="/ig_messaging_cdn/' in page()


def test_empty_message_is_not_sent(call, control):
    call("POST", "/phone/say", form={**ORDER, "text": "  "})
    assert control("state", method="GET")["conversations"] == []


def test_answer_of_the_shop_appears_escaped(connect, say, send, page):
    token = connect()
    send(token, say()["igsid"], message={"text": "<b>Yes</b> & no"})
    assert "&lt;b&gt;Yes&lt;/b&gt; &amp; no" in page()
    assert "<b>Yes" not in page()


def test_polling_answers_only_when_something_changed(call, say):
    first = call("GET", f"/phone/messages?{CHAT}")
    assert first.status == 200
    path = f"/phone/messages?{CHAT}&after={first.headers['X-Revision']}"
    assert call("GET", path).status == 204
    say("New")
    assert b"<p>New</p>" in call("GET", path).body


def test_typing_and_seen_show(connect, say, send, page):
    token, igsid = connect(), say()["igsid"]
    send(token, igsid, sender_action="typing_on")
    assert "Luna Ceramics is typing" in page()
    send(token, igsid, sender_action="typing_off")
    send(token, igsid, sender_action="mark_seen")
    assert "Seen" in page()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_another_web_page_cannot_write(call, control, origin):
    assert call("POST", "/phone/say", form=ORDER, headers={"Origin": origin}).status == 403
    assert control("state", method="GET")["conversations"] == []


def test_pages_allow_nothing_inline(call):
    for path in ("/phone/", f"/phone/chat?{CHAT}", "/oauth/authorize"):
        answer = call("GET", path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert b" style=" not in answer.body
        assert b"<script>" not in answer.body


@pytest.fixture
def press(call):
    """A button of the phone, pressed without scripts."""

    def press(path, **values):
        form = {"account": "luna.ceramics", "customer": "mila.tests", **values}
        return call("POST", f"/phone/{path}", form=form)

    return press


@pytest.mark.parametrize("kind", KINDS)
def test_everything_below_the_box_is_sent_and_shown(connect, press, page, control, site, kind):
    connect()
    assert f'value="{kind}"' in page()
    assert press("say", what=kind, text="typed").status == 303
    control("flush")
    [event] = site.events
    assert ("typed" in json.dumps(event)) is (kind == "story_reply")
    assert '<li id="m-' in page()


def test_reacting_and_taking_it_back(connect, say, control, press, page, site):
    connect()
    say()
    mid = control("phone-reply", **WHO, text="Yes")["mid"]
    assert "Take the reaction back" not in page()
    press("act", mid=mid, what="react:😂")
    assert "You reacted with" in page()
    press("act", mid=mid, what="unreact")
    assert "You reacted with" not in page()
    control("flush")
    assert [event["reaction"]["action"] for event in site.events if "reaction" in event] == [
        "react",
        "unreact",
    ]


def test_editing_and_unsending_ones_own_message(connect, say, press, page):
    connect()
    mid = say("Helo")["mid"]
    press("act", mid=mid, what="edit", text="Hello")
    assert "<p>Hello</p>" in page()
    assert "Edited · " in page()
    press("act", mid=mid, what="unsend")
    assert "Taken back" in page()
    assert "Hello" not in page()
    assert press("act", mid=mid, what="unsend").status == 400


def test_customer_cannot_take_back_what_the_shop_wrote(connect, say, control, press, page):
    say()
    mid = control("phone-reply", **WHO, text="Ours")["mid"]
    assert press("act", mid=mid, what="unsend").status == 400
    assert press("act", mid=mid, what="edit", text="Theirs").status == 400
    assert "<p>Ours</p>" in page()


def test_answering_a_message_quotes_it(say, control, press, page):
    say()
    mid = control("phone-reply", **WHO, text="Blue or <red>?")["mid"]
    press("act", mid=mid, what="reply", text="Blue")
    assert "Reply to “Blue or &lt;red&gt;?”" in page()


def test_ice_breaker_is_offered_until_something_is_said(connect, press, page, control, site):
    connect()
    assert "When are you open?</button>" in page()
    press("tap", choice="0")
    control("flush")
    assert site.events[0]["postback"]["payload"] == "HOURS"
    assert "When are you open?</button>" not in page()


def test_quick_reply_is_offered_until_something_follows(connect, say, send, press, page, site):
    token = connect()
    choices = [{"content_type": "text", "title": "Red", "payload": "COLOR_RED"}]
    message = {"text": "Which one?", "quick_replies": choices}
    mid = send(token, say()["igsid"], message=message).json["message_id"]
    assert "Red</button>" in page()
    press("tap", mid=mid, choice="0")
    assert "Red</button>" not in page()
    assert press("tap", mid=mid, choice="1").status == 400


def test_button_of_a_card_is_a_postback(connect, say, send, press, page, control, site):
    token = connect()
    button = {"type": "postback", "title": "Order", "payload": "ORDER"}
    payload = {"template_type": "generic", "elements": [{"title": "Mug", "buttons": [button]}]}
    message = {"attachment": {"type": "template", "payload": payload}}
    mid = send(token, say()["igsid"], message=message).json["message_id"]
    say("Another word")
    assert "<b>Mug</b>" in page()
    press("tap", mid=mid, choice="0")
    control("flush")
    assert site.events[-1]["postback"]["payload"] == "ORDER"


def test_opening_the_chat_tells_once_what_was_seen(connect, say, control, page, site, call):
    connect()
    say()
    mid = control("phone-reply", **WHO, text="Yes")["mid"]
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    call("GET", f"/phone/chat?{CHAT}", headers=elsewhere)
    control("flush")
    assert not any("read" in event for event in site.events)
    for _ in range(3):
        page()
    control("flush")
    assert [event["read"] for event in site.events if "read" in event] == [{"mid": mid}]


@pytest.mark.parametrize("path", ["act", "tap"])
def test_another_web_page_cannot_press_a_button(call, say, path):
    form = {**ORDER, "mid": say()["mid"], "what": "unsend", "choice": "0"}
    headers = {"Origin": "https://evil.example"}
    assert call("POST", f"/phone/{path}", form=form, headers=headers).status == 403


@pytest.mark.parametrize("path", ["/static/sandbox.css", "/static/phone.js"])
def test_files_of_the_pages(call, path):
    assert call("GET", path).status == 200


def test_unknown_people_are_a_page_not_an_error(call):
    assert call("GET", "/phone/chat?account=luna.ceramics&customer=nobody").status == 404
    assert call("POST", "/phone/say", form={}).status == 404


@pytest.mark.parametrize(
    "message",
    [
        {"attachments": "none", "reply_to": "nobody"},
        {"attachments": [7, {"type": "image", "payload": []}, {"type": "<b>"}]},
        {"is_unsupported": True},
        {"text": 5},
    ],
)
def test_odd_messages_are_shown_somehow(control, page, message):
    control("say", account="luna.ceramics", customer="mila.tests", message=message)
    assert "<b>" not in page()


def test_cards_have_their_links_and_choices(connect, say, send, page):
    token, igsid = connect(), say()["igsid"]
    buttons = [
        {"type": "web_url", "url": "https://shop.example/red", "title": "Look"},
        {"type": "web_url", "url": "javascript:alert(1)", "title": "Trap"},
        {"type": "postback", "title": "Ask", "payload": "ASK"},
    ]
    card = {"title": "Red bag", "buttons": buttons}
    payload = {"template_type": "generic", "elements": [card]}
    send(token, igsid, message={"attachments": [{"type": "template", "payload": payload}]})
    text = page()
    assert 'href="https://shop.example/red" rel="noreferrer">Look</a>' in text
    assert "javascript" not in text
    assert '<button name="choice" value="0">Ask</button>' in text


def test_visitor_switches_trouble_on_and_the_chat_says_so(call, page, control):
    assert "Trouble to play with" in page("/phone/")
    answer = call("POST", "/phone/trouble", form={"trouble": "refuses"})
    assert (answer.status, answer.headers["Location"]) == (303, "/phone/")
    assert control("settings")["trouble"] == "refuses"
    assert 'value="refuses" checked' in page("/phone/")
    assert "Every answer is refused" in page()
    call("POST", "/phone/trouble", form={"trouble": "none"})
    assert "Every answer is refused" not in page()


def test_trouble_is_not_switched_by_other_websites_or_unknown(call, control):
    other = {"Origin": "https://evil.example"}
    form = {"trouble": "loses"}
    assert call("POST", "/phone/trouble", form=form, headers=other).status == 403
    assert call("POST", "/phone/trouble", form={"trouble": "flood"}).status == 400
    assert control("settings")["trouble"] == "none"
