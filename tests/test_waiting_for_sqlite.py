"""SQLite's one writer: who waits for it gets it, and not for ever."""

import threading
import time
from contextlib import closing

import pytest
from django.db import OperationalError, ProgrammingError, connection, connections

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has many writers")


@pytest.fixture
def connect(tmp_path, django_db_blocker):
    """Opens the same file, as the site does, for as long as the test lasts."""
    opened = []

    def connect(patience=3):
        options = {**connection.settings_dict["OPTIONS"], "timeout": patience}
        given = {"NAME": tmp_path / "site.db", "OPTIONS": options}
        opened.append(type(connections["default"])(connection.settings_dict | given))
        opened[-1].inc_thread_sharing()
        return opened[-1]

    with django_db_blocker.unblock():
        with connect().cursor() as cursor:
            cursor.execute("CREATE TABLE written (who TEXT)")
        yield connect
        for one in opened:
            one.close()


class Busy:
    """Somebody who writes for 60 ms, rests for 3, and writes again."""

    def __init__(self, database):
        self.database, self.commits, self.is_over = database, 0, False
        self.thread = threading.Thread(target=self.write)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.is_over = True
        self.thread.join()

    def write(self):
        with closing(self.database.cursor()) as cursor:
            while not self.is_over:
                cursor.execute("BEGIN IMMEDIATE")
                cursor.execute("INSERT INTO written VALUES ('busy')")
                time.sleep(0.06)
                cursor.execute("COMMIT")
                self.commits += 1
                time.sleep(0.003)


@pytest.fixture
def held(connect):
    """Somebody has begun a transaction and does not end it."""
    with closing(connect().cursor()) as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        yield
        cursor.execute("ROLLBACK")


def test_who_waits_gets_in_when_the_other_rests(connect):
    mine, waited = connect(), []
    with Busy(connect()) as busy, closing(mine.cursor()) as cursor:
        for _ in range(10):
            time.sleep(0.005)
            before = busy.commits
            cursor.execute("INSERT INTO written VALUES ('me')")
            waited.append(busy.commits - before)
    assert sum(waited) <= 20, f"how many others were first: {waited}"


def test_nobody_waits_longer_than_their_patience(connect, held):
    start = time.monotonic()
    with closing(connect(patience=0.2).cursor()) as cursor, pytest.raises(OperationalError):
        cursor.execute("INSERT INTO written VALUES ('me')")
    assert 0.2 <= time.monotonic() - start < 2


def test_a_transaction_waits_as_a_statement_does(connect, held):
    mine = connect(patience=0.2)
    mine.ensure_connection()
    start = time.monotonic()
    with pytest.raises(OperationalError):
        mine.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    assert 0.2 <= time.monotonic() - start < 2


def test_what_is_wrong_is_told_at_once(connect):
    start = time.monotonic()
    with closing(connect().cursor()) as cursor:
        for wrong in ("INSERT INTO nowhere VALUES (1)", "SELEC"):
            with pytest.raises((OperationalError, ProgrammingError)):
                cursor.execute(wrong)
    assert time.monotonic() - start < 1
