# SPDX-License-Identifier: Apache-2.0
"""Tests of ways back: what stands in the way, what a revert is made of, and what its decisions say and do."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs

from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.model.manifest import Requires
from surefoot.rollout.acts import check_revert, halt, revert
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Advance, Halt, Hold, WayBack
from surefoot.rollout.evidence import Counts, Evidence, Tally
from surefoot.rollout.plan import Gates, Limits, Plan, Rollout, Stage, Status
from surefoot.rollout.risk import PACES, Kind
from surefoot.rollout.standing import after
from surefoot.rollout.way_back import obstacle, revert_of
from tests.trust.repositories import manifest

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
PLAN = Plan(
    release="thermostat 1.2.0",
    kind=Kind.CONFIG,
    audience="site==berlin",
    stages=[Stage(name="pilot", group="pilot"), Stage(name="all")],
    limits=Limits(per_minute=7),
    on_halt="revert",
    start_at="2026-11-24T12:00:00Z",
    watch="0s",
    gate=Gates(),
)
WAY = WayBack(version="1.1.0", devices=3)
CLOSED = WayBack(version="1.0.0", devices=1, obstacle="It may not.")


@pytest.mark.parametrize(
    ("running", "before", "says"),
    [
        ({"revert_to": "minor"}, {}, ""),
        ({"revert_to": ["1.1.0"]}, {}, ""),
        ({}, {}, "The running release 1.2.0 does not allow going back to 1.1.0."),
        ({"revert_to": "none"}, {}, "does not allow going back"),
        ({"revert_to": "minor", "release_counter": 2}, {}, "Release counter 1 is below 2"),
        ({"revert_to": "minor", "release_counter": 2}, {"release_counter": 2}, ""),
        ({"revert_to": "minor", "data_format": 3}, {"data_format": 2}, "Data format 2 is below the stored 3."),
        ({"revert_to": "minor", "data_format": 3}, {"data_format": 3}, ""),
        ({"revert_to": "minor"}, {"requires": Requires(from_="<1.0.0")}, "can only be installed from <1.0.0"),
        # What ran it has its bootloader, whatever the release after it asks for.
        ({"revert_to": "minor"}, {"min_bootloader_version": "9.0.0"}, ""),
        ({"revert_to": "minor"}, {"target_hardware": ["other"]}, "It has no image for the hardware of this release."),
        ({"revert_to": "minor", "target_hardware": ["other", "thermostat-v1"]}, {}, ""),
    ],
)
def test_the_version_rules_say_whether_there_is_a_way_back(running: dict[str, Any], before: dict[str, Any], says: str) -> None:
    now = structs.replace(manifest("1.2.0", b"new"), **running)
    found = obstacle([now], [structs.replace(manifest("1.1.0", b"old"), **before)])
    assert says in found
    assert bool(found) == bool(says)


def test_a_way_that_one_hardware_has_is_a_way() -> None:
    other = {"target_hardware": ["other"]}
    now = [manifest("1.2.0", b"new"), structs.replace(manifest("1.2.0", b"newer"), revert_to="minor", **other)]
    before = [manifest("1.1.0", b"old"), structs.replace(manifest("1.1.0", b"older"), **other)]
    assert obstacle(now, before) == ""
    assert obstacle(now[:1], before) != ""


def test_a_revert_keeps_what_binds_the_rollout_and_nothing_of_whom_it_was_for() -> None:
    back = revert_of(PLAN, 7, "1.1.0")
    pace = PACES[Kind.CONFIG]
    assert (back.reverts, back.status) == (7, Status.DRAFT)
    assert (back.plan.release, back.plan.audience, back.plan.start_at, back.plan.on_halt) == (
        "thermostat 1.1.0",
        "version=='1.2.0'",
        "",
        "hold",
    )
    assert [(stage.name, stage.group, stage.batches, stage.soak) for stage in back.plan.stages] == [
        ("general", None, [*pace.batches], [*pace.soaks])
    ]
    assert (back.plan.limits, back.plan.gate, back.plan.watch) == (PLAN.limits, PLAN.gate, PLAN.watch)


@pytest.mark.parametrize(
    ("changes", "ways", "under_way", "why", "says"),
    [
        ({"reverts": 3}, [WAY], [], "no", "takes devices back itself"),
        ({"status": Status.DRAFT}, [], [], "no", "it updated no device"),
        ({"status": Status.RUNNING}, [WAY], [], "no", "is running"),
        ({"status": Status.PAUSED}, [WAY], [], "no", "is paused"),
        ({}, [WAY], [8, 9], "no", "reverted already, by rollout 8, 9"),
        ({}, [], [], "no", "updated no device"),
        ({}, [CLOSED], [], "no", "1 device from 1.0.0 cannot go back: It may not."),
        ({}, [WAY], [], " ", "needs a reason"),
    ],
)
def test_what_cannot_be_reverted_is_refused(
    changes: dict[str, Any], ways: list[WayBack], under_way: list[int], why: str, says: str
) -> None:
    rollout = structs.replace(Rollout(plan=PLAN, status=Status.HALTED), **changes)
    with pytest.raises((ConflictError, InvalidInput)) as refused:
        check_revert(rollout, why, ways, under_way)
    assert says in refused.value.message


@pytest.mark.parametrize("status", [Status.HALTED, Status.FINISHED])
def test_what_is_over_and_has_a_way_back_may_be_reverted(status: Status) -> None:
    check_revert(Rollout(plan=PLAN, status=status), "no", [CLOSED, WAY], [])


def test_a_revert_says_what_becomes_of_whom_and_ends_a_rollout_for_good() -> None:
    decision = revert("ann", "no", [structs.replace(WAY, rollout_id=8), CLOSED])
    assert (
        decision.reason == "Taken back by ann: no. Rollout 8 takes 3 devices back to 1.1.0. 1 device from 1.0.0 cannot go back: It may not."
    )
    halted = Rollout(plan=PLAN, status=Status.HALTED)
    assert after(halted, decision, Evidence(), NOW) == structs.replace(halted, is_final=True)


def test_a_halt_takes_devices_back_when_the_plan_says_so_and_is_then_for_good() -> None:
    running = Rollout(plan=PLAN, status=Status.RUNNING)
    assert halt(running, "ann", "no").reverts
    assert not halt(running, "ann", "no", keeps=True).reverts
    assert not halt(Rollout(plan=PLAN), "ann", "no").reverts
    assert not halt(structs.replace(running, plan=structs.replace(PLAN, on_halt="hold")), "ann", "no").reverts
    for reverts in (True, False):
        moved = after(running, Halt(cause="not_localised", reason="", reverts=reverts), Evidence(), NOW)
        assert (moved.status, moved.is_final) == (Status.HALTED, reverts)


@pytest.mark.parametrize("on_halt", ["hold", "revert"])
def test_a_halt_of_the_gate_does_as_the_plan_says(on_halt: Any) -> None:  # noqa: ANN401  # one of two words
    plan = structs.replace(PLAN, on_halt=on_halt, gate="default")
    paused = Rollout(plan=plan, status=Status.PAUSED, localise_at=int(NOW.timestamp()))
    decision = decide(paused, Evidence(), NOW)
    assert isinstance(decision, Halt)
    assert (decision.reverts, "are taken back" in decision.reason) == (on_halt == "revert",) * 2


def test_a_revert_that_finds_nobody_goes_on_and_waits_for_who_is_still_at_the_update() -> None:
    back = structs.replace(revert_of(PLAN, 7, "1.1.0"), status=Status.RUNNING)
    nobody = Evidence(population=0)
    # It looks first.
    looking = decide(back, nobody, NOW)
    assert isinstance(looking, Advance)
    assert looking.cause == "offer"
    waiting = decide(back, structs.replace(nobody, is_exhausted=True, left_to_others=2), NOW)
    assert isinstance(waiting, Hold)
    assert waiting.cause == "precedence"
    going = decide(back, structs.replace(nobody, is_exhausted=True), NOW)
    assert isinstance(going, Advance)
    assert going.cause == "batch"
    late = Tally(stage=0, hardware="thermostat-v1", counts=Counts(offered=1))
    assert isinstance(decide(back, structs.replace(nobody, is_exhausted=True, tallies=[late]), NOW), Hold)
    ordinary = decide(structs.replace(back, reverts=None), structs.replace(nobody, is_exhausted=True), NOW)
    assert ordinary.cause == "empty_stage"
