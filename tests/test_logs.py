import io
import json
import logging
import logging.config

import pytest

from instamsg import logs

SECRET = "the-S3cret-of-this-site-0123456789-abcdef"
TOKEN = "IGAABexampleTokenOfLunaCeramicsZDZD"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzaWQiOiJ4In0.c2lnbmF0dXJl"


@pytest.fixture
def log(settings):
    """A logger with the site's filter, and what it wrote."""
    known = logs.redact.known
    logs.redact.learn([SECRET])
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(logs.SensitiveDataFilter())
    handler.setFormatter(logging.Formatter("%(message)s %(levelname)s"))
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(handler)
    yield logger, handler, stream
    logs.redact.known = known


HIDDEN = [
    SECRET,
    TOKEN,
    JWT,
    "imsg_0123456789abcdefghijABCDEFGHIJ",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "AQB-some_long_authorization_code_of_instagram_00",
]


@pytest.mark.parametrize("secret", HIDDEN)
def test_a_secret_is_redacted_wherever_it_stands(log, secret):
    logger, handler, stream = log
    handler.setFormatter(logs.JsonFormatter())
    logger.info("message %s" % secret)  # noqa: UP031
    logger.info("argument %s", secret)
    logger.info("mapping %(a)s", {"a": secret})
    logger.info("object %r", {"token": [secret]})
    logger.info("extra", extra={"payload": {"deep": [secret]}, "plain": secret})
    try:
        raise ValueError(f"error {secret}")
    except ValueError:
        logger.exception("traceback")
        logger.info("exc_info", exc_info=True)
    logger.info("stack", stack_info=True)
    written = stream.getvalue()
    assert secret not in written
    assert written.count("[REDACTED]") >= 8
    assert "ValueError" in written


@pytest.mark.parametrize(
    "text",
    [
        f'"GET /access_token?client_secret=abc&access_token={TOKEN} HTTP/1.1" 200',
        "POST password=hunter2 done",
        "{'client_secret': 'short'}",
        "Authorization: Bearer abcdefghijkl.mnop",
    ],
)
def test_urls_and_headers_lose_their_credentials(text):
    clean = logs.redact(text)
    for secret in ("=abc", TOKEN, "hunter2", "'short'", "abcdefghijkl"):
        assert secret not in clean


@pytest.mark.parametrize(
    "text",
    [
        "account acc_89baed550ed9: connected",
        "message msg_0123456789ab: TokenRejected (code 190/460, trace AbC)",
        "state=pending code=10 error_subcode=2534022",
        "GET /webhooks/instagram HTTP/1.1 200",
        "fingerprint 3f9a0c12ab34",
    ],
)
def test_what_an_operator_needs_stays_readable(text):
    assert logs.redact(text) == text


def test_a_second_handler_without_a_filter_of_its_own_gets_the_clean_record(log):
    logger, _, _ = log
    second = io.StringIO()
    logger.addHandler(logging.StreamHandler(second))
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("with %s", SECRET)
    assert SECRET not in second.getvalue()


def test_a_wrong_placeholder_does_not_stop_the_caller(log):
    logger, _, stream = log
    logger.info("%d things", SECRET)
    assert "%d things" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_what_a_database_quotes_of_a_row_is_redacted():
    error = (
        "DataError: out of range\nLINE 1: ... VALUES ('in', 'my private text')\n   ^\n"
        "DETAIL:  Failing row contains (7, my private text)."
    )
    assert "my private text" not in logs.redact(error)
    assert "out of range" in logs.redact(error)


def test_links_that_let_somebody_in_are_redacted():
    for link in (
        "/accounts/invitations/abcdefghijklmnop-QRSTUV_w",
        "/password/reset/Mg/c1x-0123456789abcdef",
    ):
        assert link.rsplit("/", 1)[1] not in logs.redact(f"Not Found: {link}")


def test_json_lines_hold_time_level_logger_and_extras(log):
    logger, handler, stream = log
    handler.setFormatter(logs.JsonFormatter())
    logger.warning("hello %s", "there", extra={"account": "acc_1"})
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING", "logger": "test", "message": "hello there", "account": "acc_1",
    }  # fmt: skip


def test_a_worker_whose_queue_is_away_says_so_once_a_minute(log, monkeypatch):
    logger, _, stream = log
    logger.addFilter(logs.OnceAMinute())
    clock = iter([0.0, 0.01, 0.05, 0.06, 59.9, 60.1, 60.2, 60.3])
    monkeypatch.setattr(logs.time, "monotonic", lambda: next(clock))
    for _ in range(2):
        logger.error("Error reading from queue")
        logger.error("Error reading schedule.")
    for _ in range(2):
        logger.error("Error reading from queue")
    for task in ("one", "another"):
        logger.error("Unhandled error during execution of task %s.", task)
    said = [line.removesuffix(" ERROR") for line in stream.getvalue().splitlines()]
    assert said == [
        "Error reading from queue",
        "Error reading schedule.",
        "Error reading from queue",
        "Unhandled error during execution of task one.",
        "Unhandled error during execution of task another.",
    ]


def test_the_loggers_of_those_who_ask_the_queue_repeat_nothing():
    for name in ("huey.consumer.Worker", "huey.consumer.Scheduler", "messaging.queues"):
        assert any(isinstance(one, logs.OnceAMinute) for one in logging.getLogger(name).filters)
