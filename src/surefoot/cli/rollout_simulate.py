# SPDX-License-Identifier: Apache-2.0
"""``surefoot rollout simulate``: what a plan would do to a fleet when its release is good, and when it is not."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.cli.operator import add_options, client
from surefoot.cli.plan_file import read_plan
from surefoot.fleet.field import Traits
from surefoot.model.errors import InvalidInput
from surefoot.model.record import to_pretty_json
from surefoot.rollout.evidence import Share
from surefoot.rollout.plan import Limits, Plan
from surefoot.rollout.sequence import both, draft
from surefoot.server.services.catalogue import FleetMix

if TYPE_CHECKING:
    from surefoot.simulator.rollouts.study import Outlook
    from surefoot.simulator.rollouts.world import Setting

_FAULTS = ("good", "brick", "bad:5%", "silent:5%", "late:10%@12h")
_MOST_DEVICES = 10_000_000
_MOST_RUNS = 1_000
_MOST_AWAY = 0.9
_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)

_LEGEND = (
    "harmed, worst   devices harmed, on average and in the worst run",
    "paused, after   share of the runs that were ever paused (of a good release: false pauses), and the median time until then",
    "excluded        share of the runs that went on without some hardware",
    "to 95%          median time until 95% of the devices ran the release well; - where none of the runs came so far",
)


def add_verbs(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb ``simulate``."""
    simulating = add(
        "simulate",
        help="say how a plan would go: hours, devices harmed, false pauses",
        description="Roll a plan out on a twin of the fleet, in virtual time, with the real engine; nothing is offered to any device.",
    )
    simulating.add_argument("plan", metavar="PLAN", type=Path, help="the plan file")
    simulating.add_argument("--fleet", metavar="N", type=_number(_MOST_DEVICES), help="a made-up fleet of N devices, not the server's")
    simulating.add_argument(
        "--fault",
        action="append",
        metavar="FAULT",
        help="good, brick, bad:5%%, silent:5%%, hardware:NAME or late:10%%@12h; again for another (default: each but hardware)",
    )
    simulating.add_argument("--runs", metavar="N", type=_number(_MOST_RUNS), default=20, help="runs of each fault (default: 20)")
    simulating.add_argument(
        "--seed", metavar="N", type=int, default=0, help="where chance begins; the same seed tells the same (default: 0)"
    )
    simulating.add_argument("--json", action="store_true", help="as JSON")
    simulating.add_argument("--chart", metavar="FILE", type=Path, help="draw the devices harmed into an SVG file")
    add_options(simulating)
    simulating.set_defaults(run=_simulate)


def _number(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most:,}")
        return int(text)

    return number


def _simulate(arguments: argparse.Namespace) -> int:
    if find_spec("numpy") is None:
        raise InvalidInput("'surefoot rollout simulate' needs packages that are not installed.", hint="Install surefoot[simulate].")
    from surefoot.simulator.rollouts.chart import svg  # noqa: PLC0415  # numpy is an extra of its own

    plan = read_plan(arguments.plan)
    sequence = draft(plan).plan
    setting = _made_up(sequence, arguments.fleet) if arguments.fleet else twin(sequence, arguments)
    settings = _settings(setting, arguments.fault or _FAULTS)
    outlooks = list(_outlooks(plan, settings, arguments.runs, arguments.seed))
    if arguments.chart:
        arguments.chart.write_text(svg(f"{plan.release}: {arguments.plan.name}", setting.devices, outlooks))
    if arguments.json:
        print(to_pretty_json(outlooks).decode(), end="")
        return 0
    print(f"{plan.release} on a twin of {setting.devices:,} devices, {arguments.runs} runs of each")
    for line in table(outlooks):
        print(line)
    if unknown := left_out(plan.limits):
        print(f"Not simulated: {', '.join(unknown)}. Where one of them holds devices up, it takes longer than said here.")
    if arguments.chart:
        print(f"The chart is in {arguments.chart}.")
    return 0


def table(outlooks: Sequence["Outlook"]) -> list[str]:
    """Return the lines of the table that people read."""
    lines = [f"{'fault':<18}{'harmed':>10}{'worst':>10}{'paused':>9}{'after':>8}{'excluded':>10}{'to 95%':>9}"]
    for one in outlooks:
        after, hours = _hours(one.stopped_after_h), _hours(one.hours)
        share, excluded = f"{one.stopped:.0%}", f"{one.excluded:.0%}"
        lines.append(f"{one.fault:<18}{one.harmed:>10,.1f}{one.harmed_worst:>10,}{share:>9}{after:>8}{excluded:>10}{hours:>9}")
    return [*lines, *_LEGEND]


def left_out(limits: Limits) -> list[str]:
    """Return the limits of a plan that the twin does not know: it has neither sites nor the time that a download takes."""
    asked = (("concurrent_downloads", limits.concurrent_downloads), ("regions", limits.regions), ("sites", limits.sites))
    return [f"limits.{key}" for key, value in asked if value]


