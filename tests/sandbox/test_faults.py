"""Every error of the platform on demand, for the calls that are meant and no others."""

import json

import pytest

from instamsg.sandbox.error_table import ERRORS

USAGE = {"17841400000000101": [{"type": "instagram", "estimated_time_to_regain_access": 7}]}


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_can_be_had_by_its_name(open_chat, send, control, name):
    control("faults", endpoint="messages", error=name, times=1)
    answer = send(*open_chat)
    code, _, subcode = name.partition("/")
    error = answer.json["error"]
    assert error["code"] == int(code)
    assert error.get("error_subcode") == (int(subcode) if subcode else None)
    assert answer.status == ERRORS[name]["http"]
    assert error["message"]
    assert error["fbtrace_id"]
    assert send(*open_chat).status == 200


def test_errors_are_listed(control):
    assert control("errors", method="GET")["errors"] == ERRORS


def test_an_error_of_ones_own_has_every_part(open_chat, send, control):
    parts = {
        "code": 4,
        "subcode": 99,
        "message": "Slow down",
        "type": "OAuthException",
        "is_transient": True,
        "error_user_title": "Wait",
        "error_user_msg": "Please wait a while.",
        "error_data": {"blame_field_specs": [["recipient"]]},
    }
    headers = {"X-Business-Use-Case-Usage": json.dumps(USAGE)}
    order = {"error": {"http": 429, **parts}, "headers": headers}
    control("faults", endpoint="messages", **order)
    answer = send(*open_chat)
    assert answer.status == 429
    error = answer.json["error"]
    assert error.pop("fbtrace_id")
    assert error.pop("error_subcode") == parts.pop("subcode")
    assert error == parts
    assert json.loads(answer.headers["X-Business-Use-Case-Usage"]) == USAGE


@pytest.mark.parametrize(
    ("how", "refused"),
    [
        ({"nth": 2}, [2]),
        ({"times": 2}, [1, 2]),
        ({"nth": 3, "times": 2}, [3, 4]),
        ({"every": 3}, [3, 6]),
        ({"every": 2, "times": 2}, [2, 4]),
        ({"nth": 1, "every": 3}, [1, 4, 7]),
        ({}, [1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_which_calls_are_meant(open_chat, send, control, how, refused):
    control("faults", endpoint="messages", error="2", **how)
    answers = [send(*open_chat) for _ in range(7)]
    assert [at for at, answer in enumerate(answers, 1) if answer.status != 200] == refused


def test_one_customer_can_be_meant(open_chat, send, say, control):
    other = say(customer="amara.k")["igsid"]
    control("faults", endpoint="messages", customer="amara.k", error="551")
    assert send(*open_chat).status == 200
    assert send(open_chat[0], other).json["error"]["code"] == 551
    control("faults", method="DELETE")
    control("faults", endpoint="messages", customer=other, error="551")
    assert send(*open_chat).status == 200
    assert send(open_chat[0], other).json["error"]["code"] == 551


def test_messages_can_be_meant_by_their_text(open_chat, send, control):
    control("faults", endpoint="messages", text="#7", drop="after")
    assert send(*open_chat, message={"text": "number #6"}).status == 200
    with pytest.raises(OSError, match=r"without response|reset"):
        send(*open_chat, message={"text": "number #7"})
    assert send(*open_chat, sender_action="typing_on").status == 200


@pytest.mark.parametrize(
    "order",
    [
        {"error": "190/9"},
        {"error": {"kode": 1}},
        {"times": 0},
        {"every": 1.5},
    ],
)
def test_a_mistake_in_a_fault_is_told(call, order):
    order = {"endpoint": "messages", **order}
    answer = call("POST", "/_sandbox/faults", order=order, token="control-me")
    assert answer.status == 400
    assert answer.json["error"]


def test_trouble_befalls_every_send_until_it_is_switched_off(open_chat, send, control):
    control("settings", trouble="refuses")
    assert [send(*open_chat).json["error"]["code"] for _ in range(2)] == [551, 551]
    control("settings", trouble="loses")
    with pytest.raises(OSError, match=r"without response|reset"):
        send(*open_chat, message={"text": "Lost?"})
    control("settings", trouble="none")
    assert send(*open_chat).status == 200
    texts = [row["text"] for row in control("sent", method="GET")["sent"]]
    assert texts == ["Lost?", "Hi there"]
