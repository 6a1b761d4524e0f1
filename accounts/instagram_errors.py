"""What Instagram's refusals mean, from its codes (Graph API error handling; Messenger errors)."""

from typing import Any


class InstagramError(Exception):
    """Raised only as one of:

    NotSent         no connection: nothing reached Instagram, try again
    NoAnswer        sent, but no clear answer came: it may have happened
    RateLimited     refused for now
    TokenRejected   the account must be reconnected
    Withheld        every call is refused until a person changes something
    Refused         this request is refused for good

    The text is fit for a page. `code` and `subcode` are Instagram's; `trace` is its
    `fbtrace_id`, which Meta's support asks for.
    """

    def __init__(
        self, text: str, *, code: int | None = None, subcode: int | None = None, trace: str = ""
    ):
        super().__init__(text)
        self.code, self.subcode, self.trace = code, subcode, trace


class NotSent(InstagramError):
    pass


class NoAnswer(InstagramError):
    pass


class RateLimited(InstagramError):
    pass


class TokenRejected(InstagramError):
    pass


class Withheld(InstagramError):
    pass


class Refused(InstagramError):
    pass


UNCLEAR = {-1, 1, 2}
"""Errors after which a message may have been sent all the same."""

LIMITS = {4, 9, 17, 32, 341, 613, 80002, 80007}
TOKEN_DEAD = {102, 190, 450, 452}
WITHHELD = {3, 5, 10, 25, 368, *range(200, 300)}

NOT_PERMITTED_NOW = "Instagram does not let this account do that at the moment"
WINDOW_CLOSED = "The 24-hour window is closed: you can answer again once the customer has written."
ABOUT_ONE_MESSAGE = {
    # (code, subcode): what to tell the person who wrote it. Not a problem of the account.
    (10, 2534022): WINDOW_CLOSED,
    (10, 2018278): WINDOW_CLOSED,
    (10, 2018065): WINDOW_CLOSED,
    (10, 2018108): "This customer cannot receive messages right now.",
    (200, 1545041): "This customer is not available on Instagram right now.",
    (551, 1545041): "This customer is not available on Instagram right now.",
    (100, 2018001): "Instagram does not know this customer.",
    (100, 2534014): "Instagram does not know this customer.",
    (100, 2534015): "Instagram refuses the text: it is empty or longer than 1,000 bytes.",
    (100, 2534029): "The customer has blocked this account, or this account the customer.",
    (100, 2534037): "Another app is in charge of this conversation.",
    (613, 2018300): "Another app is in charge of this conversation.",
}
NO_ROLE = (
    "Instagram gave a token and then refuses it. While the Meta app is in development mode, the "
    "Instagram account must accept the tester invitation: on the desktop web, Settings → Website "
    "permissions → Apps and websites → Tester invites. Otherwise the app needs Advanced Access."
)
TOKEN_REASONS = {
    458: "The app was removed in Instagram's settings.",
    459: "Instagram wants the owner to log in on Instagram first.",
    460: "The Instagram password was changed.",
    463: "The access token has expired.",
    464: "The Instagram account is not confirmed.",
}


def meaning_of(status: int, body: Any, *, is_read: bool) -> InstagramError:
    """The error that an answer stands for.

    Args:
        status: the HTTP status.
        body: the decoded JSON, in either of Instagram's two envelopes, or None.
        is_read: the call changes nothing, so an unclear failure may simply be tried again.
    """
    code, subcode, message, trace, is_transient = _read(body)
    details = {"code": code, "subcode": subcode, "trace": trace}
    if about := ABOUT_ONE_MESSAGE.get((code, subcode)):
        return Refused(about, **details)
    if code in TOKEN_DEAD or (code == 2500 and "access token" in message):
        reason = TOKEN_REASONS.get(subcode, "Instagram no longer accepts the access token.")
        return TokenRejected(reason, **details)
    if code == 100 and message.startswith("Unsupported request - method type"):
        return Withheld(NO_ROLE, **details)
    if code in WITHHELD:
        return Withheld(f"{NOT_PERMITTED_NOW}: {message or status}", **details)
    if code in LIMITS or status == 429:
        return RateLimited("Instagram asks to slow down.", **details)
    if code in UNCLEAR or status >= 500 or is_transient:
        unclear = RateLimited if is_read else NoAnswer
        return unclear("Instagram reported a passing fault.", **details)
    if body is None:
        return NoAnswer(f"Instagram's answer could not be read (HTTP {status}).", **details)
    return Refused(f"Instagram refused: {message or f'HTTP {status}'}", **details)


def _read(body: Any) -> tuple[int | None, int | None, str, str, bool]:
    """Code, subcode, message, trace, and whether it will pass; from either envelope."""
    body = body if isinstance(body, dict) else {}
    error = body.get("error")
    if isinstance(error, dict):
        return (
            _number(error.get("code")),
            _number(error.get("error_subcode")),
            str(error.get("message") or ""),
            str(error.get("fbtrace_id") or ""),
            error.get("is_transient") is True,
        )
    # The OAuth host's `code` is an HTTP status: it names no Graph error.
    return None, None, str(body.get("error_message") or error or ""), "", False


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
