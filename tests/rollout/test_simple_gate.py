# SPDX-License-Identifier: Apache-2.0
"""The simple gate: what it counts, what it divides by, and what it does not believe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.rollout.evidence import Counts
from surefoot.rollout.plan import Bounds, SimpleGate, Stage
from surefoot.rollout.simple_gate import Case, contradiction, judge
from surefoot.rollout.verdict import Light, Verdict
from tests.strategies import counts

STAGES = [Stage(name="canary"), Stage(name="general")]


def verdict(seen: Counts, *, to_come: int = 0, acknowledged: Counts | None = None, gate: SimpleGate | None = None) -> Verdict:
    return judge(gate or SimpleGate(), STAGES, {0: Case(counts=seen, acknowledged=acknowledged or Counts(), to_come=to_come)})


def ended(good: int, **bad: int) -> Counts:
    number = good + sum(bad.values())
    return Counts(offered=number, started=number, succeeded=good, **bad)


def test_nothing_heard_is_nothing_against_it() -> None:
    assert verdict(Counts()) == Verdict(light=Light.GO)


@pytest.mark.parametrize("bad", ["failed", "rolled_back", "silent"])
def test_more_than_the_bound_pauses(bad: str) -> None:
    assert verdict(ended(94, **{bad: 6})).cause == "rollback_rate"


def test_the_bound_itself_does_not_pause() -> None:
    assert verdict(ended(95, failed=5)).light is Light.GO


def test_above_the_lower_bound_people_are_warned() -> None:
    assert verdict(ended(98, failed=2)).warnings == [
        "In stage canary, 2 of 100 devices failed, rolled back or went silent: 2%; people are warned above 1%."
    ]


def test_the_sentence_names_stage_count_rate_and_limit() -> None:
    assert verdict(ended(1, failed=2), to_come=1).reason == (
        "In stage canary, 2 of 3 devices failed, rolled back or went silent: 50%"
        " (judged as of 4, the least that a rate is taken of); the limit is 5%."
    )


def test_one_failure_among_the_first_of_many_does_not_pause() -> None:
    assert verdict(ended(2, failed=1), to_come=997).light is Light.GO


def test_one_failure_among_the_only_three_pauses() -> None:
    assert verdict(ended(2, failed=1)).light is Light.PAUSE


def test_devices_that_found_the_release_unhealthy_have_a_rate_of_their_own() -> None:
    seen = Counts(offered=100, started=100, succeeded=75, unhealthy=21)
    assert verdict(seen).cause == "health_failure_rate"


def test_a_withdrawn_offer_that_was_carried_out_badly_is_judged() -> None:
    assert verdict(Counts(offered=3, cancelled=3, late_bad=1)).light is Light.PAUSE


def test_many_good_devices_of_one_stage_do_not_hide_the_bad_ones_of_another() -> None:
    cases = {0: ended(1_000), 1: ended(18, failed=2)}
    found = judge(SimpleGate(), STAGES, {stage: Case(counts=seen, acknowledged=Counts(), to_come=0) for stage, seen in cases.items()})
    assert found.reason.startswith("In stage general, 2 of 20 devices")


def test_what_a_person_resumed_after_is_not_judged_again() -> None:
    assert verdict(ended(90, failed=10), acknowledged=ended(40, failed=10)).light is Light.GO


def test_the_good_ones_before_a_resume_do_not_hide_the_bad_ones_after_it() -> None:
    assert verdict(ended(1_000, failed=3), acknowledged=ended(980, failed=1)).light is Light.PAUSE


def test_a_gate_of_nothing_allowed_pauses_on_the_first_failure() -> None:
    strict = SimpleGate(rollback_rate=Bounds(warn="0%", pause="0%"), min_resolved=100)
    assert verdict(ended(0, failed=1), to_come=10_000, gate=strict).light is Light.PAUSE


@pytest.mark.parametrize(
    ("impossible", "says"),
    [
        (Counts(offered=1, failed=-1), "'failed' counts -1"),
        (Counts(offered=1, succeeded=1, failed=1), "2 attempts have ended of 1 offered"),
        (Counts(offered=1, started=2), "2 attempts have started of 1 offered"),
        (Counts(offered=1, unhealthy=2), "2 attempts were unhealthy of 1 offered"),
    ],
)
def test_counts_that_contradict_one_another_hold_and_say_why(impossible: Counts, says: str) -> None:
    found = verdict(impossible)
    assert (found.light, found.cause, says in found.reason) == (Light.HOLD, "gate_unreadable", True)


def test_counts_below_what_a_person_has_seen_hold() -> None:
    found = verdict(ended(3), acknowledged=ended(5))
    assert "'offered' counts 2 less than when a person resumed" in found.reason


@given(counts(), st.integers(0, 1_000), st.integers(1, 100))
def test_one_more_failure_never_lets_a_paused_rollout_go(seen: Counts, to_come: int, least: int) -> None:
    gate = SimpleGate(min_resolved=least)
    worse = seen.plus(Counts(offered=1, started=1, failed=1))
    lights = (verdict(seen, to_come=to_come, gate=gate), verdict(worse, to_come=max(0, to_come - 1), gate=gate))
    assert lights[0].cause != "rollback_rate" or lights[1].light is Light.PAUSE


@given(counts(), st.integers(0, 1_000))
def test_all_that_a_person_has_seen_is_never_held_against_a_release(seen: Counts, to_come: int) -> None:
    assert verdict(seen, acknowledged=seen, to_come=to_come) == Verdict(light=Light.GO)


@given(st.sampled_from([name for name in Counts.__struct_fields__ if name not in ("late_good", "late_bad", "offered")]), counts())
def test_more_of_anything_than_was_offered_is_a_contradiction(name: str, seen: Counts) -> None:
    assert contradiction(seen.plus(Counts(**{name: seen.offered + 1}))) != ""