def _hours(hours: float | None) -> str:
    return "-" if hours is None else f"{hours:.0f} h"


def _made_up(plan: Plan, devices: int) -> "Setting":
    from surefoot.simulator.rollouts.mix import published  # noqa: PLC0415  # numpy is an extra of its own
    from surefoot.simulator.rollouts.study import horizon_h  # noqa: PLC0415  # numpy is an extra of its own
    from surefoot.simulator.rollouts.world import Setting  # noqa: PLC0415  # numpy is an extra of its own

    if any(stage.group for stage in plan.stages):
        raise InvalidInput("A stage of the plan has a group; a made-up fleet has none.", hint="Leave --fleet out: the server has groups.")
    audience = published(devices)
    return Setting(audience=audience, groups=_made_up_stages(plan, audience), horizon_h=horizon_h(plan, devices))


def _made_up_stages(plan: Plan, audience: Sequence[Share]) -> dict[int, list[Share]]:
    from surefoot.fleet.filter import matches, names, parse  # noqa: PLC0415  # the parser is an extra of its own

    stages: dict[int, list[Share]] = {}
    for index, stage in enumerate(plan.stages):
        wanted = parse(stage.audience)
        if unknown := sorted(names(wanted) - {"hardware", "region"}):
            raise InvalidInput(
                f"Stage {stage.name} asks for '{unknown[0]}'; of a made-up fleet only hardware and region are known.",
                hint="Leave --fleet out: the server knows its devices.",
            )
        if stage.audience:
            fits = [Traits(attributes={"hardware": share.hardware, "region": share.region}) for share in audience]
            stages[index] = [share for share, traits in zip(audience, fits, strict=True) if matches(wanted, traits, _SOME_DAY)]
    return stages


def twin(plan: Plan, arguments: argparse.Namespace) -> "Setting":
    """Return the fleet that the server knows: its kinds, groups, what is usual for them, and how many are out of touch."""
    from surefoot.simulator.rollouts.habits import of_fleet  # noqa: PLC0415  # numpy is an extra of its own
    from surefoot.simulator.rollouts.study import horizon_h  # noqa: PLC0415  # numpy is an extra of its own
    from surefoot.simulator.rollouts.world import Setting  # noqa: PLC0415  # numpy is an extra of its own

    calls = client(arguments)

    def mix(audience: str = "", group: str | None = None) -> FleetMix:
        return calls.get("mix", FleetMix, product=plan.product, filter=both(plan.audience, audience), group=group or "")

    groups = {stage: mix(one.audience, one.group) for stage, one in enumerate(plan.stages) if one.audience or one.group}
    whole = mix()
    shares = whole.shares if len(groups) < len(plan.stages) else _together([group.shares for group in groups.values()])
    devices = sum(share.devices for share in shares)
    if not devices:
        raise InvalidInput("The plan's audience has no device on that server.", hint="Give --fleet N to simulate a made-up fleet.")
    silent = sum(share.devices for share in whole.shares) - whole.in_touch
    return Setting(
        audience=shares,
        groups={stage: group.shares for stage, group in groups.items()},
        habits=of_fleet(whole.baselines, never=min(_MOST_AWAY, silent / max(1, silent + whole.in_touch))),
        baselines=whole.baselines,
        horizon_h=horizon_h(plan, devices),
    )


def _together(groups: Sequence[Sequence[Share]]) -> list[Share]:
    devices: dict[tuple[str, str], int] = {}
    for share in (share for group in groups for share in group):
        kind = share.hardware, share.region
        devices[kind] = devices.get(kind, 0) + share.devices
    return [Share(hardware=hardware, region=region, devices=number) for (hardware, region), number in sorted(devices.items())]


def _settings(setting: "Setting", faults: Sequence[str]) -> Mapping[str, "Setting"]:
    from surefoot.simulator.rollouts.fault import parse_fault  # noqa: PLC0415  # numpy is an extra of its own

    known = sorted({share.hardware for share in setting.audience})
    parsed = {text: parse_fault(text) for text in faults}
    for text, fault in parsed.items():
        if fault.hardware is not None and fault.hardware not in known:
            raise InvalidInput(f"'{text}': the fleet has no such hardware.", hint=f"It has {', '.join(known)}.")
    return {text: replace(setting, fault=fault) for text, fault in parsed.items()}


def _outlooks(plan: Plan, settings: Mapping[str, "Setting"], runs: int, seed: int) -> Iterator["Outlook"]:
    from surefoot.simulator.rollouts.study import one_run, outlook  # noqa: PLC0415  # numpy is an extra of its own

    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
        for place, (text, setting) in enumerate(settings.items()):
            results = []
            for result in processes.map(one_run, repeat(plan), repeat(setting), [(seed, place, number) for number in range(runs)]):
                results.append(result)
                _tell(f"{text}: {len(results)} of {runs} runs")
            yield outlook(text, results)
    _tell("")


def _tell(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)
