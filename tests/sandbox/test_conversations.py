import json

import pytest

DAY = 24 * 3600
WHO = {"account": "luna.ceramics", "customer": "mila.tests"}


@pytest.fixture
def read(call, connect):
    token = connect()

    def read(path):
        return call("GET", f"/v25.0/{path}", token=token)

    return read


def test_list_is_newest_first_and_pages(read, say, control):
    for customer in ("mila.tests", "jonas.outdoors", "amara.k"):
        say(customer=customer)
    control("say", account="luna.ceramics", customer="mila.tests", text="Again")
    path = "me/conversations?platform=instagram&fields=id,updated_time,participants&limit=2"
    first = read(path).json
    names = [row["participants"]["data"][1]["username"] for row in first["data"]]
    assert names[0] == "mila.tests"
    assert first["data"][0]["participants"]["data"][0]["id"] == "17841400000000101"
    after = first["paging"]["cursors"]["after"]
    rest = read(f"{path}&after={after}").json
    assert len(rest["data"]) == 1
    assert "paging" not in rest
    assert "access_token" not in first["paging"]["next"]


def test_list_can_be_narrowed_to_one_person(read, say):
    igsid = say()["igsid"]
    say(customer="amara.k")
    assert len(read(f"me/conversations?user_id={igsid}").json["data"]) == 1


def test_asking_for_too_much_is_an_error_of_the_platform(read, say):
    say()
    answer = read("me/conversations?fields=messages{id}&limit=21")
    assert (answer.status, answer.json["error"]["code"]) == (500, 1)
    assert read("me/conversations?fields=messages{id}&limit=20").status == 200


def test_one_conversation_lists_its_messages_newest_first(read, say):
    mids = [say(text)["mid"] for text in ("one", "two")]
    [row] = read("me/conversations").json["data"]
    answer = read(f"{row['id']}?fields=messages").json
    assert [each["id"] for each in answer["messages"]["data"]] == mids[::-1]
    nested = read(f"{row['id']}?fields=messages{{id,message,from}}").json["messages"]["data"]
    assert [each["message"] for each in nested] == ["two", "one"]
    assert nested[0]["from"]["username"] == "mila.tests"


def test_one_message_has_its_sides_and_parts(read, control):
    said = control("say", account="luna.ceramics", customer="mila.tests", image=True)
    answer = read(f"{said['mid']}?fields=id,created_time,from,to,message,attachments").json
    assert answer["id"] == said["mid"]
    assert answer["from"] == {"username": "mila.tests", "id": said["igsid"]}
    assert answer["to"]["data"][0]["username"] == "luna.ceramics"
    assert answer["message"] == ""
    assert "/ig_messaging_cdn/" in answer["attachments"]["data"][0]["image_data"]["url"]
    assert answer["created_time"].endswith("+0000")


def test_only_the_twenty_newest_tell_what_they_say(read, say):
    mids = [say(f"number {number}")["mid"] for number in range(21)]
    assert read(f"{mids[1]}?fields=message").json["message"] == "number 1"
    assert read(f"{mids[0]}?fields=message").json["error"]["code"] == 9000001


def test_stale_requests_are_hidden_until_answered(read, say, control):
    say()
    control("clock", advance=31 * DAY)
    # The token is still good for another month; only the request has aged.
    assert read("me/conversations").json == {"data": []}
    control("phone-reply", account="luna.ceramics", customer="mila.tests", text="Sorry, late")
    assert len(read("me/conversations").json["data"]) == 1


def test_people_without_a_role_are_invisible_until_the_app_is_live(read, say, control):
    say()
    control("customers", username="mila.tests", tester=False)
    assert read("me/conversations").json == {"data": []}
    control("settings", app_mode="live")
    assert len(read("me/conversations").json["data"]) == 1


def test_others_messages_and_unknown_fields_are_refused(read, say):
    foreign = say(account="north.bikes")["mid"]
    assert read(foreign).json["error"]["error_subcode"] == 33
    assert read("me/conversations?fields=colour").json["error"]["code"] == 100
    assert read("me/conversations?limit=many").json["error"]["code"] == 100


def test_history_is_there_to_be_imported_and_makes_no_webhook(read, control, site):
    control("history", **WHO, count=30, picture_every=10, text="Line {n}")
    control("flush")
    assert site.received == []
    [row] = read("me/conversations").json["data"]
    asked = f"{row['id']}?fields=messages.limit(10){{id,message,created_time,from}}"
    page = read(asked).json["messages"]
    texts = [each["message"] for each in page["data"]]
    assert texts == ["", "Line 29", "Line 28", *[f"Line {n}" for n in range(27, 20, -1)]]
    assert page["data"][0]["created_time"] > page["data"][1]["created_time"]
    names = {each["from"]["username"] for each in page["data"]}
    assert names == {"luna.ceramics", "mila.tests"}


def test_messages_page_to_the_end_by_their_next(read, control, sandbox):
    mids = control("history", **WHO, count=55)["mids"]
    [row] = read("me/conversations").json["data"]
    page = read(f"{row['id']}?fields=messages").json["messages"]
    seen = [each["id"] for each in page["data"]]
    while "paging" in page:
        page = read(page["paging"]["next"].removeprefix(f"{sandbox.url}/v25.0/")).json
        seen += [each["id"] for each in page["data"]]
    assert seen == mids[::-1]


def test_history_stands_before_what_is_said_today_and_leaves_the_window_shut(
    control, say, send, connect
):
    token = connect()
    igsid = control("history", **WHO, count=3)["igsid"]
    assert send(token, igsid).json["error"]["error_subcode"] == 2534022
    say("Today")
    control("history", **WHO, count=2, text="Long ago {n}", age=90 * DAY)
    [conversation] = control("state", method="GET")["conversations"]
    texts = [row["content"]["text"] for row in conversation["messages"]]
    assert texts == ["Long ago 1", "Long ago 2", *[f"Old message {n}" for n in (1, 2, 3)], "Today"]
    assert send(token, igsid).status == 200


def test_page_that_is_too_big_depends_on_a_setting(read, say, control):
    say()
    assert read("me/conversations?limit=50").status == 200
    control("settings", big_page_limit=5)
    answer = read("me/conversations?limit=6")
    assert (answer.status, answer.json["error"]["code"]) == (500, 1)
    assert read("me/conversations?limit=5").status == 200


def test_calls_are_counted_by_the_second_when_asked_to(read, say, control):
    say()
    control("settings", conversation_rate=2)
    codes = [read("me/conversations").json.get("error", {}).get("code") for _ in range(3)]
    assert codes == [None, None, 613]


@pytest.mark.parametrize(
    ("kind", "part", "holds"),
    [
        ("video", "attachments", "video_data"),
        ("audio", "attachments", "file_url"),
        ("post", "shares", "link"),
        ("story_mention", "story", "mention"),
        ("story_reply", "story", "reply_to"),
        ("unsupported", "is_unsupported", "true"),
    ],
)
def test_parts_have_the_names_of_this_api(read, control, kind, part, holds):
    mid = control("say", **WHO, kind=kind)["mid"]
    answer = read(f"{mid}?fields=message,attachments,shares,story,is_unsupported").json
    assert holds in json.dumps(answer[part])


def test_shared_story_cannot_be_read_back(read, control):
    mid = control("say", **WHO, kind="story")["mid"]
    answer = read(f"{mid}?fields=message,attachments,shares,story").json
    assert answer == {"message": "", "id": mid}
