import pytest

LUNA, LUNA_SCOPED = "17841400000000101", "26487000000000101"


@pytest.mark.parametrize("path", ["/me", "/v25.0/me", f"/v26.0/{LUNA}"])
def test_me_answers_with_two_different_ids(call, long_token, path):
    fields = "id,user_id,username,name,account_type,profile_picture_url"
    answer = call("GET", f"{path}?fields={fields}", token=long_token()).json
    assert answer["id"] == LUNA_SCOPED
    assert answer["user_id"] == LUNA
    assert answer["username"] == "luna.ceramics"
    assert answer["account_type"] == "BUSINESS"


def test_me_gives_the_id_unasked(call, long_token):
    answer = call("GET", "/me?fields=username", token=long_token()).json
    assert answer == {"username": "luna.ceramics", "id": LUNA_SCOPED}


def test_me_comes_wrapped_when_asked_to(call, control, long_token):
    control("settings", me_shape="wrapped")
    answer = call("GET", "/me?fields=user_id", token=long_token()).json
    assert answer == {"data": [{"user_id": LUNA, "id": LUNA_SCOPED}]}


def test_unset_name_is_absent(call, control, long_token):
    control("accounts", username="luna.ceramics", name="")
    answer = call("GET", "/me?fields=name,username", token=long_token()).json
    assert "name" not in answer


def test_profile_picture_is_a_picture(call, long_token, sandbox):
    url = call("GET", "/me?fields=profile_picture_url", token=long_token()).json
    picture = call("GET", url["profile_picture_url"].removeprefix(sandbox.url))
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.body.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("path", "code", "subcode"),
    [
        ("/me?fields=shoe_size", 100, None),
        (f"/{LUNA_SCOPED}/subscribed_apps", 100, 33),
        ("/17841400000000202", 100, 33),
        ("/v25.0/v25.0/me", 2500, None),
    ],
)
def test_wrong_paths_and_fields_are_refused(call, long_token, path, code, subcode):
    error = call("GET", path, token=long_token()).json["error"]
    assert error["code"] == code
    assert error.get("error_subcode") == subcode
    assert error["fbtrace_id"].startswith("A")


def test_missing_and_garbled_tokens_are_told_apart(call):
    assert call("GET", "/me").json["error"]["code"] == 2500
    error = call("GET", "/me", token="gAAAAAB-sealed").json["error"]
    assert error["code"] == 190
    assert "Cannot parse access token" in error["message"]


def test_revoked_token_answers_190_with_its_subcode_until_a_new_login(call, control, long_token):
    token = long_token()
    control("revoke", account="luna.ceramics", subcode=460)
    error = call("GET", "/me", token=token).json["error"]
    assert (error["code"], error["error_subcode"]) == (190, 460)
    assert call("GET", "/me", token=long_token()).status == 200


def test_subscribing_by_query_json_or_form(call, long_token):
    token, path = long_token(), "/v25.0/me/subscribed_apps"
    assert call("GET", path, token=token).json == {"data": []}
    assert call("POST", f"{path}?subscribed_fields=messages", token=token).json["success"]
    order = {"subscribed_fields": ["messages", "messaging_seen"]}
    assert call("POST", path, token=token, order=order).json["success"]
    [row] = call("GET", path, token=token).json["data"]
    assert row["subscribed_fields"] == ["messages", "messaging_seen"]
    form = {"subscribed_fields": "messages", "access_token": token}
    assert call("POST", f"/{LUNA}/subscribed_apps", form=form).json["success"]
    assert call("DELETE", path, token=token).json == {"success": True}
    assert call("GET", path, token=token).json == {"data": []}


def test_one_unknown_field_rejects_the_whole_subscription(call, long_token):
    token, path = long_token(), "/v25.0/me/subscribed_apps"
    answer = call("POST", f"{path}?subscribed_fields=messages,messaging_foo", token=token)
    assert answer.status == 400
    assert "subscribed_fields[1]" in answer.json["error"]["message"]
    assert '"messaging_foo"' in answer.json["error"]["message"]
    assert call("GET", path, token=token).json == {"data": []}


def test_subscribing_needs_the_permission(call, long_token):
    token = long_token(grant=["instagram_business_basic"])
    path = "/v25.0/me/subscribed_apps?subscribed_fields=messages"
    error = call("POST", path, token=token).json["error"]
    assert error["code"] == 200
    assert "instagram_business_manage_messages" in error["message"]


def test_personal_account_tells_what_it_is_and_can_do_no_messaging(call, long_token):
    token = long_token("theo.at.home")
    answer = call("GET", "/me?fields=account_type", token=token).json
    assert answer["account_type"] == "PERSONAL"
    path = "/me/subscribed_apps?subscribed_fields=messages"
    assert call("POST", path, token=token).json["error"]["code"] == 3


def test_profile_opens_once_the_person_has_written(call, control, connect, say):
    token = connect()
    state = control("state", method="GET")
    igsid = state["customers"][0]["igsids"]["luna.ceramics"]
    path = f"/v25.0/{igsid}?fields=name,username,profile_pic"
    before = call("GET", path, token=token)
    assert (before.status, before.json["error"]["code"]) == (500, 230)
    assert say()["igsid"] == igsid
    answer = call("GET", path, token=token).json
    assert answer["name"] == "Mila Novak"
    assert answer["username"] == "mila.tests"
    assert answer["id"] == igsid


def test_profile_is_scoped_to_the_account(call, connect, say):
    igsid = say()["igsid"]
    assert say(account="north.bikes")["igsid"] != igsid
    error = call("GET", f"/{igsid}", token=connect("north.bikes")).json["error"]
    assert (error["code"], error["error_subcode"]) == (100, 33)


def test_profile_personas_and_unknown_fields(call, control, connect, say):
    token, igsid = connect(), say()["igsid"]
    error = call("GET", f"/{igsid}?fields=name,biography", token=token).json["error"]
    assert error["message"] == "(#100) Tried accessing nonexisting field (biography)"
    control("customers", username="mila.tests", profile="no_consent")
    answer = call("GET", f"/{igsid}", token=token)
    assert (answer.status, answer.json["error"]["code"]) == (500, 230)
    control("customers", username="mila.tests", profile="no_match")
    assert call("GET", f"/{igsid}", token=token).json["error"]["code"] == 9010
    control("customers", username="mila.tests", profile="visible", name="")
    assert "name" not in call("GET", f"/{igsid}", token=token).json


def test_blocked_person_cannot_be_read(call, control, connect, say):
    token, igsid = connect(), say()["igsid"]
    control("customers", username="mila.tests", blocked=True)
    answer = call("GET", f"/{igsid}", token=token)
    assert (answer.status, answer.json["error"]["code"]) == (500, 230)


def test_parts_of_a_profile_can_be_missing_or_null(call, control, connect, say):
    token, igsid = connect(), say()["igsid"]
    gaps = {"missing_fields": ["profile_pic"], "null_fields": ["name"]}
    control("customers", username="mila.tests", **gaps)
    answer = call("GET", f"/{igsid}?fields=name,username,profile_pic", token=token).json
    assert answer == {"name": None, "username": "mila.tests", "id": igsid}


def test_picture_of_a_person_is_a_picture(call, connect, say, sandbox):
    answer = call("GET", f"/{say()['igsid']}?fields=profile_pic", token=connect()).json
    picture = call("GET", answer["profile_pic"].removeprefix(sandbox.url))
    assert picture.body.startswith(b"\x89PNG")
