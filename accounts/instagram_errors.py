"""What Instagram's refusals mean, from its codes (Graph API error handling; Messenger errors)."""

from datetime import timedelta
from typing import Any


class InstagramError(Exception):
    """Raised only as one of:

    NotSent         no connection: nothing reached Instagram, try again
    NoAnswer        sent, but no clear answer came: it may have happened
    RateLimited     refused for now, whatever is asked
    Passing         this request is refused, and may be taken a little later
    TokenRejected   the account must be reconnected
    Withheld        every call is refused until a person changes something
    Refused         this request is refused for good

    The text is fit for a page. `code` and `subcode` are Instagram's; `trace` is its
    `fbtrace_id`, which Meta's support asks for. Before `wait` is over, trying again is in vain.
    """

    wait = timedelta()

    def __init__(
        self, text: str, *, code: int | None = None, subcode: int | None = None, trace: str = ""
    ):
        super().__init__(text)
        self.code, self.subcode, self.trace = code, subcode, trace

    @property
    def number(self) -> str:
        """Code and subcode, as the documentation's tables name them; "" without them."""
        return "/".join(str(part) for part in (self.code, self.subcode) if part is not None)


class NotSent(InstagramError):
    pass


class NoAnswer(InstagramError):
    pass


class RateLimited(InstagramError):
    @property
    def wait(self) -> timedelta:
        return LIMITS.get(self.code, timedelta(seconds=30))


class Passing(InstagramError):
    @property
    def wait(self) -> timedelta:
        return timedelta(seconds=30) if self.subcode == SOME_LIMIT else timedelta()

    @property
    def tries(self) -> int:
        """How often it is asked in all."""
        return TRIES.get(self.subcode, 4)


class TokenRejected(InstagramError):
    pass


class Withheld(InstagramError):
    @property
    def wait(self) -> timedelta:
        return timedelta(days=1) if self.code == BLOCKED else timedelta()


class Refused(InstagramError):
    pass


UNCLEAR = {-1, 1, 2}
"""Errors after which a message may have been sent all the same."""

LIMITS = {
    **dict.fromkeys((4, 17, 32, 80002, 80007), timedelta(minutes=1)),
    613: timedelta(seconds=2),  # Of so many calls a second.
    341: timedelta(hours=1),
}
"""Limits, and how long each lasts at least; calls meanwhile make it longer (8)."""

TRIES = {2018294: 2, 2018008: 3}
"""Files that Instagram could not fetch, in time or at all."""

SOME_LIMIT = 2018352
"""A limit of which nothing more is documented (7.2)."""

BLOCKED = 368
"""For violations of policy: asking again within the day makes it worse."""

TOKEN_DEAD = {102, 190, 450, 452}
WITHHELD = {3, 5, 10, 25, BLOCKED, *range(200, 300)}
UNKNOWN_PATH = 2500
"""Nothing was done, though its HTTP status may be 500."""
KNOWN_REFUSALS = {100, UNKNOWN_PATH, 36103, 9000001}

NOT_PERMITTED_NOW = "Instagram does not let this account do that at the moment"
WINDOW_CLOSED = "The 24-hour window is closed: you can answer again once the customer has written."
OTHER_APP = "Another app is in charge of this conversation."
NOT_KNOWN = "Instagram does not know this customer."
NOT_AVAILABLE = "This customer is not available on Instagram right now."
ABOUT_ONE_MESSAGE = {
    # By subcode, what to tell the person who wrote it. Not a problem of the account.
    **dict.fromkeys((2534022, 2018278, 2018065), WINDOW_CLOSED),
    **dict.fromkeys((2018001, 2534013, 2534014), NOT_KNOWN),
    **dict.fromkeys((2534037, 2018300), OTHER_APP),
    2018108: "This customer cannot receive messages right now.",
    1545041: NOT_AVAILABLE,
    2534015: "Instagram refuses the text: it is empty or longer than 1,000 bytes.",
    2534025: "This comment can no longer be answered.",
    2534029: "The customer has blocked this account, or this account the customer.",
    2018047: "Instagram says that the file is not what its type says.",
    2018074: "Instagram no longer has the file.",
    2018109: "Instagram says that the file is too large.",
}
PASSING = {
    2018008: "Instagram could not fetch the file from this site.",
    2018294: "Instagram did not get the video within its time.",
    SOME_LIMIT: "Instagram asks to slow down.",
}
BY_CODE = {
    230: "The customer has not agreed to that on Instagram.",
    506: "Instagram says that this was sent already.",
    551: NOT_AVAILABLE,
    9010: NOT_KNOWN,
    1609005: "Instagram cannot process the link in it.",
}
NO_HUMAN_AGENT = (
    "After 24 hours Instagram lets a person answer only if the Meta app has the feature “Human "
    "Agent”, which Meta reviews. Once the customer writes again, answers go out as usual."
)
OWNER_HAS_TO = {
    2534077: "Instagram wants the owner to link the account, or to switch on two-factor login",
    2534041: (
        "The owner has switched off access to messages: in the Instagram app, Settings → Messages "
        "and story replies → Message controls → Connected tools"
    ),
    1893063: "Instagram has restricted this business from sending messages",
    2018028: "The Meta app is not live, and this account has no role on it",
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


def meaning_of(status: int, body: Any, *, is_read: bool, is_own: bool = False) -> InstagramError:
    """The error that an answer stands for.

    Args:
        status: the HTTP status.
        body: the decoded JSON, in either of Instagram's two envelopes, or None.
        is_read: the call changes nothing, so an unclear failure may simply be tried again.
        is_own: the call was about the account itself, so what is missing is the account.
    """
    code, subcode, message, trace, is_transient = _read(body)
    details = {"code": code, "subcode": subcode, "trace": trace}
    if about := ABOUT_ONE_MESSAGE.get(subcode) or BY_CODE.get(code):
        return Refused(about, **details)
    if passing := PASSING.get(subcode):
        return (RateLimited if is_read else Passing)(passing, **details)
    if code in TOKEN_DEAD or (code == UNKNOWN_PATH and "access token" in message):
        reason = TOKEN_REASONS.get(subcode, "Instagram no longer accepts the access token.")
        return TokenRejected(reason, **details)
    if code == 100 and (
        message.startswith("Unsupported request - method type") or (is_own and subcode == 33)
    ):
        return Withheld(NO_ROLE, **details)
    if "Human Agent" in message:  # Its code is not documented.
        return Refused(NO_HUMAN_AGENT, **details)
    if code in WITHHELD:
        reason = OWNER_HAS_TO.get(subcode, NOT_PERMITTED_NOW)
        return Withheld(f"{reason}: {message or status}", **details)
    if code in LIMITS or status == 429:
        return RateLimited("Instagram asks to slow down.", **details)
    if code in UNCLEAR or is_transient or (status >= 500 and code != UNKNOWN_PATH):
        unclear = RateLimited if is_read else NoAnswer
        return unclear("Instagram reported a passing fault.", **details)
    if body is None:
        return NoAnswer(f"Instagram's answer could not be read (HTTP {status}).", **details)
    # Codes that nobody has described are perhaps of the moment.
    is_known = code is None or code in KNOWN_REFUSALS
    refused = Refused if is_known or is_read else Passing
    return refused(f"Instagram refused: {message or f'HTTP {status}'}", **details)


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
