import threading

import pytest

from messaging.calls import Calls


@pytest.fixture
def no_more_threads(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    return lambda: monkeypatch.setattr(threading.Thread, "start", start)


def test_the_threads_that_are_there_make_what_no_more_can_be_started_for(no_more_threads):
    go_on = threading.Event()
    with Calls(2) as calls:
        calls.start("first", go_on.wait)
        no_more_threads()
        calls.start("second", lambda: 2)
        assert calls.ended(0.1) == []
        go_on.set()
        assert calls.ended(5) + calls.ended(0.5) == [("first", True), ("second", 2)]
        assert calls.under_way == 0


def test_where_no_thread_can_be_nothing_is_made_and_nothing_waited_for(no_more_threads):
    made = []
    no_more_threads()
    calls = Calls(2)
    with pytest.raises(RuntimeError):
        calls.start("first", lambda: made.append(1))
    assert (calls.under_way, calls.ended(0.1), made) == (0, [], [])
