# SPDX-License-Identifier: Apache-2.0
"""What is counted of a release, and when that is too much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.agent.triggers import Thresholds, is_over, judge
from surefoot.agent.vitals import MOST_STARTS, NOTE_S, Reset, Start, Vitals, asking_for, is_worth_noting, lived, started
from surefoot.model.record import from_json, to_json
from surefoot.model.rollback import RollbackReason

LIMITS = Thresholds()
WINDOW_S = LIMITS.window_s


def vitals_after(lives_s: list[float], reset: Reset = Reset.OTHER) -> Vitals:
    """Return the vitals of a release that was started anew after each of these seconds."""
    now = started(Vitals(is_stopped=True), "0", reset)
    for number, life_s in enumerate(lives_s, 1):
        now = started(lived(now, life_s, is_failing=False, reached=()), str(number), reset)
    return now


def reason(vitals: Vitals) -> RollbackReason | None:
    found = judge(vitals, LIMITS)
    return None if found is None else found.reason


@pytest.mark.parametrize(
    ("lives_s", "expected"),
    [
        ([], None),
        ([1, 1, 1], None),
        ([1, 1, 1, 1], RollbackReason.REBOOT_LOOP),
        ([1000, 100, 100, 100], RollbackReason.REBOOT_LOOP),
        ([1000, 100, 100, 101], None),
        ([200] * 60, None),
    ],
)
def test_more_than_three_reboots_in_five_minutes_of_uptime_are_a_loop(lives_s: list[float], expected: RollbackReason | None) -> None:
    assert reason(vitals_after(lives_s)) is expected


@pytest.mark.parametrize(
    ("lives_s", "reset", "expected"),
    [
        ([120] * 6, Reset.WATCHDOG, RollbackReason.WATCHDOG),
        ([120] * 6, Reset.UNKNOWN, RollbackReason.WATCHDOG),
        ([120] * 6, Reset.OTHER, None),
        ([120] * 5, Reset.WATCHDOG, None),
        ([121] * 20, Reset.WATCHDOG, None),
    ],
)
def test_more_than_five_resets_by_the_watchdog_in_ten_minutes_are_too_many(
    lives_s: list[float], reset: Reset, expected: RollbackReason | None
) -> None:
    assert reason(vitals_after(lives_s, reset)) is expected


def test_health_that_fails_for_more_than_two_minutes_without_a_break_is_too_bad() -> None:
    bad = lived(Vitals(), 500, is_failing=True, reached=())
    assert bad.failing_s == 0, "before the first look nothing is known"
    bad = lived(bad, 120, is_failing=True, reached=())
    assert reason(bad) is None
    bad = started(bad, "next", Reset.OTHER)
    assert reason(lived(bad, 1, is_failing=True, reached=())) is RollbackReason.UNHEALTHY, "a reboot is no break"
    well = lived(bad, 1, is_failing=False, reached=())
    assert reason(lived(well, 119, is_failing=True, reached=())) is None


def test_a_broker_is_lost_that_was_reached_before_and_not_within_five_minutes_since() -> None:
    owing = Vitals(brokers=["one", "two"])
    late = lived(owing, 301, is_failing=False, reached=())
    assert reason(late) is RollbackReason.BROKER_LOST
    assert reason(lived(owing, 300, is_failing=False, reached=())) is None
    assert reason(lived(owing, 301, is_failing=False, reached={"one", "two"})) is None
    found = judge(lived(owing, 301, is_failing=False, reached={"one"}), LIMITS)
    assert found is not None
    assert "two" in found.detail


def test_a_broker_that_the_release_does_not_require_is_not_lost() -> None:
    owing = Vitals(brokers=["one", "two"])
    assert reason(lived(asking_for(owing, {"three"}), 301, is_failing=False, reached=())) is None
    assert asking_for(owing, {"two", "three"}).brokers == ["two"]


def test_a_broker_that_was_reached_since_is_never_lost_again() -> None:
    found = lived(Vitals(brokers=["one"]), 1, is_failing=False, reached={"one"})
    assert reason(lived(found, 86_000, is_failing=False, reached=())) is None


def test_a_boot_that_was_asked_for_and_a_start_of_the_agent_alone_count_for_nothing() -> None:
    asked = structs.replace(Vitals(boot="1"), is_stopped=True)
    after = started(asked, "2", Reset.WATCHDOG)
    assert (after.starts, after.boot, after.is_stopped) == ([], "2", False)
    assert started(after, "2", Reset.WATCHDOG).starts == []
    assert len(started(after, "3", Reset.OTHER).starts) == 1
    assert len(started(structs.replace(after, boot=""), "", Reset.OTHER).starts) == 1, "where boots have no names, each may be another"


@given(st.lists(st.floats(0, 10_000), max_size=80), st.sampled_from(Reset))
def test_what_is_counted_is_bounded_and_survives_the_journal(lives_s: list[float], reset: Reset) -> None:
    now = vitals_after(lives_s, reset)
    assert len(now.starts) <= MOST_STARTS
    assert from_json(to_json(now), Vitals, what="vitals") == now


@given(st.lists(st.floats(0, 700), max_size=20), st.sampled_from(Reset), st.floats(0, 700))
def test_time_that_passes_in_peace_brings_no_trigger_about(lives_s: list[float], reset: Reset, peace_s: float) -> None:
    now = vitals_after(lives_s, reset)
    if judge(now, LIMITS) is None:
        assert judge(lived(now, peace_s, is_failing=False, reached=()), LIMITS) is None


@given(st.lists(st.floats(0, 700), max_size=20), st.sampled_from(Reset))
def test_unknown_time_counts_as_inside(lives_s: list[float], reset: Reset) -> None:
    """What was never noted makes a board look worse, never better."""
    if judge(vitals_after(lives_s, reset), LIMITS) is not None:
        assert judge(vitals_after([0.0] * len(lives_s), reset), LIMITS) is not None


def test_a_release_is_watched_for_a_day_of_uptime_after_it_was_kept() -> None:
    assert not is_over(Vitals(lived_s=1e9), LIMITS)
    assert not is_over(Vitals(lived_s=86_499, kept_s=100), LIMITS)
    assert is_over(Vitals(lived_s=86_500, kept_s=100), LIMITS)


def test_notes_are_seldom_in_peace_and_often_while_something_is_counted() -> None:
    calm = Vitals(lived_s=5000)
    assert not is_worth_noting(calm, lived(calm, NOTE_S - 1, is_failing=False, reached=()), WINDOW_S)
    assert is_worth_noting(calm, lived(calm, NOTE_S, is_failing=False, reached=()), WINDOW_S)
    shaken = structs.replace(calm, starts=[Start(at_s=4500, may_be_watchdog=True)])
    assert is_worth_noting(shaken, lived(shaken, 60, is_failing=False, reached=()), WINDOW_S)
    assert not is_worth_noting(shaken, lived(shaken, 59, is_failing=False, reached=()), WINDOW_S)
    ailing = structs.replace(calm, failing_s=0.0)
    assert is_worth_noting(ailing, lived(ailing, 30, is_failing=True, reached=()), WINDOW_S)
    assert not is_worth_noting(ailing, lived(ailing, 29, is_failing=True, reached=()), WINDOW_S)
    owing = structs.replace(calm, brokers=["one"])
    assert is_worth_noting(owing, lived(owing, 0, is_failing=False, reached={"one"}), WINDOW_S)
