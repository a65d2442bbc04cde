# SPDX-License-Identifier: Apache-2.0
"""Whether the default gate does what it was chosen for: its scenarios again, by the project's own simulator and real ``decide``.

The rules of other systems run beside it on the same fleets. Harmed are devices that started the release and carry its fault, seen or
not; false pauses are in percent of the replicas.
"""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from bench.gates_calibration import calibration, small_fleets
from bench.gates_rivals import Aws, Hawkbit, Plain, Rule, Wilson
from bench.gates_rivals import run as run_rival
from bench.gates_scenarios import CEILINGS, COLUMNS, LARGE, SCENARIOS, SLACK, Scenario, plan_of, setting_of
from bench.rows import Row, compared
from surefoot.simulator.rollouts.course import Result, run

REPLICAS = 40
_RIVAL_REPLICAS = 10
"""The other rules are told apart from ours by much less."""

_OURS = ("gate", "bake")
_RIVALS: Mapping[str, type[Rule]] = {"plain": Plain, "aws": Aws, "hawkbit": Hawkbit, "wilson": Wilson}
_SIZES = {LARGE: "1m"}


@dataclass(frozen=True, slots=True)
class Task:
    """One replica of one cell of the table."""

    scenario: str
    devices: int
    column: str
    seed: int


@dataclass(frozen=True, slots=True)
class Replica:
    """What came out of it."""

    task: Task
    harmed: int
    hours: float | None
    is_paused: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the table: means over its replicas."""

    harmed: float
    false_pauses: float
    hours: float | None


def measure(run: str, *, replicas: int = REPLICAS) -> list[Row]:
    """Print the table and return the figures of our gate against their ceilings."""
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as processes:
        cells: dict[tuple[str, int, str], Cell] = {}
        print("\n".join(_head()), flush=True)
        for name in SCENARIOS:
            cells |= _cells(processes.map(replica, _tasks(name, replicas), chunksize=4))
            print("\n".join(_lines(name, cells)), flush=True)
        extra = [*small_fleets(), *calibration(processes)]
    found = [*_figures(cells), *extra]
    for name, value, ceiling in found:
        print(f"{name} {value:,.6g} (≤ {ceiling:,.6g}){'' if value <= ceiling else '  EXCEEDED'}", flush=True)
    return [compared(f"gates/{name}", value, "", against="ceiling", figure=ceiling, run=run) for name, value, ceiling in found]


def replica(task: Task) -> Replica:
    """Run one replica; the same task gives the same answer."""
    rng = np.random.default_rng([task.seed, task.devices, list(SCENARIOS).index(task.scenario)])
    scenario = SCENARIOS[task.scenario]
    setting = setting_of(scenario, task.devices, rng)
    if task.column in _OURS:
        result = run(plan_of(task.column), setting, rng, is_enough=lambda so_far: _is_told(scenario, so_far))
        return Replica(task, result.harmed, result.hours, bool(result.stopped))
    outcome = run_rival(_RIVALS[task.column](), setting, rng)
    return Replica(task, outcome.harmed, outcome.hours, outcome.is_paused)


def figures(replicas: Iterable[Replica]) -> list[tuple[str, float, float]]:
    """Return name, value and ceiling of every figure of our gate that is published; every cell of the table has replicas."""
    return _figures(_cells(replicas))


def _is_told(scenario: Scenario, so_far: Result) -> bool:
    """Say whether the rest of a run changes no figure: the hardware at fault is out, or a good release has reached the fleet."""
    is_good = scenario.fault == "good"
    return so_far.hours is not None if is_good else "hw-3" in so_far.excluded and scenario.fault == "hardware:hw-3"


def _tasks(name: str, replicas: int) -> list[Task]:
    return [
        Task(name, devices, column, seed)
        for devices in SCENARIOS[name].fleets
        for column in COLUMNS
        for seed in range(replicas if column in _OURS else min(replicas, _RIVAL_REPLICAS))
    ]


def _cells(replicas: Iterable[Replica]) -> dict[tuple[str, int, str], Cell]:
    by_cell: dict[tuple[str, int, str], list[Replica]] = {}
    for one in replicas:
        by_cell.setdefault((one.task.scenario, one.task.devices, one.task.column), []).append(one)
    return {key: _cell(found) for key, found in by_cell.items()}


def _cell(found: list[Replica]) -> Cell:
    hours = [one.hours for one in found if one.hours is not None]
    return Cell(
        harmed=fmean(one.harmed for one in found),
        false_pauses=100 * fmean(one.is_paused for one in found),
        hours=median(hours) if hours else None,
    )


def _head() -> list[str]:
    said = "Mean devices harmed; of a good release false pauses in % / median hours; in brackets the published figure."
    return [said, "".join(f"{word:>22}" for word in ("", *COLUMNS))]


def _lines(name: str, cells: Mapping[tuple[str, int, str], Cell]) -> list[str]:
    scenario = SCENARIOS[name]
    lines = []
    for devices in scenario.fleets:
        written = [_written(scenario, devices, column, cells[name, devices, column]) for column in COLUMNS]
        lines.append(f"{name + f' {devices:,}':<22}" + "".join(f"{one:>22}" for one in written))
    return lines


def _written(scenario: Scenario, devices: int, column: str, cell: Cell) -> str:
    known = devices == max(scenario.fleets)
    if scenario.fault != "good":
        return f"{cell.harmed:,.1f}" + (f" ({scenario.published[column]:,.0f})" if known else "")
    hours = "" if cell.hours is None else f" / {cell.hours:.0f}"
    peer = f"{scenario.published[column]:.0f}" + (f"/{scenario.hours[column]:.0f}" if scenario.hours else "")
    return f"{cell.false_pauses:.0f} %{hours}" + (f" ({peer})" if known else "")


def _figures(cells: Mapping[tuple[str, int, str], Cell]) -> list[tuple[str, float, float]]:
    """Return name, value and ceiling of every figure of our columns that the table publishes."""
    found: list[tuple[str, float, float]] = []
    for name, scenario in SCENARIOS.items():
        devices = max(scenario.fleets)
        for column in _OURS:
            cell, suffix = cells[name, devices, column], "" if column == "gate" else "-bake"
            figure, value = (f"harmed-{_SIZES.get(devices, '10k')}-{name}", cell.harmed)
            if scenario.fault == "good":
                figure, value = f"false-pause-{name}-percent", cell.false_pauses
            ceiling = CEILINGS.get(figure, max(1.0, SLACK * scenario.published[column]))
            found.append((figure + suffix, value, ceiling))
            if scenario.hours is not None and cell.hours is not None:
                found.append((f"hours-{name}{suffix}", cell.hours, SLACK * scenario.hours[column]))
    return found
