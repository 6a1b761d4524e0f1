"""Replaces secrets, and whatever looks like one, with [REDACTED]."""

import re
from collections.abc import Iterable
from html import escape
from json import dumps
from urllib.parse import unquote

REDACTED = "[REDACTED]"

PLAIN = r"[\w.-]"
"""What everybody writes as it is."""

# As text, Python, JSON, HTML and URLs write them, also one inside the other.
BACKSLASH = r"(?:\\|%(?:25)*5[Cc])"
QUOTE = rf"(?:{BACKSLASH}*(?:[\"']|&(?:amp;)*(?:quot|\#x27|\#39);|%(?:25)*2[27])|\\+u002[27])"
SLASH = r"(?:\\*/|%(?:25)*2[Ff])"
BLANK = r"(?:\s|\+|%(?:25)*20)"
# Between a name and its value; the comma is that of a pair.
IS = (
    rf"(?>(?:{QUOTE}\s*,|{QUOTE}?\s*(?:=|:|%(?:25)*3[ADad])){BLANK}*"
    rf"(?:(?:\[|%(?:25)*5[Bb])(?=b?{QUOTE}))?(?:b(?={QUOTE}))?)"
)
SENSITIVE = (
    r"(?i:(?:access|exchange|refresh|verify)_token|(?:client|app)_secret|appsecret_proof"
    r"|password[12]?|authorization)"
)
CREDENTIAL = r"[^\s\"'&<>,;\\]+"
NEW_WORD = (
    r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2})"
    r"|(?<=\\[abfnrtv])|(?<=\\x[0-9a-f]{2})|(?<=\\u[0-9a-f]{4}))"
)
IDENTIFIER = r"(?:[A-Za-z]+|\d+)(?:[_.-](?:[A-Za-z]+|\d+))*(?![\w~%-])"
LONG_IDENTIFIER = r"(?:[a-z]+(?:_[a-z]+)+|[A-Z]+(?:_[A-Z]+)+)(?![\w~%-])"

# What a pattern captures stays, the rest of its match goes. It is tried on texts with one of the
# marks before it: to look for all of those takes a microsecond, for all patterns thirty.
PATTERNS = [
    (marks.split(), re.compile(pattern, re.MULTILINE))
    for marks, pattern in [
        # PostgreSQL quotes the statement and the row, and with them what people wrote.
        ("LINE DETAIL", r"((?:^|\\n)(?:LINE \d+|DETAIL): )(?:(?!\\n).)*"),
        # Between quotes anything may stand, also other quotes.
        (
            "_token _secret appsecret password authorization",
            rf"({SENSITIVE}{IS})({QUOTE})(?!\*+\2)"
            rf"(?:(?!\2)(?:{BACKSLASH}+(?:%(?:25)*[0-9A-Fa-f]{{2}}|.)|.))+",
        ),
        # Scheme, credential, and parameters if there are any.
        (
            "authorization",
            rf"((?i:authorization){IS})(?:[A-Za-z][\w-]*{BLANK}+)?{CREDENTIAL}"
            rf"(?:(?<==){QUOTE}(?:(?!{QUOTE}).)*{QUOTE}(?:,\s*{CREDENTIAL})?)*",
        ),
        (
            "_token _secret appsecret password",
            rf"({SENSITIVE}{IS})(?!{QUOTE}|(?:None|null)\b)"
            r"[^\s&<>]+(?<![\"',;)}])",
        ),
        (
            "bearer basic",
            rf"((?i:bearer|basic){BLANK}+)(?![A-Za-z]?[a-z_-]+(?![\w.~+/=%-]))"
            r"[\w.~+/=%-]{12,}",
        ),
        # An authorization code or a state; not "code=190", nor "state=waiting_for_an_echo".
        (
            "code state",
            rf"((?i:code|state){IS}{QUOTE}?)(?!{LONG_IDENTIFIER})"
            rf"(?:[\w.~%-]{{40,}}|(?!{IDENTIFIER})[\w.~%-]{{20,}})",
        ),
        ("invitations", rf"({SLASH}accounts{SLASH}invitations{SLASH})[\w-]{{16,}}"),
        # Under which Instagram fetches a file, without a login, while it is being sent.
        (
            "offered",
            rf"({SLASH}media{SLASH}offered{SLASH})(?:[\w-]|:|%(?:25)*3[Aa]){{16,}}",
        ),
        ("password", rf"({SLASH}password{SLASH}reset{SLASH}[\w-]+{SLASH})[\w-]{{16,}}"),
        ("://", r"(://[^\s/:@\"']*:)[^\s/@]+(?=@)"),  # The password in a database's URL.
        # Access tokens (a name in capitals may begin like one), JWTs, authorization codes; API
        # keys, webhook secrets, and Fernet text: harmless, but no use to a reader. Together,
        # since one may hold what looks like the beginning of another.
        (
            "IG EAA eyJ AQ imsg_ whsec_ gAAAAA",
            rf"{NEW_WORD}(?:IG(?![A-Z_-]{{1,100}}+(?!\w))[A-Za-z][\w-]{{20,}}|EAA[\w-]{{20,}}"
            r"|eyJ[\w-]{8,}(?:\.[\w-]*)*|AQ[\w-]{30,})"
            r"|imsg_[\w-]{20,}|whsec_(?:\\*/|\\+u00[0-9A-Fa-f]{2}|[\w+=%-]){20,}|gAAAAA[\w=%-]{40,}",
        ),
    ]
]
MARKS = {mark for marks, _ in PATTERNS for mark in marks}
EXACT_MARKS = tuple(mark for mark in MARKS if mark != mark.lower())
OTHER_MARKS = tuple(mark for mark in MARKS if mark == mark.lower())
"""In capitals or not."""


