# SPDX-License-Identifier: Apache-2.0
"""Whether the default gate keeps its word: false pauses at exactly the tolerated rates, and what small fleets risk blindly."""

from collections.abc import Iterable
from concurrent.futures import Executor

import numpy as np

from bench.gates_scenarios import plan_of
from surefoot.rollout import tolerance
from surefoot.rollout.evidence import Baseline
from surefoot.rollout.plan import Limits, Plan, Stage
from surefoot.simulator.rollouts.course import run
from surefoot.simulator.rollouts.fault import Fault
from surefoot.simulator.rollouts.habits import Habits
from surefoot.simulator.rollouts.mix import published
from surefoot.simulator.rollouts.world import Setting

ROLLOUTS = 2_000
_DEVICES = 2_000
_TICK_S = 1_200
_SEEDS = 20
_USUAL = Baseline(hardware="", failed=0.003, silent=0.008)
_TOLERATED = Habits(
    slow=0.0,
    never=0.0,
    fails=tolerance.failed(_USUAL),
    lag=tolerance.silent(_USUAL) - 0.001,
    relapses_h=tolerance.late(_USUAL),
)
"""A release that is as bad as is just tolerated, in every stream."""

_AT_ONCE = Plan(
    release="simulated 1.0.0",
    stages=[Stage(name="general", batches=["100%"], soak="0s")],
    deadline="150m",
    limits=Limits(per_minute=1_000_000),
)
"""One batch, so that all of a rollout is over in half a day: batches add waiting, and no evidence."""


def calibration(processes: Executor) -> Iterable[tuple[str, float, float]]:
    """Return how many percent of rollouts at exactly the tolerated rates are ever paused."""
    paused = sum(processes.map(is_paused, range(ROLLOUTS), chunksize=25))
    return [("false-pause-tolerated-percent", 100 * paused / ROLLOUTS, 1.0)]


def is_paused(seed: int) -> bool:
    """Say whether one rollout at the tolerated rates is ever paused; it is looked at three times an hour."""
    audience = published(_DEVICES)
    baselines = [Baseline(hardware=one.hardware, region=one.region, failed=0.003, silent=0.008) for one in audience]
    setting = Setting(audience=audience, habits=_TOLERATED, baselines=baselines, tick_s=_TICK_S, horizon_h=96)
    result = run(_AT_ONCE, setting, np.random.default_rng([seed, 7]), is_enough=lambda so_far: so_far.hours is not None)
    return bool(result.stopped)


def small_fleets() -> Iterable[tuple[str, float, float]]:
    """Return the most devices that are at risk before anything is known, in small fleets: a tenth of them, or one, is allowed."""
    for devices in (10, 50, 200):
        setting = Setting(audience=published(devices), fault=Fault(silences=1.0), horizon_h=8)
        risked = max(run(plan_of("gate"), setting, np.random.default_rng(seed)).at_risk_blind for seed in range(_SEEDS))
        yield f"at-risk-blind-{devices}", risked, max(1, devices // 10)
