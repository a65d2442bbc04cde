# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the gates: other systems' rules do what they are said to do, and a figure above its ceiling shows."""

import numpy as np
import pytest

from bench.gates import Replica, Task, figures, replica
from bench.gates_rivals import Aws, Hawkbit, Plain, Rule, Seen, Wilson, run
from bench.gates_scenarios import CEILINGS, COLUMNS, SCENARIOS, setting_of


def seen(**counts: int) -> Seen:
    known = {"offered": 0, "started": 0, "good": 0, "failed": 0, "silent": 0, "late_good": 0, "relapsed": 0}
    return Seen(hours=1.0, devices=10_000, **{**known, **counts})


@pytest.mark.parametrize(
    ("rule", "goes_on", "pauses"),
    [
        (Plain, {"good": 95, "failed": 5, "silent": 500}, {"good": 94, "failed": 6}),
        (Aws, {"good": 95, "silent": 5}, {"good": 94, "silent": 6}),
        (Hawkbit, {"good": 10, "failed": 4}, {"good": 10, "failed": 5}),
        (Wilson, {"good": 98, "silent": 4, "late_good": 4}, {"good": 96, "silent": 4}),
    ],
)
def test_a_rule_pauses_where_it_is_said_to(rule: type[Rule], goes_on: dict[str, int], pauses: dict[str, int]) -> None:
    assert rule().offered_by_now(seen(offered=600, started=600, **goes_on)) is not None
    assert rule().offered_by_now(seen(offered=600, started=600, **pauses)) is None


def test_a_rule_that_does_not_notice_silence_lets_a_fleet_be_bricked() -> None:
    setting = setting_of(SCENARIOS["brick"], 1_000, np.random.default_rng(0))
    outcome = run(Plain(), setting, np.random.default_rng(0))
    assert (outcome.is_paused, outcome.harmed > 900) == (False, True)
    assert run(Wilson(), setting, np.random.default_rng(0)).is_paused


def test_a_replica_is_the_same_each_time_and_our_gate_pauses_a_brick_early() -> None:
    task = Task("brick", 10_000, "gate", 3)
    assert replica(task) == replica(task)
    assert 0 < replica(task).harmed < 50


def test_every_published_figure_of_ours_has_a_ceiling_and_one_above_it_shows() -> None:
    tasks = [Task(name, devices, column, 0) for name, one in SCENARIOS.items() for devices in one.fleets for column in COLUMNS]
    found = {
        name: (value, most) for name, value, most in figures([Replica(task, harmed=1_000, hours=90.0, is_paused=True) for task in tasks])
    }
    assert set(CEILINGS) <= set(found)
    assert found["harmed-1m-brick"] == (1_000, 300)
    assert found["harmed-1m-late-36h-bake"][1] == pytest.approx(1.3 * 948)
    assert found["false-pause-good-percent"] == (100, 1)
    assert found["hours-good"][1] == pytest.approx(42.9)
