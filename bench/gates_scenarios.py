# SPDX-License-Identifier: Apache-2.0
"""The scenarios that the default gate was designed on, with the published figures."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from numpy.random import Generator

from surefoot.rollout.evidence import Baseline
from surefoot.rollout.plan import Limits, Plan, Stage
from surefoot.rollout.risk import PACES, Kind
from surefoot.simulator.rollouts.fault import parse_fault
from surefoot.simulator.rollouts.habits import USUAL, Habits, Outage
from surefoot.simulator.rollouts.mix import REGIONS, published
from surefoot.simulator.rollouts.world import Setting

COLUMNS = ("plain", "aws", "hawkbit", "wilson", "gate", "bake")
"""The rules, in the order of the table; ``bake`` is the default gate with a canary of 24 hours."""

SMALL, LARGE = 10_000, 1_000_000

_LATEST_OUTAGE_H = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row.

    Attributes:
        fault: What is wrong with the release.
        habits: How the fleet behaves.
        has_outage: Whether a region fails meanwhile.
        published: The published figures, by column: mean devices harmed of a million; of a good release, percent of false pauses.
        hours: Of a good release, the published median hours, by column.
        fleets: How many devices.
    """

    fault: str = "good"
    habits: Habits = USUAL
    has_outage: bool = False
    published: Mapping[str, float]
    hours: Mapping[str, float] | None = None
    fleets: tuple[int, ...] = (SMALL, LARGE)


def _row(*figures: float) -> Mapping[str, float]:
    return dict(zip(COLUMNS, figures, strict=True))


FLAKY = Habits(fails=0.024)

SCENARIOS: Mapping[str, Scenario] = {
    "brick": Scenario(fault="brick", published=_row(982_468, 8_667, 9_827, 8_478, 258, 258)),
    "bad-20": Scenario(fault="bad:20%", published=_row(704, 253, 1_234, 704, 51, 51)),
    "bad-5": Scenario(fault="bad:5%", published=_row(331, 128, 45_310, 174, 18, 18)),
    "bad-2": Scenario(fault="bad:2%", published=_row(19_650, 19_654, 19_662, 79, 32, 32)),
    "silent-5": Scenario(fault="silent:5%", published=_row(49_128, 44_526, 49_123, 424, 108, 108)),
    "hardware-3": Scenario(fault="hardware:hw-3", published=_row(29_312, 27_338, 29_389, 108, 9, 9)),
    "late-12h": Scenario(fault="late:10%@12h", published=_row(94_157, 93_878, 93_302, 1_009, 3_672, 902)),
    "late-36h": Scenario(fault="late:10%@36h", published=_row(96_718, 96_602, 96_361, 90_944, 41_212, 948)),
    "good": Scenario(published=_row(0, 0, 0, 11, 1, 1), hours=_row(36, 21, 21, 36, 33, 59)),
    "outage": Scenario(has_outage=True, published=_row(30, 74, 44, 100, 0, 0)),
    "flaky": Scenario(habits=FLAKY, published=_row(40, 14, 2, 100, 0, 0), fleets=(SMALL,)),
}

CEILINGS: Mapping[str, float] = {
    "harmed-1m-brick": 300,
    "harmed-1m-bad-5": 25,
    "harmed-1m-silent-5": 150,
    "harmed-1m-hardware-3": 15,
    "false-pause-good-percent": 1,
}
"""Ceilings of their own; the other figures of our gate may be 1.3 times the published ones."""

SLACK = 1.3


def setting_of(scenario: Scenario, devices: int, rng: Generator) -> Setting:
    """Return what one replica of a scenario is run on; where and when a region fails is drawn."""
    audience, habits = published(devices), scenario.habits
    setting = Setting(
        audience=audience,
        habits=habits,
        fault=parse_fault(scenario.fault),
        baselines=[Baseline(hardware=one.hardware, region=one.region, failed=habits.fails, silent=habits.silent) for one in audience],
    )
    if not scenario.has_outage:
        return setting
    region = str(rng.choice(list(REGIONS), p=list(REGIONS.values())))
    return replace(setting, outage=Outage(region=region, begins_h=float(rng.uniform(1.0, _LATEST_OUTAGE_H))))


def plan_of(column: str) -> Plan:
    """Return the plan of one of our columns: the default one, with nothing that hinders it; ``bake`` with a canary of 24 hours."""
    usual = PACES[Kind.FIRMWARE]
    soak = ["24h", *usual.soaks[1:]] if column == "bake" else [*usual.soaks]
    return Plan(
        release="simulated 1.0.0",
        stages=[Stage(name="general", batches=[*usual.batches], soak=soak)],
        deadline="150m",
        limits=Limits(per_minute=1_000_000),
    )
