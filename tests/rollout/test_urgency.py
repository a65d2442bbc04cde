# SPDX-License-Identifier: Apache-2.0
"""Urgency: a paused rollout past its security deadline raises an alarm, and offers nothing all the same."""

from datetime import UTC, datetime, timedelta

import pytest

from surefoot.rollout.control import Region
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Hold, Pause, Resume
from surefoot.rollout.evidence import Evidence
from surefoot.rollout.plan import Plan, Rollout, Security, Status
from surefoot.rollout.standing import after
from surefoot.rollout.urgency import alarms, late, raised

DEADLINE = datetime(2026, 12, 1, tzinfo=UTC)
URGENT = Plan(release="thermostat 1.2.3", security=Security(deadline="2026-12-01T01:00:00+01:00"))
SAID = "Its security deadline was 2026-12-01T00:00:00Z, and it is paused: nothing starts until a person resumes it."


def test_a_paused_rollout_past_its_deadline_holds_and_says_so() -> None:
    held = decide(Rollout(plan=URGENT, status=Status.PAUSED), Evidence(population=5), DEADLINE)
    assert held == Hold(cause="paused", reason="The rollout is paused until a person resumes it.", warnings=[SAID])


EU = (
    "Its security deadline was 2026-12-01T00:00:00Z, and region eu is held: nothing starts there until it can be reached,"
    " or a person releases it."
)


def test_a_held_region_past_the_deadline_is_told_whatever_else_is_waited_for() -> None:
    held = Rollout(plan=URGENT, status=Status.RUNNING, regions=[Region(region="eu", is_held=True, needs_person=True)])
    assert decide(held, Evidence(), DEADLINE - timedelta(seconds=1)).warnings == []
    decision = decide(held, Evidence(), DEADLINE)
    assert (decision.cause, decision.warnings) == ("counting", [EU])


def test_a_pause_that_looks_for_its_culprit_is_told_too() -> None:
    looking = Rollout(plan=URGENT, status=Status.PAUSED, localise_at=int(DEADLINE.timestamp()) + 60)
    assert decide(looking, Evidence(), DEADLINE).warnings == [SAID]


def test_it_is_raised_by_the_decision_that_says_so_and_stands_until_somebody_resumes() -> None:
    paused, evidence = Rollout(plan=URGENT, status=Status.PAUSED), Evidence()
    told = after(paused, decide(paused, evidence, DEADLINE), evidence, DEADLINE)
    assert (raised(paused), raised(told), told.is_live) == ([], [SAID], False)
    resumed = after(told, Resume(cause="person", reason="", by="ann"), evidence, DEADLINE)
    assert (resumed.is_alarmed, raised(resumed)) == (False, [])
    again = after(resumed, Pause(cause="person", reason="", by="ann"), evidence, DEADLINE)
    assert (raised(again), again.is_live) == ([], True), "the next look raises it anew"


@pytest.mark.parametrize(
    ("plan", "status", "late_s", "said"),
    [
        (URGENT, Status.PAUSED, 0, [SAID]),
        (URGENT, Status.PAUSED, -1, []),
        (URGENT, Status.RUNNING, 0, []),
        (URGENT, Status.FINISHED, 0, []),
        (Plan(release="thermostat 1.2.3"), Status.PAUSED, 0, []),
    ],
)
def test_nothing_else_raises_it(plan: Plan, status: Status, late_s: int, said: list[str]) -> None:
    assert alarms(Rollout(plan=plan, status=status), DEADLINE + timedelta(seconds=late_s)) == said


@pytest.mark.parametrize(("late_s", "words"), [(0, ["has passed"]), (-1, [])])
def test_a_plan_whose_deadline_has_passed_is_told_before_it_starts(late_s: int, words: list[str]) -> None:
    said = late(URGENT, DEADLINE + timedelta(seconds=late_s))
    assert [word in sentence for word, sentence in zip(words, said, strict=True)] == [True] * len(words)


def test_a_plan_without_a_deadline_is_never_late() -> None:
    assert late(Plan(release="thermostat 1.2.3"), DEADLINE) == []
