# SPDX-License-Identifier: Apache-2.0
from xml.etree import ElementTree as ET

import pytest

from surefoot.rollout.plan import Limits, Plan, Status
from surefoot.simulator.rollouts.chart import along, svg
from surefoot.simulator.rollouts.course import Result
from surefoot.simulator.rollouts.mix import published
from surefoot.simulator.rollouts.study import horizon_h, one_run, outlook
from surefoot.simulator.rollouts.world import Setting

PAUSED = Result(
    harmed=30, hours=None, stopped="person", stopped_h=3.0, excluded=("x",), status=Status.PAUSED, is_offered=False, at_risk_blind=1
)
THROUGH = Result(harmed=10, hours=20.0, stopped="", stopped_h=None, excluded=(), status=Status.FINISHED, is_offered=True, at_risk_blind=1)


def test_an_outlook_tells_means_worst_and_shares() -> None:
    told = outlook("bad:5%", [PAUSED, THROUGH])
    assert (told.fault, told.runs, told.harmed, told.harmed_worst) == ("bad:5%", 2, 20.0, 30)
    assert (told.hours, told.stopped, told.stopped_after_h, told.excluded) == (20.0, 0.5, 3.0, 0.5)
    nothing = outlook("brick", [PAUSED])
    assert (nothing.hours, nothing.stopped) == (None, 1.0)
    assert outlook("good", [THROUGH]).stopped_after_h is None


def test_one_run_ends_when_everybody_was_offered_it_and_most_have_it() -> None:
    result = one_run(Plan(release="thermostat 1.1.0"), Setting(audience=published(200), horizon_h=120), [1])
    assert result.hours is not None
    assert result.is_offered
    assert result.status is Status.RUNNING


def test_a_horizon_grows_with_the_fleet_up_to_a_month() -> None:
    plan = Plan(release="thermostat 1.1.0", limits=Limits(per_minute=10))
    assert horizon_h(plan, 10) < horizon_h(plan, 100_000) <= horizon_h(plan, 100_000_000) == 720


def test_a_chart_is_a_picture_with_a_longer_bar_for_more_harm() -> None:
    root = ET.fromstring(svg("a <plan>", 1_000, [outlook("late:10%@12h", [THROUGH]), outlook("brick", [PAUSED])]))  # noqa: S314  # our own
    bars = [float(bar.get("width", "")) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert 0 < bars[0] < bars[1]
    assert "a <plan>" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(("devices", "place"), [(0, 0.0), (1_000, 1.0)])
def test_the_axis_ends_at_nothing_and_at_the_fleet(devices: int, place: float) -> None:
    assert along(devices, 1_000) == pytest.approx(place)
