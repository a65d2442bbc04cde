# SPDX-License-Identifier: Apache-2.0
"""``surefoot rollout create|list|show|devices|start|pause|resume|halt``: rollouts on a server."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surefoot.cli.operator import add_options, client
from surefoot.cli.plan_file import read_plan
from surefoot.model.assignment import Outcome
from surefoot.rollout.evidence import Counts, total
from surefoot.rollout.plan import Status
from surefoot.server.services.catalogue import RolloutDevices, RolloutList, RolloutStory

_PAGE = 500
_SHOWN_DECISIONS = 15
_STEER = {
    "start": "start a rollout: canary first",
    "pause": "offer nothing more, withdraw what was not started; can be resumed",
    "resume": "go on after a pause; what was counted so far is not judged again",
    "halt": "end a rollout for good",
}


def add_verbs(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs that talk to a server."""
    creating = add("create", help="create a rollout from a plan", description="Create a rollout from a plan; it is not started.")
    creating.add_argument("plan", metavar="PLAN", type=Path, help="plan.yaml")
    creating.add_argument("--start", action="store_true", help="start it at once")
    add_options(creating)
    creating.set_defaults(run=_create)
    listing = add("list", help="list rollouts", description="List rollouts, newest first.")
    add_options(listing)
    listing.set_defaults(run=_list)
    showing = add("show", help="show a rollout and its decisions", description="Show where a rollout stands, and why.")
    _name(showing)
    showing.add_argument("--json", action="store_true", help="all of it, with the evidence of every decision")
    showing.set_defaults(run=_show)
    devices = add("devices", help="list the devices of a rollout", description="List the devices that a rollout has reached.")
    _name(devices)
    devices.add_argument("--outcome", choices=[outcome.value for outcome in Outcome], help="only those that ended so")
    devices.set_defaults(run=_devices)
    for verb, summary in _STEER.items():
        steering = add(verb, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.")
        _name(steering)
        steering.add_argument("--why", default="", help="one sentence for those who read the decisions later")
        steering.set_defaults(run=_steer, verb=verb)


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rollout_id", metavar="ROLLOUT", type=int)
    add_options(parser)


def _create(arguments: argparse.Namespace) -> int:
    plan = read_plan(arguments.plan)
    calls = client(arguments)
    rollout_id = calls.post("rollouts", plan, dict[str, int])["rollout_id"]
    stages = " -> ".join(stage.name for stage in plan.stages)
    print(f"Rollout {rollout_id}: {plan.release} to {plan.audience or f'every {plan.product}'}, {stages}.")
    if arguments.start:
        calls.post(f"rollouts/{rollout_id}/start", {}, dict[str, Any])
        print(f"Started. Follow it with: surefoot rollout show {rollout_id}")
    else:
        print(f"Next: surefoot rollout start {rollout_id}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    row = "{:>7}  {:<28} {:<9} {:<14} {:>8} {:>9} {:>7}"
    print(row.format("ROLLOUT", "RELEASE", "STATUS", "STAGE", "OFFERED", "SUCCEEDED", "HARMED"))
    for line in client(arguments).get("rollouts", RolloutList).rollouts:
        counts = line.counts
        print(row.format(line.rollout_id, line.release, line.status, line.stage, counts.offered, counts.succeeded, counts.harmed))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    if arguments.json:
        print(json.dumps(calls.get(f"rollouts/{arguments.rollout_id}", dict[str, Any]), indent=1, sort_keys=True))
        return 0
    story = calls.get(f"rollouts/{arguments.rollout_id}", RolloutStory)
    plan, rollout = story.rollout.plan, story.rollout
    print(f"Rollout {story.rollout_id}  {plan.release}  {rollout.status}  {plan.name}".rstrip())
    print(f"audience   {plan.audience or f'every {plan.product}'}")
    for index, stage in enumerate(plan.stages):
        mark = ">" if index == rollout.stage and rollout.status is not Status.FINISHED else " "
        print(f"{mark} {stage.name:<12} {_line(story.evidence.of_stage(index))}")
    print(f"  {'in all':<12} {_line(total(tally.counts for tally in story.evidence.tallies))}")
    for stored in reversed(story.decisions[:_SHOWN_DECISIONS]):
        print(f"{stored.at}  {type(stored.decision).__name__.lower():<8} {stored.decision.reason}")
        for warning in stored.decision.warnings:
            print(f"{'':<20}  warning  {warning}")
    return 0


def _devices(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    row = "{:<32} {:<14} {:<12} {}"
    print(row.format("DEVICE", "STAGE", "OUTCOME", "ENDED"))
    query = {} if arguments.outcome is None else {"outcome": arguments.outcome}
    after = 0
    while True:
        page = calls.get(f"rollouts/{arguments.rollout_id}/devices", RolloutDevices, after=after, limit=_PAGE, **query)
        for device in page.devices:
            standing = device.outcome or ("started" if device.is_started else "offered")
            print(row.format(device.device_id, device.stage, standing, device.ended_at))
        after = page.next
        if not after:
            return 0


def _steer(arguments: argparse.Namespace) -> int:
    decision = client(arguments).post(f"rollouts/{arguments.rollout_id}/{arguments.verb}", {"why": arguments.why}, dict[str, Any])
    print(decision["reason"])
    print(f"See: surefoot rollout show {arguments.rollout_id}")
    return 0


def _line(counts: Counts) -> str:
    words = [f"{counts.offered} offered", f"{counts.succeeded} succeeded"]
    words += [f"{number} {name.replace('_', ' ')}" for name in _HARM if (number := getattr(counts, name))]
    return ", ".join([*words, *([f"{counts.open} open"] if counts.open else [])])


_HARM = ("rolled_back", "failed", "silent", "cancelled", "rejected", "superseded")
