import pytest

DAY = 24 * 3600


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
