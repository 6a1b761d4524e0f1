"""What each answer of Instagram means, by the platform reference's table of errors."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from accounts import connecting, instagram_messages
from accounts import instagram_errors as errors
from accounts.instagram import InstagramClient
from accounts.instagram_errors import (
    InstagramError,
    NoAnswer,
    NotSent,
    Passing,
    RateLimited,
    Refused,
    TokenRejected,
    Withheld,
    meaning_of,
)

UNSUPPORTED = "Unsupported request - method type: post"


@pytest.mark.parametrize(
    ("status", "code", "subcode", "message", "meaning"),
    [
        (500, -1, None, "", NoAnswer),
        (500, 1, 99, "", NoAnswer),
        (500, 1, 1357046, "Received invalid JSON reply", NoAnswer),
        (503, 2, None, "", NoAnswer),
        (502, None, None, "", NoAnswer),
        (400, 3, None, "", Withheld),
        (400, 4, None, "", RateLimited),
        (400, 10, None, "Application does not have permission", Withheld),
        (403, 10, 2534022, "outside of allowed window", Refused),
        (400, 10, 2018278, "", Refused),
        (403, 10, 2534077, "", Withheld),
        (403, 10, 1893063, "", Withheld),
        (429, None, None, "", RateLimited),
        (400, 17, None, "", RateLimited),
        (400, 100, None, "Invalid parameter", Refused),
        (400, 100, None, UNSUPPORTED, Withheld),
        (400, 100, 2534014, "", Refused),
        (400, 100, 2534015, "", Refused),
        (401, 102, None, "", TokenRejected),
        (400, 190, None, "Cannot parse access token", TokenRejected),
        (400, 190, 460, "", TokenRejected),
        (400, 190, 463, "", TokenRejected),
        (400, 200, None, "API access blocked.", Withheld),
        (403, 200, 2534041, "", Withheld),
        (400, 200, 1545041, "", Refused),
        (400, 368, None, "", Withheld),
        (400, 551, 1545041, "", Refused),
        (400, 613, None, "", RateLimited),
        (400, 80002, None, "", RateLimited),
        (400, 424242, None, "from the future", Passing),
    ],
)
def test_errors_mean_what_the_reference_says(status, code, subcode, message, meaning):
    error = {"message": message, "type": "IGApiException", "code": code, "fbtrace_id": "AbC"}
    if subcode:
        error["error_subcode"] = subcode
    found = meaning_of(status, {"error": error}, is_read=False)
    assert type(found) is meaning
    assert str(found)
    assert (found.code, found.subcode, found.trace) == (code, subcode, "AbC")


def test_what_instagram_calls_transient_is_unclear_and_a_missing_token_is_a_dead_one():
    found = meaning_of(400, {"error": {"code": 77, "is_transient": True}}, is_read=False)
    assert type(found) is NoAnswer
    message = "An active access token must be used to query information"
    found = meaning_of(400, {"error": {"code": 2500, "message": message}}, is_read=False)
    assert type(found) is TokenRejected


def test_an_unclear_failure_of_a_read_may_simply_be_tried_again():
    assert type(meaning_of(500, {"error": {"code": 1}}, is_read=True)) is RateLimited


@pytest.mark.parametrize(
    "body", [None, [], "x", 7, {"error": "x"}, {"error": {"code": "x"}}, {"error": {"code": {}}}]
)
def test_odd_bodies_are_no_exception(body):
    assert isinstance(meaning_of(400, body, is_read=False), InstagramError)


def test_the_oauth_hosts_envelope_is_read_and_its_code_is_no_graph_code():
    body = {"error_type": "OAuthException", "code": 400, "error_message": "Invalid platform app"}
    found = meaning_of(400, body, is_read=False)
    assert type(found) is Refused
    assert "Invalid platform app" in str(found)
    assert found.code is None


def test_every_error_is_one_of_the_family():
    family = {NotSent, NoAnswer, RateLimited, Passing, TokenRejected, Withheld, Refused}
    assert set(InstagramError.__subclasses__()) == family
    assert all(name.__name__ in InstagramError.__doc__ for name in family)


class TestCalls:
    @pytest.fixture
    def client(self, instagram):
        return InstagramClient("IGAAsomeTokenThatIsNotKnown0000000000000")

    def fail(self, call):
        with pytest.raises(InstagramError) as caught:
            call()
        assert "IGAAsome" not in repr(caught.value)
        # No cause and no context: they would quote the request.
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        return type(caught.value)

    def send(self, client):
        return lambda: client.send("1", instagram_messages.text("Hello"))

    def test_a_token_that_instagram_does_not_know(self, client):
        assert self.fail(client.me) is TokenRejected

    def test_nobody_listens(self, client, settings):
        settings.INSTAGRAM_GRAPH_URL = "http://127.0.0.1:9"
        assert self.fail(self.send(client)) is NotSent

    def test_no_such_host(self, client, settings):
        settings.INSTAGRAM_GRAPH_URL = "http://graph.invalid"
        assert self.fail(self.send(client)) is NotSent

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_the_connection_breaks_in_mid_call(self, client, instagram, moment):
        instagram.control("faults", endpoint="messages", drop=moment, times=1)
        assert self.fail(self.send(client)) is NoAnswer

    def test_the_answer_takes_too_long(self, client, instagram, settings):
        settings.INSTAGRAM_TIMEOUT = 0.2
        instagram.control("faults", endpoint="messages", latency=1, times=1)
        assert self.fail(self.send(client)) is NoAnswer

    @pytest.mark.parametrize("body", ["<html>busy</html>", "", "{", "[]", "null", '{"ok": 1}'])
    def test_a_yes_that_says_nothing_is_no_yes(self, client, instagram, body):
        instagram.control("faults", endpoint="messages", status=200, body=body, times=1)
        assert self.fail(self.send(client)) is NoAnswer

    def test_a_redirect_is_not_followed(self, client, instagram):
        instagram.control("faults", endpoint="messages", status=302, body="", times=1)
        assert self.fail(self.send(client)) in (NoAnswer, Refused)


def test_a_cookie_for_one_account_does_not_go_with_the_calls_of_another(settings):
    cookies = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            cookies.append(self.headers.get("Cookie"))
            self.send_response(200)
            self.send_header("Set-Cookie", "account=first; Path=/")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        settings.INSTAGRAM_GRAPH_URL = f"http://127.0.0.1:{server.server_port}"
        for token in ("first", "second"):
            InstagramClient(token).person("7")
        server.shutdown()
    assert cookies == [None, None]


@pytest.mark.parametrize("expires_in", ["soon", "-5", "9" * 30])
def test_a_token_that_does_not_say_how_long_it_lives_is_not_taken(instagram, user, expires_in):
    back = instagram.consent(connecting.begin(user, "browser"))
    body = f'{{"access_token": "IGAAx", "expires_in": "{expires_in}"}}'
    instagram.control("faults", endpoint="access_token", status=200, body=body, times=1)
    with pytest.raises(connecting.ConnectFailed, match="refused"):
        connecting.finish(user, "browser", back)


def test_nobody_is_told_a_number_alone():
    for text in [*errors.ABOUT_ONE_MESSAGE.values(), *errors.TOKEN_REASONS.values()]:
        assert text.endswith(".")
        assert len(text) > 20
