"""The errors the platform is known to give, each by the name of its code and subcode."""

from __future__ import annotations

from typing import Any

from .wire import BadRequest

_TOKEN = "Error validating access token: "  # noqa: S105 a sentence, not a secret
_SESSION = _TOKEN + "The session is invalid."
_NO_ACCESS = "Application does not have permission for this action"
_TRANSIENT = {"is_transient": True}

# Name, HTTP status, message, and what else of the envelope is known.
_ROWS: list[tuple[str, int, str] | tuple[str, int, str, dict[str, Any]]] = [
    ("-1", 500, "An internal error has occurred.", _TRANSIENT),
    ("1", 500, "An unknown error has occurred.", _TRANSIENT),
    ("1/99", 500, "An unknown error has occurred.", _TRANSIENT),
    ("1/1357046", 500, "Received invalid JSON reply"),
    (
        "2",
        503,
        "An unexpected error has occurred. Please retry your request later.",
        _TRANSIENT,
    ),
    ("3", 400, "(#3) Application does not have the capability to make this API call."),
    ("4", 429, "(#4) Application request limit reached", _TRANSIENT),
    ("5", 400, "(#5) Unauthorized source IP address"),
    ("9/2018352", 400, "(#9) The action is limited for now."),
    ("10", 403, f"(#10) {_NO_ACCESS}"),
    ("10/2534022", 403, "This message is sent outside of allowed window."),
    ("10/2018278", 400, "This message is sent outside of allowed window."),
    ("10/2018065", 400, "This message is sent outside of allowed window."),
    ("10/2534077", 403, "(#10) The account has to be linked by its owner first."),
    ("10/2018108", 400, "(#10) This person cannot receive messages right now."),
    ("10/1893063", 403, "(#10) This business is restricted from sending messages."),
    ("10/1404170", 403, "(#10) This action is blocked."),
    ("17", 429, "(#17) User request limit reached", _TRANSIENT),
    ("25/2207050", 400, "The account is restricted."),
    ("32", 429, "(#32) Page request limit reached", _TRANSIENT),
    ("100", 400, "(#100) Invalid parameter"),
    ("100/33", 400, "Unsupported post request. Object does not exist or cannot be loaded."),
    ("100/2018001", 400, "(#100) No matching user found"),
    ("100/2018008", 400, "(#100) Failed to fetch the file from the url"),
    ("100/2018014", 400, "(#100) Cannot send message and sender_action together"),
    ("100/2018047", 400, "(#100) Attachment type does not match the file"),
    ("100/2018074", 400, "(#100) Invalid attachment ID"),
    ("100/2018109", 400, "(#100) Attachment size exceeds the allowed limit"),
    ("100/2018294", 400, "(#100) Fetching the video took too long"),
    ("100/2018300", 400, "(#100) Another app controls this thread now."),
    ("100/2022", 400, "(#100) Invalid parameter"),
    ("100/2018321", 400, "(#100) Invalid parameter"),
    ("100/2534013", 400, "(#100) Invalid parameter"),
    ("100/2534014", 400, "The requested user cannot be found."),
    ("100/2534015", 400, "(#100) Invalid message data"),
    ("100/2534025", 400, "(#100) Invalid comment for a private reply"),
    ("100/2534029", 400, "This person is not receiving messages from you."),
    ("100/2534037", 400, "(#100) The app is not the owner of this thread."),
    ("102", 401, "Session key invalid or no longer valid"),
    ("190", 400, "Invalid OAuth access token - Cannot parse access token"),
    ("190/458", 400, f"{_TOKEN}The user has not authorized application."),
    ("190/459", 400, f"{_TOKEN}The user is checkpointed. Log in at instagram.com."),
    ("190/460", 400, f"{_TOKEN}The session has been invalidated because of a new password."),
    ("190/461", 400, _SESSION),
    ("190/462", 400, _SESSION),
    ("190/463", 400, f"{_TOKEN}Session has expired."),
    ("190/464", 400, f"{_TOKEN}The account is not confirmed."),
    ("190/465", 400, _SESSION),
    ("190/466", 400, _SESSION),
    ("190/467", 400, _SESSION),
    ("190/468", 400, _SESSION),
    ("190/492", 400, _SESSION),
    ("200", 400, "API access blocked."),
    ("200/1545041", 400, "(#200) This person isn't available right now."),
    ("200/2018028", 400, "(#200) The app is not live and this person has no role on it."),
    (
        "200/2534041",
        403,
        "The account owner has disabled access to instagram direct messages",
        {"error_user_title": "No access", "error_user_msg": "Access to messages is off."},
    ),
    ("230", 500, "User consent is required to access user profile"),
    ("299", 403, f"(#299) {_NO_ACCESS}"),
    ("341", 400, "(#341) Application limit reached"),
    ("368", 400, "(#368) The action is temporarily blocked for policy violations."),
    ("450", 401, "Session key invalid. This could be because of a session that has expired."),
    ("452", 401, "Session key invalid or no longer valid"),
    ("506", 400, "(#506) Duplicate message"),
    ("551", 400, "(#551) This person isn't available right now."),
    ("551/1545041", 400, "(#551) This person isn't available right now."),
    ("613", 400, "(#613) Calls to this api have exceeded the rate limit."),
    ("613/2018338", 429, "(#613) Calls to this api have exceeded the rate limit."),
    ("613/2534040", 429, "(#613) Calls to this api have exceeded the rate limit."),
    ("2500", 400, "An active access token must be used to query information."),
    ("9010", 400, "(#9010) No matching Instagram user"),
    ("36103", 400, "(#36103) The message cannot be sent."),
    ("80002", 400, "(#80002) There have been too many calls to this Instagram account."),
    ("80007", 429, "(#80007) There have been too many calls to this account."),
    ("1609005", 400, "(#1609005) The link could not be processed."),
    ("9000001", 400, "The message has been deleted by the user or the business."),
]
_OAUTH = ("102", "190", "2500", "450", "452")


def _as_error(name: str, http: int, message: str, more: dict[str, Any]) -> dict[str, Any]:
    code, _, subcode = name.partition("/")
    kind = "OAuthException" if code in _OAUTH else "IGApiException"
    known = {"code": int(code), "http": http, "message": message, "type": kind, **more}
    return {**known, "subcode": int(subcode)} if subcode else known


ERRORS = {
    name: _as_error(name, http, message, rest[0] if rest else {})
    for name, http, message, *rest in _ROWS
}


def named(name: str) -> dict[str, Any]:
    if name not in ERRORS:
        raise BadRequest(f"There is no error {name!r}; GET /_sandbox/errors has those there are.")
    return ERRORS[name]
