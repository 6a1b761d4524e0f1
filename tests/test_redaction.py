"""Attempts to get a secret past the filter, and to make it take what is none.

Secrets and innocent texts are drawn by seeded dice; a failing test names its seed.
"""

import base64
import html
import io
import json
import linecache
import logging
import logging.config
import random
import re
import string
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, urlencode

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.db import connection
from django.http import QueryDict
from django.test import Client, RequestFactory
from django.urls import path
from django.utils.log import configure_logging
from django.views.debug import ExceptionReporter

from instamsg import error_reports, logs, redaction
from tests.environment import child_environment

ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "-_"
BASE64 = ALNUM + "+/"
ANYTHING = ALNUM + string.punctuation + " é🔑"

seeds = pytest.mark.parametrize("seed", range(12))
styles = pytest.mark.parametrize("style", ["text", "json"])


def seeded(seed: int, what: str = "") -> random.Random:
    return random.Random(f"{seed} {what}")  # noqa: S311  (nothing here is to be kept secret)


def text(dice: random.Random, alphabet: str, least: int, most: int) -> str:
    return "".join(dice.choices(alphabet, k=dice.randint(least, most)))


KINDS = {
    "learnt": lambda dice: (
        f"{text(dice, ALNUM, 1, 1)}{text(dice, ANYTHING, 12, 30)} {text(dice, ANYTHING, 12, 30)}."
    ),
    "Instagram token": lambda dice: "IGAA" + text(dice, ALNUM, 30, 200),
    "Facebook token": lambda dice: "EAA" + text(dice, ALNUM, 30, 200),
    "JWT": lambda dice: ".".join(
        [
            "eyJ" + text(dice, URLSAFE, 20, 60),
            text(dice, URLSAFE, 20, 90),
            text(dice, URLSAFE, 43, 43),
        ]
    ),
    "API key": lambda dice: "imsg_" + text(dice, URLSAFE, 32, 43),
    "webhook secret": lambda dice: "whsec_" + text(dice, BASE64, 32, 32) + "=" * dice.randint(0, 2),
    "Fernet text": lambda dice: "gAAAAA" + text(dice, URLSAFE, 90, 90) + "==",
    "authorization code": lambda dice: "AQ" + text(dice, URLSAFE, 32, 200),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def configure(monkeypatch):
    """Sets the site's logging up anew, with nothing learnt yet; returns what it writes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    fresh = redaction.Redactor()
    for module in (redaction, logs, error_reports):
        monkeypatch.setattr(module, "redact", fresh)

    def configure(style="text", secrets=(), level="DEBUG"):
        written = io.StringIO()
        with monkeypatch.context() as during:
            during.setattr(sys, "stderr", written)
            logging.config.dictConfig(logs.configuration(level=level, style=style, secrets=secrets))
        return written

    yield configure
    from django.conf import settings

    configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
    root.handlers[:] = handlers
    root.setLevel(level)


FOR_SCRIPTS = {ord(one): f"\\u{ord(one):04X}" for one in "<>&'+"}


def spelled(secret: str) -> set[str]:
    """`secret`, and how programs write it inside other texts."""
    forms = {
        secret,
        repr(secret)[1:-1],
        repr("'\"" + secret)[4:-1],
        ascii(secret)[1:-1],
        repr(secret.encode())[2:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret)[1:-1].translate(FOR_SCRIPTS),
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        quote(quote(secret, safe=""), safe=""),
        quote(json.dumps(secret)[1:-1]),
        quote(repr(secret)[1:-1]),
    }
    return forms | {html.escape(form) for form in forms}


def leaked(written: str, secret: str) -> list[str]:
    """Pieces of the secret that can be read in `written`, however they are spelled there."""
    pieces = {
        form[start : start + size]
        for form in spelled(secret)
        # Percent-encoded pieces would resemble each other if they were as short.
        for size in (8 if form == secret else 12,)
        for start in range(len(form) - size + 1)
    }
    texts = [written, html.unescape(written)]
    for line in written.splitlines():
        with suppress(ValueError):
            texts.append(repr(json.loads(line)))
    return [piece for piece in pieces if any(piece in one for one in texts)]


class Holder:
    def __init__(self, secret):
        self.secret = secret

    def __str__(self):
        return f"holds {self.secret}"


@dataclass
class Record:
    value: str


def fail(error: Exception, cause: Exception | None = None):
    if cause is None:
        raise error
    raise error from cause


def while_handling(error: Exception):
    try:
        fail(KeyError("first"))
    except KeyError:
        raise error  # noqa: B904  (the implicit chain is the point)


def with_note(note: str) -> Exception:
    error = ValueError("with a note")
    error.add_note(note)
    return error


def run_source(source: str, **names):
    """Run a line of code that tracebacks and stacks can quote."""
    name = f"<source {len(linecache.cache)}>"
    linecache.cache[name] = (len(source), None, [source], name)
    exec(compile(source, name, "exec"), names)  # noqa: S102


def log_error(log, act, *args):
    try:
        act(*args)
    except Exception:
        log.exception("it failed")


def halves(secret: str) -> tuple[str, str]:
    return secret[: len(secret) // 2], secret[len(secret) // 2 :]


PLACES = {
    "message": lambda log, s: log.info("it is " + s),
    "message alone": lambda log, s: log.warning(s),
    "argument": lambda log, s: log.info("it is %s.", s),
    "argument's repr": lambda log, s: log.info("it is %r.", s),
    "mapping": lambda log, s: log.info("it is %(it)s", {"it": s}),
    "dict": lambda log, s: log.info("it is %s", {"it": [s]}),
    "dict's key": lambda log, s: log.info("it is %s", {s: 1}),
    "QueryDict": lambda log, s: log.info("it is %s", QueryDict(urlencode({"it": s}))),
    "bytes": lambda log, s: log.info("it is %s", s.encode()),
    "object": lambda log, s: log.info("it is %s", Holder(s)),
    "object as message": lambda log, s: log.info(Holder(s)),
    "dataclass": lambda log, s: log.info("it is %s", Record(s)),
    "two arguments": lambda log, s: log.info("it is %s%s", *halves(s)),
    "message and argument": lambda log, s: log.info(
        halves(s)[0].replace("%", "%%") + "%s", halves(s)[1]
    ),
    "wrong placeholder": lambda log, s: log.info(f"{s} %d", s),
    "exception": lambda log, s: log.error("failed: %s", ValueError(s)),
    "exception's repr": lambda log, s: log.error("failed: %r", ValueError(s)),
    "exception as message": lambda log, s: log.error(ValueError(s)),
    "raised": lambda log, s: log_error(log, fail, ValueError(s)),
    "raised over lines": lambda log, s: log_error(log, fail, ValueError(f"one\n{s}\nthree")),
    "cause": lambda log, s: log_error(log, fail, KeyError("x"), ValueError(s)),
    "cause's repr": lambda log, s: log_error(log, fail, ValueError("x"), KeyError(s)),
    "context": lambda log, s: log_error(log, while_handling, ValueError(s)),
    "note": lambda log, s: log_error(log, fail, with_note(s)),
    "group": lambda log, s: log_error(log, fail, ExceptionGroup("many", [ValueError(s)])),
    "exc_info": lambda log, s: log.info("it failed", exc_info=ValueError(s)),
    "quoted line": lambda log, s: log_error(log, run_source, f"1 / 0  # {s}"),
    "stack": lambda log, s: run_source(f"log.info('here', stack_info=True)  # {s}", log=log),
    "extra": lambda log, s: log.info("see", extra={"it": s}),
    "extra bytes": lambda log, s: log.info("see", extra={"it": s.encode()}),
    "extra object": lambda log, s: log.info("see", extra={"it": Holder(s), "as": Record(s)}),
    "extra exception": lambda log, s: log.info("see", extra={"it": [ValueError(s)]}),
    "extra nested": lambda log, s: log.info(
        "see", extra={"it": {"a": [{"b": ({s}, [Record(s), Holder(s), s.encode()])}]}}
    ),
    "extra keys": lambda log, s: log.info("see", extra={"it": {s: 1, (s, 2): {s.encode(): 3}}}),
    "extra name": lambda log, s: log.info("see", extra={s: 1}),
    "URL": lambda log, s: log.info("GET https://a.example/x?%s", urlencode({"q": s, "n": 1})),
    "path": lambda log, s: log.info("GET /x/%s/", quote(s, safe="")),
    "URL in a URL": lambda log, s: log.info(
        "GET /login?next=%s", quote("/x?" + urlencode({"q": s}), safe="")
    ),
    "small letters": lambda log, s: log.info(
        "GET /x/%s", re.sub("%..", lambda m: m[0].lower(), quote(s, safe=""))
    ),
    "JSON": lambda log, s: log.info("body %s", json.dumps({"it": s})),
    "JSON, not ASCII": lambda log, s: log.info("%s", json.dumps([s], ensure_ascii=False)),
    "JSON in JSON": lambda log, s: log.info("%s", json.dumps({"a": json.dumps({"it": s})})),
    "JSON in a URL": lambda log, s: log.info("/x?a=%s", quote(json.dumps([s]), safe="")),
    "repr in a URL": lambda log, s: log.info("/x?a=%s", quote_plus(repr([s]))),
    "repr in repr": lambda log, s: log.info("%r", repr([s])),
    "bytes in repr": lambda log, s: log.info("%r", [json.dumps({"it": s}).encode()]),
    "after a newline's repr": lambda log, s: log.info("%r", "one\n" + s),
    "URL in a URL in a URL": lambda log, s: log.info("/x?a=%s", quote(quote(f"/?b={quote(s)}"))),
    "JSON for a page": lambda log, s: log.info("%s", json.dumps([s]).translate(FOR_SCRIPTS)),
    "HTML": lambda log, s: log.info("<p>%s</p>", html.escape(s)),
    "HTML twice": lambda log, s: log.info("<p>%s</p>", html.escape(html.escape(s))),
    "repr in HTML": lambda log, s: log.info("<p>%s</p>", html.escape(repr({"it": s}))),
    "header": lambda log, s: log.info("X-Key: %s", s),
    "cookie": lambda log, s: log.info("Cookie: a=b; sessionid=%s; c=d", s),
    "neighbours": lambda log, s: log.info("(%s) [%s] <%s> '%s' %s, %s; %s|%s\t%s", *[s] * 9),
}


@seeds
@styles
@kinds
def test_no_secret_gets_through_wherever_it_stands(configure, style, kind, seed):
    dice = seeded(seed, kind)
    secret = KINDS[kind](dice)
    written = configure(style, [secret] if kind == "learnt" else [])
    for place, log_it in PLACES.items():
        log_it(logging.getLogger("messaging.sending"), secret)
        line = written.getvalue()
        written.truncate(0)
        written.seek(0)
        assert leaked(line, secret) == [], f"{kind} as {place}, seed {seed}: {secret!r}\n{line}"
        assert redaction.REDACTED in line or (style == "text" and place.startswith("extra"))


def parameter(name: str, value: str) -> list[str]:
    """A parameter as it may come by in a log."""
    query = urlencode({"a": 1, name: value, "z": 2})
    return [
        f"GET /x?{query} HTTP/1.1",
        f"Max retries exceeded with url: /x?{query}",
        f"GET /login?next={quote('/x?' + query, safe='')}",
        f"GET /login?next={quote('/login?next=' + quote('/x?' + query, safe=''), safe='')}",
        f"POST body {query.encode()}",
        f"{ {name: value} }",
        f"{ {name: [value], 'z': 2} }",
        f"{ {name.encode(): value.encode()} }",
        f"{[(name, value), ('z', '2')]}",
        f"{QueryDict(query)}",
        json.dumps({"a": {name: value}, "z": 2}),
        json.dumps({name: value}, separators=(",", ":")),
        json.dumps({"body": json.dumps({name: value})}),
        html.escape(repr({name: value})),
        html.escape(json.dumps({"z": 2, name: value})),
        html.escape(f"/x?{query}"),
        f"/x?body={quote(json.dumps({'a': {name: value}, 'z': 2}))}",
        f"/x?body={quote_plus(repr({name: value}))}",
        f"call({name}={value!r}, z=2)",
    ]


SENSITIVE = [
    "access_token",
    "client_secret",
    "fb_exchange_token",
    "hub.verify_token",
    "password",
    "appsecret_proof",
    "old_password",
    "new_password1",
    "Authorization",
    "HTTP_AUTHORIZATION",
]


@seeds
@pytest.mark.parametrize("name", SENSITIVE)
def test_what_a_telling_name_announces_does_not_get_through(configure, name, seed):
    dice = seeded(seed, name)
    value = text(dice, ALNUM, 1, 1) + text(dice, ANYTHING, 12, 40)
    written = configure("json")
    for line in parameter(name, value):
        assert leaked(logs.redact(line), value) == [], f"seed {seed}, {value!r}: {line}"
    for extra in ({name: value}, {"it": {name: value}}, {"it": [(name, value)]}):
        logging.getLogger("accounts").info("see", extra=extra)
        assert leaked(written.getvalue(), value) == [], f"seed {seed}, {value!r}: {extra}"


@seeds
@pytest.mark.parametrize("name", ["code", "state"])
def test_codes_and_states_of_oauth_do_not_get_through(configure, name, seed):
    dice = seeded(seed, name)
    value = text(dice, URLSAFE, 43, 220)
    written = configure("json")
    for line in parameter(name, value):
        assert leaked(logs.redact(line), value) == [], f"seed {seed}, {value!r}: {line}"
    for extra in ({name: value}, {"it": {name: value}}, {"it": {name: [value]}}):
        logging.getLogger("accounts").info("see", extra=extra)
        assert leaked(written.getvalue(), value) == [], f"seed {seed}, {value!r}: {extra}"


@seeds
def test_credentials_in_headers_do_not_get_through(configure, seed):
    configure()
    dice = seeded(seed)
    value = text(dice, URLSAFE, 16, 60)
    basic = base64.b64encode(f"mara:{text(dice, ANYTHING, 12, 30)}".encode()).decode()
    for header, secret in [
        (f"Authorization: Bearer {value}", value),
        (f"authorization: bearer {value}", value),
        (f"AUTHORIZATION: Token {value}", value),
        (f'Authorization: Token token="{value}"', value),
        (f'Proxy-Authorization: Digest a="b", response="{value}"', value),
        (f"Authorization: {value}", value),
        (f"Authorization: Basic {basic}", basic),
        (f"sent Basic {basic} again", basic),
        (f"sent Bearer {value}1 again", value),
    ]:
        for line in (
            f"GET /x\n{header}\nHost: a.example",
            repr(f"GET /x\r\n{header}\r\nHost: a.example"),
            json.dumps({"headers": header}),
            html.escape(header),
            f"/x?h={quote(header, safe='')}",
            repr(dict([header.partition(": ")[::2]])),
            json.dumps(dict([header.partition(": ")[::2]])),
        ):
            assert leaked(logs.redact(line), secret) == [], f"seed {seed}: {line}"


@seeds
def test_a_password_in_a_url_does_not_get_through(configure, seed):
    configure()
    dice = seeded(seed)
    password = text(dice, ANYTHING.replace("🔑", ""), 8, 20)
    written = f"postgres://instamsg:{quote(password, safe='')}@db.example:5432/instamsg"
    for line in (f"cannot connect to {written}", repr({"dsn": written}), json.dumps([written])):
        assert leaked(logs.redact(line), password) == [], f"seed {seed}: {line}"
        assert "db.example:5432/instamsg" in logs.redact(line)


WRAPPED = "a long text to be wrapped " * 2
"""Within a secret behind it, if that has blanks."""


def error_report(error: Exception, request, **found) -> tuple[str, str]:
    """The reports of an error in whose frame `found` is."""
    try:
        run_source("raise error", error=error, **found)
    except Exception:
        reporter = error_reports.RedactingReporter(request, *sys.exc_info())
    return reporter.get_traceback_html(), reporter.get_traceback_text()


@pytest.mark.parametrize("seed", range(3))
@kinds
def test_no_secret_gets_into_an_error_report(configure, settings, kind, seed):
    dice = seeded(seed, kind)
    secret = KINDS[kind](dice)
    configure(secrets=[secret] if kind == "learnt" else [])
    settings.SOME_URL = f"https://a.example/?q={secret}"
    settings.SOME_LIST = [{"x": secret}, WRAPPED + secret]
    request = RequestFactory().post(
        f"/x/{quote(secret, safe='')}?{urlencode({'q': secret})}",
        {"text": WRAPPED + secret},
        headers={
            "x-note": WRAPPED + secret,
            "cookie": f"other={quote(secret)}",
        },
    )
    request.COOKIES["sessionid"] = secret
    pages = error_report(
        ValueError(f"it is {secret}"),
        request,
        it=[secret, secret.encode()],
        words=WRAPPED + secret,
        raw=b"a long text that is cut " * 8 + secret.encode(),
        long="x" * (4096 - 12) + " " + secret,
        nested=[{"a": (secret,)}],
        inner=ValueError(secret),
    )
    for page in pages:
        assert leaked(page, secret) == [], f"seed {seed}: {secret!r}"
        assert "ValueError" in page


def test_what_a_telling_name_announces_does_not_get_into_an_error_report(configure, settings):
    configure()
    values = {"password": "Hid-den 'whale'!", "client_secret": "Hid-den cloud & sky"}
    values |= {"code": "x9" * 22, "state": "y8" * 22}
    request = RequestFactory().post(
        f"/x?{urlencode(values)}", values, headers={"authorization": "Custom Hid-den header"}
    )
    settings.DEBUG = True  # Otherwise Django hides some of it.
    found = {**values, "data": values, "signing_key": b"Hid-den key"}
    for page in error_report(ValueError("x"), request, **found):
        for value in [*values.values(), "Hid-den"]:
            assert leaked(page, value) == []


@pytest.mark.parametrize("seed", range(3))
@kinds
def test_no_secret_gets_into_the_page_that_debug_shows_for_an_unknown_address(
    configure, settings, kind, seed
):
    secret = KINDS[kind](seeded(seed, kind))
    configure(secrets=[secret] if kind == "learnt" else [])
    settings.DEBUG = True
    page = Client().get(f"/nowhere/{quote(secret, safe='')}", {"q": secret})
    assert page.status_code == 404
    assert "DEBUG = True" in page.text
    assert leaked(page.text, secret) == [], f"seed {seed}: {secret!r}"


def failing_view(request):
    raise ValueError("it failed")


urlpatterns = [path("failing", failing_view)]


@pytest.mark.parametrize("accepted", ["text/html", "text/plain"])
def test_no_secret_gets_into_the_page_that_debug_shows_for_an_error(settings, accepted):
    settings.DEBUG = True
    settings.ROOT_URLCONF = __name__
    code = "x9" * 20
    client = Client(raise_request_exception=False, headers={"accept": accepted})
    page = client.get("/failing", {"code": code})
    assert page.status_code == 500
    assert "it failed" in page.text
    assert leaked(page.text, code) == []


def test_links_that_let_somebody_in_do_not_get_into_that_page(configure, settings):
    configure()
    settings.DEBUG = True
    secret = "x9" * 20
    for place in ("accounts/invitations", "media/offered"):
        page = Client().get("/nowhere", {"next": f"/{place}/{secret}"})
        assert leaked(page.text, secret) == []


def test_the_pages_of_a_site_in_production_are_not_searched(settings):
    with pytest.raises(MiddlewareNotUsed):
        error_reports.RedactDebug404(lambda request: None)


@pytest.mark.parametrize(
    ("written", "clean"),
    [
        ("{'password': ['a b'], 'z': 2}", "{'password': ['[REDACTED]'], 'z': 2}"),
        ('{"code": 190, "access_token": "a\\"b"}', '{"code": 190, "access_token": "[REDACTED]"}'),
        ("[('client_secret', b'ab'), ('z', 2)]", "[('client_secret', b'[REDACTED]'), ('z', 2)]"),
        ("GET /x?password=ab&z=2 HTTP/1.1", "GET /x?password=[REDACTED]&z=2 HTTP/1.1"),
        ("connect(password=ab, z=2)", "connect(password=[REDACTED], z=2)"),
        ("Authorization: Bearer ab\nHost: x", "Authorization: [REDACTED]\nHost: x"),
        ("sent Bearer abcdefgh0123 to x", "sent Bearer [REDACTED] to x"),
        ("redis://:ab@x:1/0 is down", "redis://:[REDACTED]@x:1/0 is down"),
        ("GET /password/reset/Mg/c1x-0123456789abcdef", "GET /password/reset/Mg/[REDACTED]"),
        ("GET /media/offered/c0ffee-12:1abcde:Xy_z-9 HTTP", "GET /media/offered/[REDACTED] HTTP"),
        (
            "/login?next=%2Fmedia%2Foffered%2Fc0ffee-12%3A1abc%3AXyz",
            "/login?next=%2Fmedia%2Foffered%2F[REDACTED]",
        ),
        (
            "pictures are offered under /media/offered/ for",
            "pictures are offered under /media/offered/ for",
        ),
        ("no\nLINE 1: VALUES ('hello')\n  ^", "no\nLINE 1: [REDACTED]\n  ^"),
        ("no\nDETAIL:  Key (text)=(hello).\nx", "no\nDETAIL: [REDACTED]\nx"),
        (r"DataError('no\nLINE 1: (hello)\n ^')", r"DataError('no\nLINE 1: [REDACTED]\n ^')"),
    ],
)
def test_what_is_around_a_secret_stays(configure, written, clean):
    configure()
    assert logs.redact(written) == clean


# --- What is not secret ---------------------------------------------------------------------------

INNOCENT = [
    "message msg_0123456789ab: TokenRejected (code 190/460, trace AbCdEfGhIjKlMnOpQrStUvW)",
    "error code=190 error_subcode=463 status code=404 exit code: 78 country code=DE",
    "{'code': 190, 'error_subcode': 460, 'status_code': 400}",
    '{"error": {"code": 190, "type": "OAuthException", "message": "Invalid OAuth access token"}}',
    "code=instagram_business_manage_messages_not_granted state=waiting_for_24_hour_window",
    "state=unconfirmed state: NEEDS_RECONNECT_BEFORE_THE_NEXT_MESSAGE",
    "the state of the conversation: open; no authorization code came; a secret was rotated",
    "Error validating access token: Session has expired on Monday",
    "access_token=None, 'client_secret': None, password=''",
    "Basic authentication and bearer authentication are refused; Instagram Basic Display API",
    "IGNORE_MISSING_SUBSCRIPTIONS_AND_FIELDS is set; ORIGINAL_SIGNATURE_NOT_VERIFIED; IGSID 118",
    "scopes instagram_business_basic,instagram_business_manage_messages",
    "GET /conversations/42/updates?after=117 HTTP/1.1 200 https://a.example:8000/x?y=z#frag",
    "mail to mara@a.example about https://a.example/x, then http://a.example:80/ and b@c.example",
    "POST /password/reset/Mg/set-password and /password/change and /accounts/invitations/forged",
    "DETAILS: 3 online, DEADLINE 5: soon",
    "SESSION_SECRET is also listed in SESSION_SECRET_FALLBACKS.",
    "Set SESSION_SECRET=<the output of the command> and PASSWORD_RESET_TIMEOUT=3600",
    "PKCE eyJ AQ IG EAA imsg_ whsec_ gAAAAA token secret :// Bearer Basic.",
    "größer als ein Emoji 🔑, mit %, \\, \" und 'Zitat' &amp; <b>",
    "",
]


def innocent(dice: random.Random) -> str:
    """A line as the site writes it."""
    parts = [
        f"message msg_{dice.randbytes(6).hex()}",
        f"account acc_{dice.randbytes(6).hex()}:",
        f"({dice.randrange(10**15, 10**18)})",
        f"aWdfZAG1faXRlbToxOklHTWVzc2FnZ{text(dice, ALNUM, 80, 120)}",
        f"sha256={dice.randbytes(32).hex()}",
        f"id={dice.randbytes(16).hex()}",
        f"code={dice.randrange(10**5)}",
        f"(code {dice.randrange(999)}/{dice.randrange(9999)})",
        f"state={dice.choice(['queued', 'sending', 'unconfirmed', 'needs_reconnect'])}",
        f"took {dice.random() * 100:.1f} ms",
        f"GET /media/{dice.randbytes(16).hex()} 200",
        f"{{'status': {dice.randrange(600)}, 'path': '/accounts/'}}",
        dice.choice(INNOCENT),
    ]
    return " ".join(dice.sample(parts, k=dice.randint(1, 5)))


LEARNT = ["the-S3cret & of 'this' site", "app/secret+0123456789=", "verify-me"]


@seeds
def test_innocent_lines_stay_as_they_are(configure, seed):
    dice = seeded(seed)
    written = configure("text", LEARNT)
    for line in [*INNOCENT, *(innocent(dice) for _ in range(200))]:
        assert logs.redact(line) == line, f"seed {seed}"
        logging.getLogger("messaging").info("%s", line)
        assert written.getvalue().endswith(f" INFO messaging {line}\n"), f"seed {seed}"


@seeds
def test_innocent_fields_keep_their_structure(configure, seed):
    dice = seeded(seed)
    written = configure("json", LEARNT)
    it = {
        "lines": [innocent(dice), innocent(dice)],
        "deep": {"n": 1, "f": 0.5, "yes": True, "none": None, "list": [[innocent(dice)]]},
        "code": 190,
    }
    logging.getLogger("messaging").info("see", extra={"it": it, "state": "queued"})
    line = json.loads(written.getvalue())
    assert line["it"] == it, f"seed {seed}"
    assert line["state"] == "queued"


def test_a_secret_in_a_field_leaves_the_rest_of_its_structure(configure):
    written = configure("json", ["the-S3cret"])
    it = {"the-S3cret": [1, {"deep": ("it is the-S3cret", None)}]}
    logging.getLogger("messaging").info("see", extra={"it": it})
    clean = {"[REDACTED]": [1, {"deep": ["it is [REDACTED]", None]}]}
    assert json.loads(written.getvalue())["it"] == clean


def test_an_innocent_traceback_is_the_one_that_python_writes(configure):
    written = configure("text", LEARNT)
    try:
        try:
            fail(KeyError("first"))
        except KeyError as exc:
            fail(with_note("code=190"), exc)
    except ValueError:
        expected = logging.Formatter().formatException(sys.exc_info())
        logging.getLogger("messaging").exception("it failed")
    assert written.getvalue().endswith(f"it failed\n{expected}\n")


def test_an_innocent_error_report_is_the_one_that_django_writes(configure, settings):
    configure(secrets=LEARNT)
    del settings.LAYERS  # The environment, of which nobody knows what is in there.
    request = RequestFactory().post("/x?after=3&code=190", {"text": "Is it still available?"})
    try:
        fail(ValueError("what & how"))
    except ValueError:
        found = sys.exc_info()
    ours, theirs = (
        reporter(request, *found)
        for reporter in (error_reports.RedactingReporter, ExceptionReporter)
    )
    for page in ("get_traceback_html", "get_traceback_text"):
        mine, its = (
            re.sub(r"\w{3}, \d.* \d\d:\d\d:\d\d [+-]\d{4}", "", getattr(reporter, page)())
            for reporter in (ours, theirs)
        )
        assert mine == its


def test_redacting_again_changes_nothing(configure):
    configure(secrets=LEARNT)
    dice = seeded(1)
    for name in [*SENSITIVE, "code", "state"]:
        for secret in [*LEARNT, *(make(dice) for make in KINDS.values())]:
            for line in parameter(name, secret):
                once = logs.redact(line)
                assert logs.redact(once) == once


# --- The site's configuration ---------------------------------------------------------------------


def run_site(script: str, *args: str, **environment: str | None) -> str:
    """What a process of the site that runs `script` writes to its standard error."""
    script = f"import django, logging, sys\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        env=child_environment(DJANGO_SETTINGS_MODULE="instamsg.settings", **environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


@styles
@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING"])
def test_every_handler_of_the_site_has_the_filter(style, level):
    run_site(
        """
from granian.log import configure_logging
from instamsg.logs import SensitiveDataFilter
configure_logging("info")  # As the web server does before it loads the site.
django.setup()
import huey.consumer, axes.handlers.database, instamsg.urls, messaging.tasks
loggers = {None: logging.getLogger(), **logging.Logger.manager.loggerDict}
for name in ("django", "django.request", "django.server", "huey", "axes", "granian.access"):
    logging.getLogger(name)
handlers = [
    (name, handler)
    for name, logger in loggers.items()
    for handler in getattr(logger, "handlers", ())
    if not isinstance(handler, logging.NullHandler)
]
names = {name for name, _ in handlers}
assert {None, "huey"} <= names, names  # Huey's worker gives its logger one when it has none.
bare = [
    (name, handler)
    for name, handler in handlers
    if not any(isinstance(one, SensitiveDataFilter) for one in handler.filters)
]
assert not bare, bare
""",
        LOG_FORMAT=style,
        LOG_LEVEL=level,
    )


@pytest.mark.parametrize(
    "name", ["", "django", "django.request", "django.server", "huey", "axes", "granian.access"]
)
def test_whoever_logs_it_is_redacted(configure, name):
    written = configure("text", ["the-S3cret"])
    logging.getLogger(name).error("it is %s", "the-S3cret")
    assert written.getvalue().endswith("it is [REDACTED]\n")


def test_the_secrets_of_the_environment_are_known_from_the_start():
    secrets = {
        "SESSION_SECRET": "the primary secret of this site, 0123456789",
        "SESSION_SECRET_FALLBACKS": "the-fallback-secret-of-this-site",
        "INSTAGRAM_APP_SECRET": "app-secret-0123456789abcdef",
        "INSTAGRAM_VERIFY_TOKEN": "verify me",
        "OLD_SECRET": " the secret before ",
        "NEW_SECRET": "the secret to come",
        "DATABASE_URL": "a#b@c/d&e'f",
        "EMAIL_URL": "mail & password",
        "TASK_QUEUE_URL": "queue's password",
    }
    urls = {
        "DATABASE_URL": "postgres://me:{}@127.0.0.1:9/x",
        "EMAIL_URL": "smtp://me:{}@127.0.0.1:9",
        "TASK_QUEUE_URL": "redis://me:{}@127.0.0.1:9/0",
    }
    environment = {
        name: urls[name].format(quote(value, safe="")) if name in urls else value
        for name, value in secrets.items()
    }
    written = run_site(
        "django.setup()\nfor one in sys.argv[1:]: logging.warning('>%s<', one)",
        *(secret.strip() for secret in secrets.values()),
        **environment,
    )
    assert written.count(">[REDACTED]<") == len(secrets)


def test_a_password_that_its_url_does_not_encode_is_known_as_well():
    written = run_site(
        "django.setup()\nlogging.warning('>%s<', 'pass#word!')",
        DATABASE_URL="postgres://me:pass#word!@127.0.0.1:9/x",
    )
    assert ">[REDACTED]<" in written


def test_the_key_that_django_signs_with_is_known_from_the_start():
    written = run_site(
        "django.setup()\n"
        "from django.conf import settings\n"
        "for one in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS): logging.warning(one)",
        SESSION_SECRET_FALLBACKS="the-fallback-secret-of-this-site",
    )
    assert written.count("[REDACTED]") == 2


def test_a_secret_may_be_learnt_later_and_none_is_forgotten(configure):
    written = configure("text", ["the first one"])
    logs.redact.learn(["the second one", None, ""])
    logs.redact.learn(["the third one"])
    logging.getLogger("crypto").info(
        "%s, %s, %s", "the first one", "the second one", "the third one"
    )
    assert written.getvalue().endswith("[REDACTED], [REDACTED], [REDACTED]\n")


def test_a_secret_that_begins_with_another_goes_whole(configure):
    configure(secrets=["abcd-efgh", "abcd-efgh-ijkl-mnop", "abcd"])
    assert logs.redact("it is abcd-efgh-ijkl-mnop.") == "it is [REDACTED]."


@pytest.mark.django_db
def test_queries_are_not_logged_even_when_all_else_is(configure):
    written = configure(level="DEBUG")
    connection.force_debug_cursor = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s", ["my private text"])
    finally:
        connection.force_debug_cursor = False
    logging.getLogger("django").debug("another line")
    assert "another line" in written.getvalue()
    assert "SELECT" not in written.getvalue()
    assert "private" not in written.getvalue()


class Broken:
    def __str__(self):
        raise RuntimeError("cannot be shown")

    __repr__ = __hash__ = __str__


@styles
def test_what_cannot_be_shown_stops_nobody(configure, style):
    written = configure(style)
    log = logging.getLogger("messaging")
    endless: dict = {}
    endless["it"] = [endless]
    chain: list = []
    chain.append(chain)
    log.info("one %s", Broken())
    log.info(Broken())
    log.info("two", extra={"it": Broken(), "them": [Broken(), {"x": Broken()}]})
    log.info("three", extra={"it": endless, "that": chain})
    log.info("four", extra={"it": {None: 1, 2: 3, ("a", 4): 5}, 7: 8})
    log_error(log, fail, type("BrokenError", (Broken, Exception), {})())
    assert len([line for line in written.getvalue().splitlines() if "messaging" in line]) == 6