class Redactor:
    """Replaces known secrets, and whatever looks like one, with [REDACTED]."""

    def __init__(self):
        self.secrets: set[str] = set()
        self.known: re.Pattern[str] | None = None
        self.exact_marks = EXACT_MARKS

    def learn(self, secrets: Iterable[str | None]) -> None:
        """Redact these as well from now on; but None, and what has fewer than 4 characters."""
        for secret in filter(None, secrets):
            # One from a URL is percent-encoded there, and elsewhere it is not.
            self.secrets |= {secret.strip(), unquote(secret).strip()}
        # The longest first: one secret may begin with another.
        known = sorted((s for s in self.secrets if len(s) >= 4), key=len, reverse=True)
        if known:
            self.known = re.compile("|".join("".join(map(_spellings, s)) for s in known))
            self.exact_marks = (*{_longest_plain_run(secret) for secret in known}, *EXACT_MARKS)

    def __call__(self, text: str) -> str:
        for mark in self.exact_marks:
            if mark in text:
                return self._redact(text)
        lowered = text.lower()
        for mark in OTHER_MARKS:
            if mark in lowered:
                return self._redact(text)
        return text

    def _redact(self, text: str) -> str:
        if self.known:
            text = self.known.sub(REDACTED, text)
        lowered = text.lower()
        for marks, pattern in PATTERNS:
            if any(mark in text or mark in lowered for mark in marks):
                text = pattern.sub(_keep_captured, text)
        return text


def _keep_captured(match: re.Match[str]) -> str:
    return "".join(match.groups("")) + REDACTED


def _spellings(character: str) -> str:
    """A pattern for `character` as it is, and as Python, JSON, HTML and URLs write it."""
    if re.fullmatch(PLAIN, character, re.ASCII):
        return re.escape(character)
    code, octets = ord(character), character.encode()
    forms = [
        re.escape(character),
        _percent(octets),
        "".join(rf"{BACKSLASH}+x{octet:02x}" for octet in octets),
        rf"{BACKSLASH}+u(?i:{code:04x})",
        *(_with_backslashes(write(character)[1:-1]) for write in (ascii, dumps)),
        *(f"&(?:amp;)*{rest}" for rest in (escape(character)[1:], rf"\#{code};") if rest),
    ]
    if character == " ":
        forms += [r"\+", _percent(b"+")]
    return f"{BACKSLASH}*(?:{'|'.join(forms)})"


def _percent(octets: bytes) -> str:
    return "".join(rf"%(?:25)*(?i:{octet:02x})" for octet in octets)


def _with_backslashes(text: str) -> str:
    return "".join(f"{BACKSLASH}+" if one == "\\" else re.escape(one) for one in text)


def _longest_plain_run(secret: str) -> str:
    """The part of `secret` that is spelled the same everywhere."""
    return max(re.findall(rf"{PLAIN}*", secret, re.ASCII), key=len)


redact = Redactor()
