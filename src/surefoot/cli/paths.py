# SPDX-License-Identifier: Apache-2.0
"""``surefoot release path`` and ``surefoot rollout path``: through which releases devices would go, before anything is ordered."""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path as File

from surefoot.cli.operator import OperatorClient, add_options, client, segment
from surefoot.cli.plan_file import read_plan
from surefoot.fleet.path import Path, Step
from surefoot.model.record import to_json
from surefoot.model.rules import Rule
from surefoot.rollout.plan import Plan
from surefoot.server.services.preview import PathPlan

_ROW = "{:>9}  {:<20} {}"


def add_release_verb(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``path`` to ``surefoot release``."""
    what = "say through which releases each device would go to one, or why it cannot"
    parser = add("path", help=what, description=f"{what.capitalize()}; nothing is ordered.")
    parser.add_argument("product", metavar="PRODUCT")
    parser.add_argument("version", metavar="VERSION")
    parser.add_argument("--filter", default="", help="only these devices, as in: site==berlin")
    parser.add_argument("--variant", default="release", help="(%(default)s)")
    _finish(parser, lambda given: _show(given, given.product, given.version, given.variant, given.filter))


def add_rollout_verb(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``path`` to ``surefoot rollout``."""
    what = "say which of a plan's devices can go straight to its release, through which others, or why not"
    parser = add("path", help=what, description=f"{what.capitalize()}; nothing is created.")
    parser.add_argument("plan", metavar="PLAN", type=File, help="plan.yaml")
    _finish(parser, _of_plan)


def detours(calls: OperatorClient, plan: Plan) -> int:
    """Return how many devices of a plan's audience neither run its release nor can go straight to it."""
    found = _fetch(calls, plan.product, plan.version, plan.variant, plan.audience)
    return sum(line.devices for line in found.lines if not _is_straight(line.path))


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_options(parser)
    parser.set_defaults(run=run)


def _of_plan(arguments: argparse.Namespace) -> int:
    plan = read_plan(arguments.plan)
    return _show(arguments, plan.product, plan.version, plan.variant, plan.audience)


def _show(arguments: argparse.Namespace, product: str, version: str, variant: str, wanted: str) -> int:
    found = _fetch(client(arguments), product, version, variant, wanted)
    if arguments.json:
        print(to_json(found).decode())
        return 0
    if not found.lines:
        print(f"No active device runs {product}{', of those that the filter means' if wanted else ''}.")
        return 0
    print(_ROW.format("DEVICES", "HARDWARE", "PATH"))
    for (hardware, words), devices in _lines(found).most_common():
        print(_ROW.format(devices, hardware, words))
    if found.others:
        print(_ROW.format(found.others, "others", "not looked at: each is one of a few of its kind; pick them with a filter"))
    return 0


def _fetch(calls: OperatorClient, product: str, version: str, variant: str, wanted: str) -> PathPlan:
    query = {"variant": variant} | ({"filter": wanted} if wanted else {})
    return calls.get(f"releases/{segment(product)}/{segment(version)}/paths", PathPlan, **query)


def _is_straight(path: Path) -> bool:
    return len(path.steps) == 1 or (path.obstacle is not None and path.obstacle.rule is Rule.SAME_VERSION)


def _lines(plan: PathPlan) -> Counter[tuple[str, str]]:
    """Return how many devices go which way: those that differ in nothing that is shown are one line."""
    lines: Counter[tuple[str, str]] = Counter()
    for line in plan.lines:
        lines[line.running.hardware, _words(line.running.version, line.path)] += line.devices
    return lines


def _words(running: str, path: Path) -> str:
    if path.obstacle is None:
        return " -> ".join([running, *map(_step, path.steps)])
    return f"{running} is there" if path.obstacle.rule is Rule.SAME_VERSION else f"{running} cannot: {path.obstacle.reason}"


def _step(step: Step) -> str:
    return step.version if step.approval is None else f"{step.version} (with --approve-{step.approval})"
