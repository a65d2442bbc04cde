# SPDX-License-Identifier: Apache-2.0
"""Whole rollouts by the real engine, on small fleets."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from surefoot.rollout.decision import Advance, Decision, Halt, Pause
from surefoot.rollout.plan import Limits, Plan, Stage, Status
from surefoot.simulator.rollouts.course import BEGIN, Result, run
from surefoot.simulator.rollouts.fault import parse_fault
from surefoot.simulator.rollouts.habits import Outage
from surefoot.simulator.rollouts.mix import published
from surefoot.simulator.rollouts.world import Setting, World

PLAN = Plan(
    release="thermostat 1.1.0",
    stages=[Stage(name="general", batches=["5%", "100%"], soak="1h")],
    deadline="150m",
    watch="1h",
    limits=Limits(per_minute=100_000),
)
FLEET = Setting(audience=published(2_000), horizon_h=60)


def of(fault: str, seed: int = 1, outage: Outage | None = None) -> Result:
    return run(PLAN, replace(FLEET, fault=parse_fault(fault), outage=outage), np.random.default_rng(seed))


def test_a_good_release_reaches_the_fleet() -> None:
    result = of("good")
    assert (result.harmed, result.stopped, result.is_offered) == (0, "", True)
    assert result.hours is not None
    assert result.hours < 40


@pytest.mark.parametrize(("fault", "most"), [("brick", 40), ("bad:50%", 40), ("silent:20%", 80)])
def test_a_bad_release_is_stopped_before_it_harms_many(fault: str, most: int) -> None:
    result = of(fault)
    assert result.status in {Status.HALTED, Status.PAUSED}
    assert 0 < result.harmed <= most


def test_one_bad_hardware_is_left_out_and_the_rest_goes_on() -> None:
    result = of("hardware:hw-7")
    assert result.excluded == ("hw-7",)
    assert result.harmed < 140
    assert result.is_offered is False
    assert result.status is Status.FINISHED


def test_the_same_seed_tells_the_same_and_another_does_not() -> None:
    assert of("bad:20%", 1) == of("bad:20%", 1)
    assert len({of("bad:20%", seed) for seed in range(4)}) > 1


def test_nothing_is_offered_after_a_pause_and_an_outage_holds_its_region() -> None:
    told: list[tuple[datetime, Decision]] = []
    setting = replace(FLEET, fault=parse_fault("bad:50%"))
    run(PLAN, setting, np.random.default_rng(2), watch=lambda now, decision: told.append((now, decision)))
    first = next(place for place, (_, decision) in enumerate(told) if isinstance(decision, Pause | Halt))
    assert first > 0
    assert not any(isinstance(decision, Advance) for _, decision in told[first:])
    outage = of("good", outage=Outage(region="region-30", begins_h=1.0, lasts_h=3.0))
    assert (outage.stopped, outage.is_offered) == ("", True)


def test_a_pause_withdraws_what_was_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    withdrawn: list[float] = []
    withdraw = World.withdraw

    def noted(world: World) -> None:
        withdrawn.append(world.hours)
        withdraw(world)

    monkeypatch.setattr(World, "withdraw", noted)
    result = of("bad:50%")
    assert result.stopped_h in withdrawn


def test_no_more_are_offered_than_the_limit_allows() -> None:
    offered: dict[datetime, int] = {}

    def note(now: datetime, decision: Decision) -> None:
        if isinstance(decision, Advance):
            offered[now] = offered.get(now, 0) + decision.offers

    plan = Plan(release="thermostat 1.1.0", stages=[Stage(name="all")], deadline="150m", limits=Limits(per_minute=3))
    run(plan, FLEET, np.random.default_rng(3), watch=note)
    assert min(offered) == BEGIN
    assert max(offered.values()) <= 30


def test_a_run_ends_once_enough_is_known() -> None:
    assert run(PLAN, FLEET, np.random.default_rng(4), is_enough=lambda _so_far: True).is_offered is False
