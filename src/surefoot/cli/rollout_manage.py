# SPDX-License-Identifier: Apache-2.0
"""``surefoot rollout create|list|devices|approve|schedule|start|pause|resume|halt|revert|include|release``: rollouts on a server."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from surefoot.cli.operator import add_options, client
from surefoot.cli.paths import detours
from surefoot.cli.plan_file import read_plan
from surefoot.cli.rollout_show import add_name
from surefoot.model.assignment import Outcome
from surefoot.model.errors import InvalidInput
from surefoot.rollout.decision import Revert
from surefoot.rollout.plan import Status
from surefoot.rollout.urgency import late
from surefoot.server.services.catalogue import RolloutDevices, RolloutList, RolloutStory
from surefoot.server.services.rollouts import CreateAnswer

_PAGE = 500
_STEER = {
    "approve": "let a rollout start whose plan asks for approval; by another person than who created it, unless the plan says otherwise",
    "start": "start a rollout: canary first",
    "pause": "offer nothing more, withdraw what was not started; can be resumed",
    "resume": "go on after a pause; what was counted so far is not judged again",
    "halt": "end a rollout for good",
}

_OVERRIDE = {
    "include": ("HARDWARE", "include hardware that the gate excluded; nothing that was counted against it is judged again"),
    "release": ("REGION", "end the hold of a region; it may be held again"),
}

_UNDER_WAY = {Status.RUNNING, Status.PAUSED, Status.HALTED}
_RUNS_AFTER = ("start", "resume", "include", "release")


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
    devices = add("devices", help="list the devices of a rollout", description="List the devices that a rollout has reached.")
    add_name(devices)
    devices.add_argument("--outcome", choices=[outcome.value for outcome in Outcome], help="only those that ended so")
    devices.set_defaults(run=_devices)
    for verb, summary in _STEER.items():
        steering = add(verb, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.")
        add_name(steering)
        steering.add_argument("--why", default="", help="one sentence for those who read the decisions later")
        steering.set_defaults(run=_steer, verb=verb, of="", at="", keep=False)
        if verb == "halt":
            steering.add_argument("--keep", action="store_true", help="let updated devices keep it, though its plan has them taken back")
    what = "take the devices that a halted or finished rollout updated back to what they ran before"
    reverting = add("revert", help=what, description=f"{what.capitalize()}: by a rollout for each version, under the same gate and limits.")
    add_name(reverting)
    reverting.add_argument("--why", required=True, help="one sentence for those who read the decisions later")
    reverting.set_defaults(run=_revert)
    timing = add("schedule", help="let a rollout start by itself", description="Let a rollout start by itself at an instant.")
    add_name(timing)
    timing.add_argument("--at", metavar="TIME", required=True, help="in UTC, as in 2026-12-01T02:00:00Z")
    timing.add_argument("--why", default="", help="one sentence for those who read the decisions later")
    timing.set_defaults(run=_steer, verb="schedule", of="", keep=False)
    for verb, (what, summary) in _OVERRIDE.items():
        overriding = add(verb, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.")
        add_name(overriding)
        overriding.add_argument("of", metavar=what, help="as 'surefoot rollout show' says it")
        overriding.add_argument("--why", required=True, help="one sentence for those who read the decisions later")
        overriding.set_defaults(run=_steer, verb=verb, at="", keep=False)


def _create(arguments: argparse.Namespace) -> int:
    plan = read_plan(arguments.plan)
    calls = client(arguments)
    created = calls.post("rollouts", plan, CreateAnswer)
    rollout_id = created.rollout_id
    stages = " -> ".join(stage.name for stage in plan.stages)
    print(f"Rollout {rollout_id}: {plan.release} to {plan.audience or f'every {plan.product}'}, {stages}.")
    for warning in late(plan, datetime.now(UTC)):
        print(warning)
    for warning in created.warnings:
        print(f"warning: {warning}")
    if away := detours(calls, plan):
        print(f"{away} of its devices cannot go straight to {plan.release}; see: surefoot rollout path {arguments.plan}")
    if plan.approval.required:
        print(f"Next: another operator says: surefoot rollout approve {rollout_id}")
    elif arguments.start:
        calls.post(f"rollouts/{rollout_id}/start", {}, dict[str, Any])
        print(f"Started. Follow it with: surefoot rollout show {rollout_id} --follow")
    elif plan.start_at:
        print(f"It starts by itself at {plan.start_at}. See: surefoot rollout show {rollout_id}")
    else:
        print(f"Next: surefoot rollout start {rollout_id}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    row = "{:>7}  {:<28} {:<9} {:<14} {:>8} {:>9} {:>7}  {}"
    found = client(arguments).get("rollouts", RolloutList).rollouts
    if not found:
        print("There is no rollout. Next: surefoot rollout create PLAN")
        return 0
    print(row.format("ROLLOUT", "RELEASE", "STATUS", "STAGE", "OFFERED", "SUCCEEDED", "HARMED", "NAME"))
    for line in found:
        counts, stage = line.counts, line.stage if line.status in _UNDER_WAY else "-"
        columns = (line.rollout_id, line.release, line.status, stage, counts.offered, counts.succeeded, counts.harmed, line.name)
        print(row.format(*columns).rstrip())
        for alarm in line.alarms:
            print(f"{'':>7}  alarm: {alarm}")
    return 0


def _devices(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    row = "{:<32} {:<14} {:<12} {}"
    query = {} if arguments.outcome is None else {"outcome": arguments.outcome}
    after = 0
    while True:
        page = calls.get(f"rollouts/{arguments.rollout_id}/devices", RolloutDevices, after=after, limit=_PAGE, **query)
        if not after:
            print(row.format("DEVICE", "STAGE", "OUTCOME", "ENDED"))
        for device in page.devices:
            standing = device.outcome or ("started" if device.is_started else "offered")
            print(row.format(device.device_id, device.stage, standing, device.ended_at))
        after = page.next
        if not after:
            return 0


def _steer(arguments: argparse.Namespace) -> int:
    if arguments.verb == "halt" and not arguments.why.strip():
        raise InvalidInput(
            "A halt is for good, and no reason is given.", hint="Say why, for those who read it later: --why 'one sentence'."
        )
    said = {"why": arguments.why, "of": arguments.of, "at": arguments.at, "keeps": arguments.keep}
    decision = client(arguments).post(f"rollouts/{arguments.rollout_id}/{arguments.verb}", said, dict[str, Any])
    print(decision["reason"])
    print(f"See: surefoot rollout show {arguments.rollout_id}{' --follow' if arguments.verb in _RUNS_AFTER else ''}")
    return 0


def _revert(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    decision = calls.post(f"rollouts/{arguments.rollout_id}/revert", {"why": arguments.why}, Revert)
    row = "{:<16} {:>9}  {}"
    print(row.format("RAN BEFORE", "DEVICES", "TAKEN BACK BY"))
    begun = [way.rollout_id for way in decision.ways if way.rollout_id is not None]
    for way in decision.ways:
        print(row.format(way.version, way.devices, f"nobody: {way.obstacle}" if way.rollout_id is None else f"rollout {way.rollout_id}"))
    for rollout_id in begun:
        status = calls.get(f"rollouts/{rollout_id}", RolloutStory).rollout.status
        what = "show {} --follow" if status is Status.RUNNING else "approve {}"
        print(f"Next: surefoot rollout {what.format(rollout_id)}")
    return 0
