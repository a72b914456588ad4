"""Cron as Kubeflow Pipelines reads it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kfp_suite.contracts.errors import ParameterError
from kfp_suite.kubeflow.cron import next_times, parse_cron

NOW = datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "six"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("30 0 3 * * *", "30 0 3 * * *"),
        ("0 0 9 ? * mon-fri", "0 0 9 ? * MON-FRI"),
        ("*/15 8-18 1,15 JAN *", "0 */15 8-18 1,15 JAN *"),
    ],
)
def test_five_fields_become_six(given: str, six: str) -> None:
    assert parse_cron(given) == six


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ("60 0 3 * * *", "the second is not right; got 60; expected 0 to 59"),
        ("x 3 * * *", "the minute is not right; got X"),
        ("0 24 * * *", "the hour is not right; got 24; expected 0 to 23"),
        ("0 3 0 * *", "the day of month is not right; got 0; expected 1 to 31"),
        ("0 3 * 13 *", "the month is not right; got 13; expected 1 to 12 or JAN to DEC"),
        ("0 3 * * 7", "the day of week is not right; got 7; expected 0 to 6 or SUN to SAT"),
        ("0 3 * * FRI-MON", "the day of week is not right; got FRI-MON"),
        ("0 5-3 * * *", "the hour is not right; got 5-3"),
        ("*/0 3 * * *", "the minute is not right; got */0"),
        ("0 3 *", "expected six fields (second, minute, hour, day of month, month, day of week)"),
        ("0 3 31 2 *", "never comes"),
        ("*-5 3 * * *", "the minute is not right; got *-5"),
        ("0 ?-3 * * *", "the hour is not right; got ?-3"),
        ("0 3 1-5-7 * *", "the day of month is not right; got 1-5-7"),
        ("0 3 31 2 */2", "never comes"),
        ("@daily", "not a schedule; got @daily"),
    ],
)
def test_the_field_at_fault_is_named(given: str, field: str) -> None:
    with pytest.raises(ParameterError) as refused:
        parse_cron(given)
    assert field in str(refused.value).replace("'", "")


@pytest.mark.parametrize(
    ("six", "days"),
    [
        # A star in either: both have to fit, a step of it, too.
        ("0 0 3 */2 * MON", ["Mon 09 Feb", "Mon 23 Feb", "Mon 09 Mar"]),
        ("0 0 3 13 * */2", ["Sat 13 Jun", "Thu 13 Aug", "Sun 13 Sep"]),
        ("0 0 3 ? * MON-WED", ["Mon 02 Feb", "Tue 03 Feb", "Wed 04 Feb"]),
        ("0 0 3 1,*/10 * MON", ["Mon 11 May", "Mon 01 Jun", "Mon 31 Aug"]),
        # None: one of them is enough.
        ("0 0 3 13 * FRI", ["Fri 06 Feb", "Fri 13 Feb", "Fri 20 Feb"]),
        ("0 0 3 2 * 4/2", ["Mon 02 Feb", "Thu 05 Feb", "Sat 07 Feb"]),
    ],
)
def test_a_star_makes_both_days_count(six: str, days: list[str]) -> None:
    assert [f"{time:%a %d %b}" for time in next_times(parse_cron(six), NOW, 3)] == days


def test_days_that_do_not_fit_are_not_counted_second_by_second() -> None:
    (first,) = next_times(parse_cron("* * * * * FRI"), NOW, 1)
    assert first.isoformat() == "2026-02-06T00:00:00+00:00"


def test_the_next_times_are_in_utc() -> None:
    found = next_times("0 0 3 * * *", NOW, 3)
    assert [time.isoformat() for time in found] == [
        "2026-02-01T03:00:00+00:00",
        "2026-02-02T03:00:00+00:00",
        "2026-02-03T03:00:00+00:00",
    ]
    assert next_times("45 59 23 * * *", NOW, 1)[0].isoformat() == "2026-01-31T23:59:45+00:00"


@pytest.mark.parametrize("zone", ["CRON_TZ=Europe/Berlin", "TZ=UTC", "cron_tz=America/New_York"])
def test_time_zone_is_refused_as_one(zone: str) -> None:
    with pytest.raises(ParameterError, match="no time zone of its own") as raised:
        parse_cron(f"{zone} 0 0 3 * * *")
    assert raised.value.fix == f"give the hours in UTC, without {zone}"
