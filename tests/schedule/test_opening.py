# SPDX-License-Identifier: Apache-2.0
"""When windows open: clocks that go forward, back, by half an hour, and days that never were."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from surefoot.model.window import Weekday, Window
from surefoot.schedule.opening import Opening, following, is_open, next_opening, openings, resolve
from surefoot.schedule.zones import zone, zones_of
from tests.strategies import DAILY_WINDOWS, INSTANTS, ZONES, windows

MANY = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Pacific/Kwajalein",
    "Antarctica/Troll",
    "Europe/Dublin",
    "Asia/Tehran",
    "America/Nuuk",
    "Asia/Gaza",
    "Pacific/Chatham",
)
"""Half hours, quarters, two hours at once, gaps at midnight, winter time that is the odd one, days that were skipped."""


def utc(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type,misc]  # year, month, day and so on


@pytest.mark.parametrize(
    ("name", "day", "wall", "opens_at"),
    [
        # The clocks go from 02:00 to 03:00: half past two is when they have.
        ("Europe/Berlin", date(2027, 3, 28), time(2, 30), utc(2027, 3, 28, 1)),
        # They go back from 03:00 to 02:00: the first half past two.
        ("Europe/Berlin", date(2027, 10, 31), time(2, 30), utc(2027, 10, 31, 0, 30)),
        ("America/New_York", date(2027, 3, 14), time(2, 0), utc(2027, 3, 14, 7)),
        ("America/New_York", date(2027, 11, 7), time(1, 30), utc(2027, 11, 7, 5, 30)),
        # Half an hour, from 02:00 to 02:30, and back.
        ("Australia/Lord_Howe", date(2027, 10, 3), time(2, 15), utc(2027, 10, 2, 15, 30)),
        ("Australia/Lord_Howe", date(2027, 4, 4), time(1, 45), utc(2027, 4, 3, 14, 45)),
        # The island went to bed on Thursday and got up on Saturday.
        ("Pacific/Apia", date(2011, 12, 29), time(23, 59), utc(2011, 12, 30, 9, 59)),
        ("Pacific/Apia", date(2011, 12, 30), time(2, 0), utc(2011, 12, 30, 10)),
        ("Pacific/Apia", date(2011, 12, 30), time(20, 0), utc(2011, 12, 30, 10)),
        ("Pacific/Apia", date(2011, 12, 31), time(0, 0), utc(2011, 12, 30, 10)),
        # Midnight itself is skipped.
        ("America/Sao_Paulo", date(2018, 11, 4), time(0, 0), utc(2018, 11, 4, 3)),
        # Two hours at once.
        ("Antarctica/Troll", date(2027, 3, 28), time(2, 30), utc(2027, 3, 28, 1)),
    ],
)
def test_a_start_is_resolved_by_the_clocks_on_the_wall(name: str, day: date, wall: time, opens_at: datetime) -> None:
    assert resolve(day, wall, zone(name)) == opens_at


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("start", ["00:00", "02:15", "02:30", "23:45"])
def test_thousands_of_windows_open_once_a_civil_day_each_exactly_its_length(name: str, start: str) -> None:
    window = Window(start=start, length="3h", zone=name)
    found = {opening.opens_at: opening for opening in _walk(window, utc(2010, 12, 1), 420)}
    assert len(found) == 420
    assert {opening.closes_at - opening.opens_at for opening in found.values()} == {timedelta(hours=3)}
    days = [_civil_day(opening, start) for opening in found.values()]
    gone = {date(2011, 12, 30)} if name == "Pacific/Apia" else set[date]()
    every = {days[0] + timedelta(days=number) for number in range((days[-1] - days[0]).days + 1)} - gone
    assert sorted(days) == sorted(every), "no day twice, and none without but that which never was"


def test_a_window_of_a_day_that_never_was_opens_a_week_later() -> None:
    friday = Window(days=[Weekday.FRI], start="02:00", length="1h", zone="Pacific/Apia")
    opening = next_opening([friday], zones_of([friday]), utc(2011, 12, 24))
    assert opening is not None
    assert opening.opens_at == utc(2012, 1, 5, 12)


def test_a_window_that_spans_the_change_of_the_clocks_lasts_as_long_as_ever() -> None:
    for day, clock in ((date(2027, 3, 28), time(5, 0)), (date(2027, 10, 31), time(3, 0))):
        window = Window(start="01:00", length="3h", zone="Europe/Berlin")
        now = datetime.combine(day, time(0), tzinfo=UTC)
        opening = next_opening([window], zones_of([window]), now)
        assert opening is not None
        assert opening.closes_at.astimezone(zone("Europe/Berlin")).time() == clock


@given(window=windows(), now=INSTANTS)
@example(window=Window(days=[Weekday.FRI], start="02:00", length="1m", zone="Pacific/Apia"), now=utc(2011, 12, 30, 9))
@settings(max_examples=300, deadline=None)
def test_some_window_is_always_next_within_a_fortnight(window: Window, now: datetime) -> None:
    opening = next_opening([window], zones_of([window]), now)
    assert opening is not None
    assert opening.closes_at > now
    assert opening.opens_at <= now + timedelta(days=15)


@given(window=windows(), now=INSTANTS, minutes=st.integers(0, 8 * 24 * 60))
@settings(max_examples=300, deadline=None)
def test_to_look_earlier_finds_the_same(window: Window, now: datetime, minutes: int) -> None:
    zones, later = zones_of([window]), now + timedelta(minutes=minutes)
    assert [one for one in openings(window, zones, now) if one.opens_at >= later][:1] == [
        one for one in openings(window, zones, later) if one.opens_at >= later
    ][:1]


@given(st.lists(windows(), min_size=1, max_size=4), INSTANTS)
@settings(max_examples=300, deadline=None)
def test_a_union_is_open_when_any_of_its_windows_is(several: list[Window], now: datetime) -> None:
    zones = zones_of(several)
    assert is_open(several, zones, now) == any(is_open([window], zones, now) for window in several)


@given(st.lists(windows(), min_size=1, max_size=4), INSTANTS)
@settings(max_examples=200, deadline=None)
def test_the_openings_of_a_union_never_touch(several: list[Window], now: datetime) -> None:
    found = following(several, zones_of(several), now)
    assert all(later.opens_at > earlier.closes_at for earlier, later in pairwise(found))
    assert all(opening.opens_at < opening.closes_at for opening in found)


@given(window=DAILY_WINDOWS, name=ZONES, now=INSTANTS)
@settings(max_examples=300, deadline=None)
def test_a_window_is_open_from_its_first_instant_and_closed_at_its_last(window: Window, name: str, now: datetime) -> None:
    at = Window(start=window.start, length=window.length, days=window.days, zone=name)
    zones = zones_of([at])
    opening = next(one for one in openings(at, zones, now) if one.opens_at >= now)
    assert is_open([at], zones, opening.opens_at)
    assert is_open([at], zones, opening.closes_at - timedelta(seconds=1))
    following_ = next(one for one in openings(at, zones, now) if one.opens_at > opening.opens_at)
    if following_.opens_at > opening.closes_at:
        assert not is_open([at], zones, opening.closes_at)


def test_without_windows_none_opens() -> None:
    assert next_opening([], {}, utc(2027, 1, 1)) is None
    assert not is_open([], {}, utc(2027, 1, 1))


def _walk(window: Window, now: datetime, count: int) -> Iterator[Opening]:
    """Yield one opening after another, each looked for after the one before has closed."""
    zones = zones_of([window])
    for _ in range(count):
        opening = next_opening([window], zones, now)
        assert opening is not None
        yield opening
        now = opening.closes_at


def _civil_day(opening: Opening, start: str) -> date:
    """Return the day on which a window opened; where the clocks skipped over midnight it belongs to the day before."""
    opened = opening.opens_at.astimezone(zone(opening.zone))
    is_after_midnight = opened.time() < time.fromisoformat(start) and opened.hour < 12 < int(start[:2])
    return opened.date() - timedelta(days=is_after_midnight)
