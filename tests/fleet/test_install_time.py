# SPDX-License-Identifier: Apache-2.0
"""How long installs take: the usual time covers 95 of 100, nothing is said of a few, and no clock that was set teaches anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.fleet.attempt import after_events
from surefoot.fleet.install_time import BOUNDS_S, ENOUGH, MEMORY, InstallTimes, seconds_between, with_install
from surefoot.model.event import DeploymentEvent, EventType
from tests.fleet.test_attempt import ATTEMPT, NEW, NOW, event

SECONDS = st.integers(0, BOUNDS_S[-1])


def known(*seconds: int) -> InstallTimes:
    times = InstallTimes()
    for one in seconds:
        times = with_install(times, one)
    return times


@given(st.lists(SECONDS, min_size=ENOUGH, max_size=200))
def test_95_of_100_took_no_longer_and_of_the_next_shorter_bound_fewer_did(seconds: list[int]) -> None:
    usual_s = known(*seconds).usual_s
    assert usual_s is not None
    shorter = max((bound for bound in BOUNDS_S if bound < usual_s), default=-1)
    assert sum(one <= usual_s for one in seconds) * 100 >= len(seconds) * 95 > sum(one <= shorter for one in seconds) * 100


@given(st.lists(SECONDS, max_size=ENOUGH - 1))
def test_of_a_few_nothing_is_said(seconds: list[int]) -> None:
    assert (known(*seconds).usual_s, known(*seconds).installs) == (None, len(seconds))


def test_what_is_remembered_is_bounded_and_follows_what_installs_take_now() -> None:
    old = known(*[30] * (MEMORY - 1))
    assert (old.installs, old.usual_s) == (MEMORY - 1, 30)
    times = old
    for _ in range(2 * MEMORY):
        times = with_install(times, 500)
        assert times.installs < MEMORY
    assert times.usual_s == 600


@pytest.mark.parametrize(
    ("began", "ended", "clock", "took"),
    [
        ("2026-11-23T08:00:00Z", "2026-11-23T08:01:30Z", "synced", 90),
        ("2026-11-23T08:00:00Z", "2026-11-23T09:01:30+01:00", "synced", 90),
        ("2026-11-23T08:00:00Z", "2026-11-23T08:00:00Z", "synced", 0),
        ("2026-11-23T08:00:00Z", "2026-11-24T08:00:00Z", "synced", 86_400),
        ("2026-11-23T08:00:00Z", "2026-11-24T08:00:01Z", "synced", None),
        ("2026-11-23T08:00:00Z", "2026-11-23T07:59:59Z", "synced", None),
        ("2026-11-23T08:00:00Z", "2026-11-23T08:01:30Z", "unsynced", None),
        ("", "2026-11-23T08:01:30Z", "synced", None),
        ("2026-13-99T08:00:00Z", "2026-11-23T08:01:30Z", "synced", None),
        ("2026-11-23T08:00:00Z", "2026-11-23T08:99:30Z", "synced", None),
    ],
)
def test_an_install_is_timed_by_a_clock_that_can_be_believed(began: str, ended: str, clock: str, took: int | None) -> None:
    last = DeploymentEvent(seq=2, type=EventType.HEALTH_OK, at=ended, clock=clock)  # type: ignore[arg-type]  # one of the two words
    assert seconds_between(began, last) == took


def test_an_attempt_is_timed_once_from_the_first_begin_of_its_install_to_the_first_sign_of_health() -> None:
    told = [(EventType.INSTALL_STARTED, 0), (EventType.INSTALL_STARTED, 10), (EventType.HEALTH_OK, 50), (EventType.HEALTH_OK, 59)]
    attempt = ATTEMPT
    for seq, (kind, second) in enumerate(told, start=1):
        said = DeploymentEvent(seq=seq, type=kind, at=f"2026-11-23T08:00:{second:02}Z", assignment_id=attempt.assignment_id)
        attempt = after_events(attempt, [said], None, NOW)
    assert attempt.install_took_s == 50


def test_what_went_badly_is_not_timed() -> None:
    kinds = [EventType.INSTALL_STARTED, EventType.HEALTH_FAILED, EventType.ROLLBACK_COMPLETED]
    assert after_events(ATTEMPT, [event(kind) for kind in kinds], NEW, NOW).install_took_s is None
