import json
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from .conftest import APP_ID, BOTH, OTHER_REDIRECT, REDIRECT, SECRET

ASK = {
    "client_id": APP_ID,
    "redirect_uri": REDIRECT,
    "response_type": "code",
    "scope": BOTH,
    "state": "s p&ce",
}
LUNA = "17841400000000101"
DAY = 24 * 3600


@pytest.fixture
def decide(call):
    def decide(headers=None, **values):
        form = {**ASK, "account": LUNA, **values}
        return call("POST", "/oauth/authorize", form=form, headers=headers)

    return decide


def test_consent_page_shows_shops_and_permissions(call):
    page = call("GET", f"/oauth/authorize?{urlencode(ASK)}")
    text = page.body.decode()
    assert page.status == 200
    assert "luna.ceramics" in text
    assert "north.bikes" in text
    assert "Read and send messages" in text
    assert "http://localhost:8000" in page.headers["Content-Security-Policy"]


def test_consent_page_escapes_what_it_is_given(call):
    page = call("GET", f"/oauth/authorize?{urlencode({**ASK, 'state': '<script>'})}")
    assert b"<script>" not in page.body


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"client_id": "7"}, "Invalid platform app"),
        ({"redirect_uri": REDIRECT + "/"}, "Invalid redirect_uri"),
        ({"redirect_uri": "https://elsewhere.example/"}, "Invalid redirect_uri"),
        ({"response_type": "token"}, "Invalid response_type"),
        ({"scope": "business_basic"}, "Invalid scope"),
    ],
)
def test_wrong_ask_stays_on_the_platforms_own_page(call, decide, change, message):
    page = call("GET", f"/oauth/authorize?{urlencode({**ASK, **change})}")
    assert page.status == 400
    assert message in page.body.decode()
    assert decide(decision="allow", **change).status == 400


def test_allowing_goes_back_with_code_state_and_fragment(decide, exchange):
    answer = decide(decision="allow", **{"grant:instagram_business_manage_messages": "on"})
    location = answer.headers["Location"]
    query = parse_qs(urlsplit(location).query)
    assert answer.status == 302
    assert location.startswith(REDIRECT + "?code=AQ")
    assert location.endswith("#_")
    assert query["state"] == ["s p&ce"]
    assert exchange(query["code"][0]).json["permissions"] == BOTH.split(",")


def test_unticked_permission_is_not_granted_but_the_basic_one_is(decide, exchange):
    location = decide(decision="allow").headers["Location"]
    code = parse_qs(urlsplit(location).query)["code"][0]
    assert exchange(code).json["permissions"] == ["instagram_business_basic"]


def test_cancelling_goes_back_with_access_denied(decide):
    query = parse_qs(urlsplit(decide(decision="deny").headers["Location"]).query)
    assert query["error"] == ["access_denied"]
    assert query["error_reason"] == ["user_denied"]
    assert query["error_description"] == ["The user denied your request"]
    assert query["state"] == ["s p&ce"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_web_page_cannot_consent(decide, headers):
    assert decide(headers=headers, decision="allow").status == 403


def test_own_page_may_consent(decide, sandbox):
    assert decide(headers={"Origin": sandbox.url}, decision="allow").status == 302


def test_code_exchange_answers_the_flat_shape(control, exchange):
    answer = exchange(control("authorize", account="luna.ceramics", redirect_uri=REDIRECT)["code"])
    assert answer.status == 200
    assert answer.json["access_token"].startswith("IGAA")
    assert 165 < len(answer.json["access_token"]) < 200
    assert answer.json["user_id"] == 26487000000000101
    assert "expires_in" not in answer.json


def test_code_exchange_answers_the_wrapped_shape(control, exchange):
    control("settings", token_shape="wrapped")
    answer = exchange(control("authorize", account="luna.ceramics", redirect_uri=REDIRECT)["code"])
    [row] = answer.json["data"]
    assert row["user_id"] == "26487000000000101"
    assert row["permissions"] == BOTH


def test_code_works_once(control, exchange):
    code = control("authorize", account="luna.ceramics", redirect_uri=REDIRECT)["code"]
    exchange(code)
    again = exchange(code)
    assert again.status == 400
    assert again.json == {
        "error_type": "OAuthException",
        "code": 400,
        "error_message": "Matching code was not found or was already used",
    }


def test_code_lives_an_hour(control, exchange):
    code = control("authorize", account="luna.ceramics", redirect_uri=REDIRECT)["code"]
    control("clock", advance=3601)
    assert exchange(code).json["error_message"] == "No matching code found."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"client_secret": "meta-secret"}, "Invalid platform app"),
        ({"client_secret": "second-app-secret"}, "Invalid platform app"),
        ({"client_id": "7"}, "Invalid platform app"),
        ({"redirect_uri": OTHER_REDIRECT}, "identical to the one you used"),
        ({"redirect_uri": "https://elsewhere.example/"}, "Invalid redirect_uri"),
        ({"grant_type": "client_credentials"}, "Invalid grant_type"),
        ({"code": "AQwrong"}, "No matching code found."),
    ],
)
def test_wrong_exchange_is_refused_and_spends_nothing(control, exchange, change, message):
    code = control("authorize", account="luna.ceramics", redirect_uri=REDIRECT)["code"]
    wrong = exchange(code, **change)
    assert wrong.status == 400
    assert message in wrong.json["error_message"]
    assert exchange(code).status == 200


