# SPDX-License-Identifier: Apache-2.0
"""Whether an install may start: who is heard first, what fits, and how a fleet is spread."""

from datetime import UTC, datetime, timedelta
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.model.assignment import DeviceId
from surefoot.model.window import Weekday, Window
from surefoot.schedule.opening import Opening, next_opening
from surefoot.schedule.permission import Permission, Reason, Terms, forced_at, held_by_people, may_start, spread
from surefoot.schedule.zones import zones_of
from tests.strategies import INSTANTS, windows

NIGHT = Window(start="02:00", length="3h", zone="Europe/Berlin")
WEEKDAYS = [Weekday.MON, Weekday.TUE, Weekday.WED, Weekday.THU, Weekday.FRI]
NOON = datetime(2026, 11, 25, 11, tzinfo=UTC)  # a Wednesday
OPENS_AT = datetime(2026, 11, 26, 1, tzinfo=UTC)
DEVICE = DeviceId("t-1")


def terms(**changes: object) -> Terms:
    facts: dict[str, Any] = {
        "device_id": DEVICE,
        "windows": [NIGHT],
        "install_s": 600,
        "start_before": NOON + timedelta(days=30),
        "ignore_windows_from": None,
    }
    return Terms(**(facts | changes))


def ask(now: datetime, *, paused: str = "", interlock: str = "", **changes: object) -> Permission:
    its = terms(**changes)
    return may_start(its, zones_of(its.windows), now, paused=paused, interlock=interlock)


def test_outside_its_window_it_waits_and_says_so_in_local_time() -> None:
    found = ask(NOON)
    assert (found.may_start, found.reason) == (False, Reason.CLOSED)
    assert found.detail == "window opens Thu 02:00 local (Europe/Berlin)"
    assert found.until is not None
    assert OPENS_AT <= found.until < OPENS_AT + timedelta(hours=3)


def test_at_the_moment_that_was_named_it_starts() -> None:
    until = ask(NOON).until
    assert until is not None
    assert ask(until - timedelta(seconds=1)).reason is Reason.TURN
    assert ask(until).may_start
    assert ask(until).detail == "window is open until 05:00 local (Europe/Berlin)"


def test_nothing_starts_that_would_not_end_before_the_window_closes() -> None:
    closes_at = OPENS_AT + timedelta(hours=3)
    assert ask(closes_at - timedelta(seconds=600)).may_start
    late = ask(closes_at - timedelta(seconds=599))
    assert (late.may_start, late.reason) == (False, Reason.TOO_SHORT)
    assert late.detail == "what is left of this window is too short for an install; the next window opens Fri 02:00 local (Europe/Berlin)"


def test_a_window_shorter_than_an_install_is_never_used() -> None:
    short = Window(start="02:00", length="9m", zone="UTC")
    found = ask(NOON, windows=[short])
    assert (found.may_start, found.reason, found.until) == (False, Reason.TOO_SHORT, None)
    both = ask(NOON, windows=[short, Window(days=[Weekday.SAT], start="02:00", length="1h", zone="UTC")])
    assert both.detail == "window opens Sat 02:00 local (UTC)", "a longer one is waited for"


def test_two_windows_that_touch_give_the_time_of_both() -> None:
    halves = [Window(start="02:00", length="5m", zone="UTC"), Window(start="02:05", length="15m", zone="UTC")]
    assert ask(datetime(2026, 11, 26, 2, 10, tzinfo=UTC), windows=halves).may_start


def test_without_windows_it_starts_at_any_time() -> None:
    assert ask(NOON, windows=[]).reason is Reason.NO_WINDOWS
    assert ask(NOON, windows=[]).may_start


PAST = NOON - timedelta(hours=1)
INSIDE = OPENS_AT + timedelta(hours=2)


@pytest.mark.parametrize(
    ("now", "facts", "expected"),
    [
        (INSIDE, {}, (Reason.OPEN, True)),
        (NOON, {}, (Reason.CLOSED, False)),
        (NOON, {"ignore_windows_from": PAST}, (Reason.DEADLINE, True)),
        (NOON, {"ignore_windows_from": NOON}, (Reason.DEADLINE, True)),
        (NOON, {"ignore_windows_from": NOON + timedelta(seconds=1)}, (Reason.CLOSED, False)),
        (INSIDE, {"interlock": "busy", "ignore_windows_from": PAST}, (Reason.INTERLOCK, False)),
        (INSIDE, {"interlock": "busy"}, (Reason.INTERLOCK, False)),
        (INSIDE, {"paused": "5 of 90 failed", "interlock": "busy", "ignore_windows_from": PAST}, (Reason.PAUSED, False)),
        (INSIDE, {"paused": "5 of 90 failed", "windows": []}, (Reason.PAUSED, False)),
        (INSIDE, {"start_before": PAST, "ignore_windows_from": PAST, "interlock": "busy"}, (Reason.VOID, False)),
        (INSIDE, {"start_before": INSIDE}, (Reason.OPEN, True)),
    ],
)
def test_a_pause_comes_before_an_interlock_before_a_deadline_before_a_window(
    now: datetime, facts: dict[str, Any], expected: tuple[Reason, bool]
) -> None:
    found = ask(now, **facts)
    assert (found.reason, found.may_start) == expected


