# SPDX-License-Identifier: Apache-2.0
"""Risk: what a plan of three lines comes to, by its kind."""

from itertools import pairwise

import pytest

from surefoot.model.duration import seconds
from surefoot.model.record import from_json, from_plain, to_json, to_plain
from surefoot.rollout.flaw import flaw
from surefoot.rollout.plan import Plan, Stage
from surefoot.rollout.risk import PACES, Kind


def test_a_plan_of_one_line_comes_to_the_careful_rollout_of_firmware() -> None:
    plan = from_plain({"release": "thermostat 1.2.3"}, Plan, what="plan")
    assert to_plain(plan) == {
        "release": "thermostat 1.2.3",
        "stages": [
            {
                "name": "general",
                "batches": ["1%", "5%", "10%", "25%", "50%", "100%"],
                "soak": ["6h", "6h", "4h", "2h", "2h", "0s"],
            }
        ],
        "watch": "1d",
        "deadline": "4h",
        "limits": {},
    }
    assert (plan.has_default_gate, plan.limits.per_minute, plan.on_halt, plan.retries.max) == (True, 500, "hold", 0)


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_begins_with_one_percent_and_soaks_before_it_goes_on(kind: Kind) -> None:
    plan = Plan(release="thermostat 1.2.3", kind=kind)
    (stage,) = plan.stages
    assert flaw(plan) is None
    assert (stage.batches[0], stage.batches[-1], plan.has_default_gate) == ("1%", "100%", True)
    assert all(seconds(stage.soak_of(batch)) for batch in range(len(stage.batches) - 1))


def test_flags_are_faster_than_config_than_applications_than_firmware() -> None:
    paces = [PACES[kind] for kind in (Kind.FLAGS, Kind.CONFIG, Kind.APPLICATION, Kind.FIRMWARE)]
    hours = [sum(map(seconds, pace.soaks)) for pace in paces]
    assert all(faster < slower for faster, slower in pairwise(hours))
    assert all(seconds(faster.deadline) < seconds(slower.deadline) for faster, slower in pairwise(paces))


def test_what_is_written_stays_even_where_it_is_what_another_kind_has() -> None:
    plan = Plan(release="thermostat 1.2.3", kind=Kind.FLAGS, watch="1d", deadline="4h", stages=[Stage(name="all")])
    assert from_json(to_json(plan), Plan, what="plan") == plan
    assert (plan.watch, plan.deadline, plan.stages) == ("1d", "4h", [Stage(name="all")])
