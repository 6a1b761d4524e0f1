"""How fast a shop may send, what the usage headers say, and that slow answers hold up nobody."""

import json
import threading
import time

import pytest


def usage(answer, account="17841400000000101"):
    [row] = json.loads(answer.headers["X-Business-Use-Case-Usage"])[account]
    return row


def test_no_limit_and_no_headers_unless_set(open_chat, send):
    answers = [send(*open_chat) for _ in range(15)]
    assert {answer.status for answer in answers} == {200}
    assert "X-App-Usage" not in answers[0].headers
    assert "X-Business-Use-Case-Usage" not in answers[0].headers


@pytest.mark.parametrize(("code", "minutes"), [("613", 0), ("80002", 1)])
def test_the_call_above_the_limit_is_refused(open_chat, send, control, code, minutes):
    control("settings", send_limit=code, send_rate=3)
    answers = [send(*open_chat) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 400]
    assert answers[3].json["error"]["code"] == int(code)
    assert usage(answers[3])["estimated_time_to_regain_access"] == minutes
    assert usage(answers[3])["call_count"] == 100


def test_the_limit_is_each_accounts_own_and_over_after_a_second(
    open_chat, send, control, connect, say
):
    other = connect("north.bikes"), say(account="north.bikes")["igsid"]
    control("settings", send_limit="613", send_rate=1)
    assert [send(*open_chat).status for _ in range(2)] == [200, 400]
    assert send(*other).status == 200
    time.sleep(1.05)
    assert send(*open_chat).status == 200


def test_sound_and_video_have_a_limit_of_their_own(open_chat, send, control):
    control("settings", send_limit="613", media_rate=1, fetch_media="off")
    payload = {"url": "https://shop.example/a"}
    video = {"attachment": {"type": "video", "payload": payload}}
    image = {"attachment": {"type": "image", "payload": payload}}
    assert [send(*open_chat, message=video).status for _ in range(2)] == [200, 400]
    assert send(*open_chat, message=image).status == 200


def test_actions_count_and_refused_calls_do_not(open_chat, send, control):
    control("settings", send_limit="613", send_rate=2)
    assert send(*open_chat, message={"text": ""}).json["error"]["code"] == 100
    assert send(*open_chat, sender_action="dance").json["error"]["code"] == 100
    assert send(*open_chat, sender_action="typing_on").status == 200
    assert send(*open_chat).status == 200
    assert send(*open_chat, sender_action="mark_seen").json["error"]["code"] == 613


def test_usage_headers_come_with_every_graph_answer(open_chat, call, send, control):
    control("settings", app_usage={"call_count": 28}, account_usage={"call_count": 91})
    answers = [
        send(*open_chat),
        send(*open_chat, message={"text": ""}),
        call("GET", "/me", token=open_chat[0]),
        call("GET", "/me/conversations", token=open_chat[0]),
    ]
    assert [answer.status for answer in answers] == [200, 400, 200, 200]
    for answer in answers:
        assert json.loads(answer.headers["X-App-Usage"]) == {"call_count": 28}
        assert usage(answer)["call_count"] == 91
    control("settings", app_usage={}, account_usage={})
    assert "X-App-Usage" not in send(*open_chat).headers


def test_a_hundred_slow_calls_are_answered_side_by_side(open_chat, send, control):
    control("settings", latency=0.5)
    began = time.monotonic()
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(send(*open_chat).status))
        for _ in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 100
    assert time.monotonic() - began < 5


def test_settings_with_a_mistake_are_refused(call):
    for order in ({"send_limit": "5"}, {"app_usage": 5}, {"latency": -1}, {"fetch_media": True}):
        answer = call("POST", "/_sandbox/settings", order=order, token="control-me")
        assert answer.status == 400