@pytest.mark.parametrize(
    ("put_off", "consent", "expected"),
    [
        (None, None, None),
        (None, 5, None),
        (5, None, 5),
        (5, 9, 5),
        (9, 5, 5),
        (0, None, None),
        (-1, 9, None),
        (9, 0, None),
        (9, -1, None),
    ],
)
def test_people_hold_an_install_back_as_long_as_they_said_and_as_they_may(
    put_off: int | None, consent: int | None, expected: int | None
) -> None:
    said, may, until = (None if hours is None else NOON + timedelta(hours=hours) for hours in (put_off, consent, expected))
    assert held_by_people(said, may, NOON) == until


def test_an_interlock_says_when_it_ends() -> None:
    later = NOON + timedelta(hours=3)
    found = may_start(terms(), zones_of([NIGHT]), NOON, interlock="its user put it off", interlock_until=later)
    assert (found.reason, found.until) == (Reason.INTERLOCK, later)


def test_a_wait_ends_when_windows_are_ignored_if_that_is_sooner() -> None:
    soon = NOON + timedelta(minutes=5)
    assert ask(NOON, ignore_windows_from=soon).until == soon
    assert ask(NOON, windows=[Window(start="02:00", length="1m", zone="UTC")], ignore_windows_from=soon).until == soon


@given(st.lists(windows(), min_size=1, max_size=3), INSTANTS, st.integers(0, 7_200), st.text("abc-", min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_a_start_always_fits_and_what_is_named_is_kept(several: list[Window], now: datetime, install_s: int, device: str) -> None:
    its = terms(windows=several, install_s=install_s, device_id=DeviceId(device), start_before=now + timedelta(days=30))
    zones = zones_of(several)
    found = may_start(its, zones, now)
    if not found.may_start and found.until is not None:
        assert found.until > now
        now = found.until
        found = may_start(its, zones, now)
        assert found.may_start, "the moment that was named is one at which it starts"
    if found.may_start:
        opening = next_opening(several, zones, now)
        assert isinstance(opening, Opening)
        assert opening.opens_at <= now <= opening.closes_at - timedelta(seconds=install_s)


def test_a_deadline_is_never_before_the_devices_own_grace_and_spread_over_another() -> None:
    grace = timedelta(hours=24)
    deadline = NOON
    moments = [forced_at(deadline, NOON - timedelta(days=9), grace, DeviceId(f"t-{number}")) for number in range(1_000)]
    assert min(moments) >= deadline
    assert max(moments) < deadline + grace
    hours = [(moment - deadline).total_seconds() / 3_600 for moment in moments]
    assert mean(hours) == pytest.approx(12, abs=1)
    busiest = max(sum(1 for hour in hours if int(hour) == wanted) for wanted in range(24))
    assert busiest < 80, "no hour has twice its share of 42"


def test_a_device_back_from_a_year_offline_has_its_grace() -> None:
    back = NOON + timedelta(days=365)
    assert forced_at(NOON, back, timedelta(hours=24), DEVICE) >= back + timedelta(hours=24)


def test_a_fleet_is_spread_over_a_window_and_drawn_anew_each_night() -> None:
    devices = [DeviceId(f"t-{number}") for number in range(500)]
    first = [_moment(device, NOON) for device in devices]
    second = [_moment(device, NOON + timedelta(days=1)) for device in devices]
    minutes = [(moment - OPENS_AT).total_seconds() / 60 for moment in first]
    assert 0 <= min(minutes) < 5
    assert 80 < max(minutes) <= 85, "the first half of the 170 minutes in which an install still fits"
    apart = [abs((later - earlier - timedelta(days=1)).total_seconds()) for earlier, later in zip(first, second, strict=True)]
    assert mean(apart) > 600


def test_the_spread_of_a_long_window_is_not_too_wide() -> None:
    week = Window(days=[Weekday.SAT], start="00:00", length="7d", zone="UTC")
    saturday = datetime(2026, 11, 28, tzinfo=UTC)
    moments = [
        may_start(
            terms(device_id=DeviceId(f"t-{n}"), windows=[Window(days=[Weekday.SAT], start="00:00", length="2d", zone="UTC")]),
            zones_of([week]),
            NOON,
        ).until
        for n in range(100)
    ]
    assert all(moment is not None and moment <= saturday + timedelta(hours=2) for moment in moments)
    assert ask(saturday + timedelta(days=3), windows=[week]).may_start, "a window without end is open"


@given(st.text(max_size=10), st.integers(0, 10**7))
def test_a_part_of_a_time_is_less_than_all_of_it(device: str, over_s: int) -> None:
    part = spread(DeviceId(device), "x", timedelta(seconds=over_s))
    assert timedelta(0) <= part <= timedelta(seconds=max(over_s - 1, 0))


def _moment(device: DeviceId, now: datetime) -> datetime:
    until = ask(now, device_id=device).until
    assert until is not None
    return until
