# SPDX-License-Identifier: Apache-2.0
"""What a device says that it is doing: a table from what is known to the words."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from surefoot.agent.interlock import Inhibitor
from surefoot.agent.machine import step
from surefoot.agent.signals import Event, Failed
from surefoot.agent.state import Phase, Policy, Result, State
from surefoot.agent.status import BootFacts, Facts, lines, plain
from surefoot.model.assignment import AssignmentId
from surefoot.model.slot import SlotState
from tests.agent.moments import NOW, A, B, accepted, at_work, release, state

BOOT = BootFacts(running=A, primary=A, states={A: SlotState.GOOD, B: SlotState.BAD})
IDLE = Facts(
    device_id="t-1",
    hardware="thermostat-v1",
    is_enrolled=True,
    state=state(),
    unsent_events=0,
    boot=BOOT,
    boot_problem="",
    put_off_until=None,
    inhibitors=(),
    now=NOW,
)
HOUR = timedelta(hours=1)
ORDER = AssignmentId(7)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "t-1 (thermostat-v1): waiting for the next poll"),
        ({}, "slot a     thermostat 1.0.0, build b-1.0.0; committed; good; runs; boots next"),
        ({}, "slot b     nothing verified; bad"),
        ({"state": state(fallback=release("0.9.0"))}, "slot b     thermostat 0.9.0, build b-0.9.0; bad"),
        (
            {
                "boot": BootFacts(running=B, primary=B, states={A: SlotState.GOOD, B: SlotState.TRYING}),
                "state": at_work(Phase.TRIAL, received=1_000),
            },
            "slot b     thermostat 1.1.0, build b-1.1.0; trying; runs; boots next",
        ),
        ({"state": at_work(Phase.DOWNLOADING, received=400)}, "slot b     thermostat 1.1.0, build b-1.1.0, being fetched; bad"),
        ({"state": at_work(Phase.DOWNLOADING, received=0)}, "slot b     nothing verified; bad"),
        ({"boot": None, "boot_problem": "No tool."}, "slot a     thermostat 1.0.0, build b-1.0.0; committed"),
        ({"boot": None, "boot_problem": "No tool."}, "boot       cannot be told: No tool."),
        ({"state": state(poll_s=60)}, "checks     60 s after each answer of the server"),
        ({"next_check": NOW + HOUR}, "checks     next at 2026-11-23T09:00:00Z; 300 s after each answer of the server"),
        ({"unsent_events": 3}, "unsent     3 events"),
        ({"state": state(refused="expired")}, "refused    the last answer of the server: expired"),
        ({"put_off_until": NOW + HOUR}, "put off    until 2026-11-23T09:00:00Z; end that: surefoot agent defer --end"),
        (
            {"inhibitors": (Inhibitor(name="pump", reason="it runs", until=NOW + HOUR),)},
            "inhibited  by pump: it runs, until 2026-11-23T09:00:00Z; end that: surefoot agent allow --name pump",
        ),
        (
            {"state": state(result=Result(assignment_id=ORDER, version="1.1.0", outcome="installed"))},
            "last       order 7, 1.1.0: installed",
        ),
        (
            {"state": state(result=Result(assignment_id=ORDER, version="1.1.0", outcome="rolled back", reason="unhealthy"))},
            "last       order 7, 1.1.0: rolled back, unhealthy",
        ),
        (
            {"state": state(result=Result(assignment_id=ORDER, outcome="refused", reason="wrong_hardware", detail="It is for fridges."))},
            "last       order 7: refused, wrong_hardware: It is for fridges.",
        ),
        ({"is_enrolled": False}, "enrolled   not any more; run 'surefoot agent enroll --with enrol.json'"),
    ],
)
def test_each_fact_has_its_line(changes: dict[str, Any], line: str) -> None:
    assert line in lines(replace(IDLE, **changes))


def test_what_is_over_is_not_told() -> None:
    over = replace(IDLE, put_off_until=NOW, inhibitors=(Inhibitor(name="pump", reason="it runs", until=NOW),))
    assert lines(over) == lines(IDLE)
    assert (plain(over)["put_off_until"], plain(over)["inhibitors"]) == (None, [])


def test_the_next_check_is_told_to_programs_too() -> None:
    assert plain(replace(IDLE, next_check=NOW + HOUR))["next_check"] == "2026-11-23T09:00:00Z"
    assert plain(IDLE)["next_check"] is None


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_words_and_programs_read_the_same(phase: Phase) -> None:
    facts = replace(IDLE, state=at_work(phase))
    told = plain(facts)
    assert lines(facts)[0] == f"t-1 (thermostat-v1): {told['summary']}"
    assert (told["running_slot"], told["primary_slot"], told["slots"]["a"]["version"], told["slots"]["b"]["state"]) == (
        A,
        A,
        "1.0.0",
        "bad",
    )
    assert told["state"].get("phase", Phase.IDLE) == phase


def after(before: State, event: Event) -> State:
    return step(before, event, Policy())[0]


def test_an_attempt_that_ends_is_remembered_with_its_reason_until_the_next_one_ends() -> None:
    ended = after(at_work(Phase.DOWNLOADING), Failed(now=NOW, code="space", message="The slot is full. " * 50))
    assert ended.result is not None
    assert (ended.result.outcome, ended.result.reason, len(ended.result.detail)) == ("failed", "space", 300)
    assert after(state(Phase.VERIFYING, result=ended.result), accepted(next_poll_s=60)).result == ended.result


def test_the_pace_that_the_server_asks_for_is_remembered() -> None:
    assert after(state(Phase.VERIFYING), accepted(next_poll_s=60)).poll_s == 60
