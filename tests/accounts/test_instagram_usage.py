"""What the usage headers tell (8), and what they may hold instead."""

import json
from datetime import timedelta

import pytest

from accounts import instagram_usage
from accounts.instagram_usage import Usage

APP, BUSINESS = "X-App-Usage", "X-Business-Use-Case-Usage"


def business(*entries):
    return {BUSINESS: json.dumps({"17841405309213877": list(entries)})}


def test_the_worst_of_the_three_counts():
    headers = {APP: '{"call_count": 28, "total_time": 91, "total_cputime": 25}'}
    assert instagram_usage.read(headers) == Usage(91)


def test_the_worst_of_both_headers_and_all_entries_counts():
    entries = {"call_count": 40}, {"total_cputime": 80, "estimated_time_to_regain_access": 7}
    headers = {APP: '{"call_count": 60}'} | business(*entries)
    assert instagram_usage.read(headers) == Usage(80, timedelta(minutes=7))


def test_nothing_said_is_not_nothing_used():
    assert instagram_usage.read({}) is None


@pytest.mark.parametrize(
    "value", ["", "x", "[]", "{}", "null", "3", '"call_count"', '{"call_count"', '{"a": [1, null]}']
)
def test_an_odd_header_tells_nothing(value):
    assert instagram_usage.read({APP: value, BUSINESS: value}) is None


@pytest.mark.parametrize("value", ["many", None, True, [], {}, -5, 0])
def test_an_odd_number_counts_as_none(value):
    headers = business({"call_count": value, "total_time": 3})
    assert instagram_usage.read(headers) == Usage(3)


@pytest.mark.parametrize("minutes", [1e300, 10**30, 99999999])
def test_no_wait_is_longer_than_a_day(minutes):
    headers = business({"call_count": 1, "estimated_time_to_regain_access": minutes})
    assert instagram_usage.read(headers).wait == timedelta(days=1)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_breaks_nothing(text):
    headers = {APP: f'{{"call_count": {text}, "total_time": 5}}'}
    assert instagram_usage.read(headers).percent >= 5
    assert instagram_usage.read({APP: "[" * 100_000}) is None