def test_code_exchange_reads_forms_only(control, call):
    code = control("authorize", account="luna.ceramics", redirect_uri=REDIRECT)["code"]
    fields = {
        "client_id": APP_ID,
        "client_secret": SECRET,
        "grant_type": "authorization_code",
        "redirect_uri": REDIRECT,
        "code": code,
    }
    assert call("POST", "/oauth/access_token", order=fields).status == 400
    assert call("POST", f"/oauth/access_token?{urlencode(fields)}").status == 400
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = call("POST", "/oauth/access_token", body=parts + "--b--\r\n", headers=headers)
    assert answer.status == 200


def test_short_token_becomes_one_of_sixty_days(call, short_token):
    query = f"grant_type=ig_exchange_token&client_secret={SECRET}&access_token={short_token()}"
    answer = call("GET", f"/v25.0/access_token?{query}").json
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 5183944
    assert call("GET", "/me", token=answer["access_token"]).status == 200


def test_exchange_is_get_only_and_wants_the_secret(call, short_token):
    token = short_token()
    path = "/access_token?grant_type=ig_exchange_token&client_secret="
    assert call("POST", path + SECRET, token=token).json["error"]["code"] == 100
    assert call("GET", path + "wrong", token=token).status == 400


def test_short_token_dies_after_an_hour_and_cannot_be_exchanged(call, control, short_token):
    token = short_token()
    control("clock", advance=3601)
    path = f"/access_token?grant_type=ig_exchange_token&client_secret={SECRET}"
    for answer in (call("GET", "/me", token=token), call("GET", path, token=token)):
        assert answer.status == 400
        assert answer.json["error"]["code"] == 190
        assert answer.json["error"]["error_subcode"] == 463
        assert "Session has expired on" in answer.json["error"]["message"]


def test_refresh_waits_a_day_then_counts_from_now(call, control, long_token):
    token = long_token()
    path = "/refresh_access_token?grant_type=ig_refresh_token"
    early = call("GET", path, token=token)
    assert (early.status, early.json["error"]["code"]) == (400, 100)
    control("clock", advance=DAY + 1)
    fresh = call("GET", path, token=token).json["access_token"]
    control("clock", advance=59.5 * DAY)
    assert call("GET", "/me", token=token).json["error"]["error_subcode"] == 463
    assert call("GET", path, token=token).json["error"]["error_subcode"] == 463
    assert call("GET", "/me", token=fresh).status == 200


def test_refresh_may_give_the_same_token_again(call, control, long_token):
    token = long_token()
    path = "/refresh_access_token?grant_type=ig_refresh_token"
    control("clock", advance=DAY + 1)
    assert call("GET", path, token=token).json["access_token"] != token
    control("settings", refreshed_token="same")
    assert call("GET", path, token=token).json["access_token"] == token
    control("clock", advance=59.5 * DAY)
    assert call("GET", "/me", token=token).status == 200


def test_short_token_cannot_be_refreshed(call, short_token):
    path = "/refresh_access_token?grant_type=ig_refresh_token"
    assert call("GET", path, token=short_token()).json["error"]["code"] == 100


def test_account_without_a_role_logs_in_and_then_every_call_fails(call, control, short_token):
    token = short_token("harbor.tea")
    paths = ("/access_token", "/refresh_access_token", "/v25.0/me", "/v25.0/me/subscribed_apps")
    for path in paths:
        error = call("GET", path, token=token).json["error"]
        assert error["code"] == 100
        assert error["message"] == "Unsupported request - method type: get"
    error = call("POST", "/v25.0/me/messages", token=token, order={}).json["error"]
    assert error["message"] == "Unsupported request - method type: post"
    control("settings", app_mode="live")
    assert call("GET", "/v25.0/me", token=token).status == 200


def test_ids_too_large_for_a_float_survive_as_digits(control, exchange):
    answer = exchange(control("authorize", account="north.bikes", redirect_uri=REDIRECT)["code"])
    assert b'"user_id":26487000000000202,' in answer.body
    assert json.loads(answer.body)["user_id"] == 26487000000000202
