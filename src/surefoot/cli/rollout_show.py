# SPDX-License-Identifier: Apache-2.0
"""``surefoot rollout show``: where a rollout stands and every decision about it; with ``--follow``, as they are made."""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from surefoot.cli.operator import add_options, client
from surefoot.model.record import utc_text
from surefoot.rollout.decision import Revert
from surefoot.rollout.evidence import Counts, total
from surefoot.rollout.judgement import judge
from surefoot.rollout.plan import Rollout, Status
from surefoot.server.services.catalogue import RolloutStory, StoredDecision

_SHOWN_DECISIONS = 15
_LOOK_S = 1
_WHY = "--why REASON"
_HARM = ("rolled_back", "failed", "silent", "cancelled", "rejected", "superseded")


def add_verbs(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb ``show``."""
    showing = add("show", help="show a rollout and its decisions", description="Show where a rollout stands, and why.")
    add_name(showing)
    how = showing.add_mutually_exclusive_group()
    how.add_argument(
        "--follow", action="store_true", help="say each decision as it is made, until the rollout finishes, pauses or is halted"
    )
    how.add_argument("--json", action="store_true", help="all of it, with the evidence of every decision")
    showing.set_defaults(run=_show)


def add_name(parser: argparse.ArgumentParser) -> None:
    """Say that a verb is about one rollout of a server."""
    parser.add_argument("rollout_id", metavar="ROLLOUT", type=_number, help="its number, as 'surefoot rollout list' shows it")
    add_options(parser)


def follow(look: Callable[[], RolloutStory], wait: Callable[[], None]) -> RolloutStory:
    """Print each decision as it is made, the oldest first, until the rollout does not run; then return how it stands.

    Args:
        look: Reads the rollout.
        wait: Is called between two looks.
    """
    said = 0
    while True:
        story = look()
        for stored in reversed(story.decisions):
            if stored.number > said:
                _say(stored)
                said = stored.number
        if story.rollout.status not in {Status.RUNNING, Status.SCHEDULED}:
            return story
        wait()


def say_standing(story: RolloutStory) -> None:
    """Print where a rollout stands: its stages, and what its gate keeps out."""
    plan, rollout = story.rollout.plan, story.rollout
    print(f"Rollout {story.rollout_id}  {plan.release}  {rollout.status}  {plan.name}".rstrip())
    print(f"audience   {plan.audience or f'every {plan.product}'}")
    if rollout.reverts is not None:
        print(f"takes back what rollout {rollout.reverts} updated from {plan.version}")
    for index, stage in enumerate(plan.stages):
        mark = ">" if index == rollout.stage and rollout.status is not Status.FINISHED else " "
        print(f"{mark} {stage.name:<12} {_stage(story, index)}")
    print(f"  {'in all':<12} {_line(total(tally.counts for tally in story.evidence.tallies))}")
    for stage in rollout.written:
        for name, values in stage.order:
            print(f"order      {stage.name} by {name}: {', '.join(values)}, then the others")
    _say_gate(story)
    if rollout.approved_by:
        print(f"approved   by {rollout.approved_by}")


def next_steps(story: RolloutStory) -> list[str]:
    """Return the lines that say what happens next, by itself or by a person; none when it is over."""
    rollout, number = story.rollout, story.rollout_id
    match rollout.status:
        case Status.SCHEDULED:
            return [f"Next: it starts by itself at {rollout.starts_at}; to start it now: surefoot rollout start {number}"]
        case Status.DRAFT if not rollout.may_start:
            who = f"another operator than {story.created_by}" if rollout.plan.approval.second_person else "an operator"
            return [f"Next: {who} says: surefoot rollout approve {number}"]
        case Status.DRAFT | Status.APPROVED:
            return [f"Next: surefoot rollout start {number}"]
        case Status.RUNNING:
            return [f"Next: it goes on by itself; to follow it: surefoot rollout show {number} --follow"]
        case Status.PAUSED:
            return [
                f"Next: {_culprit(rollout)}to go on: surefoot rollout resume {number} {_WHY}",
                f"      to end it: surefoot rollout halt {number} {_WHY}",
            ]
        case Status.HALTED if not rollout.is_final and rollout.reverts is not None:
            return [f"Next: a new rollout; against its gate: surefoot rollout resume {number} {_WHY}"]
        case Status.HALTED if not rollout.is_final:
            return [
                f"Next: a new rollout; to take back what it updated: surefoot rollout revert {number} {_WHY}",
                f"      against its gate: surefoot rollout resume {number} {_WHY}",
            ]
        case Status.HALTED if (by := _taken_back_by(story)) is not None:
            return [f"Next: rollout {by} takes back what it updated: surefoot rollout show {by} --follow"]
        case Status.HALTED if rollout.has_begun and rollout.reverts is None:
            return [f"Next: a new rollout; to take back what it updated: surefoot rollout revert {number} {_WHY}"]
        case Status.HALTED | Status.FINISHED:
            return []


def _taken_back_by(story: RolloutStory) -> int | None:
    """Return the first of the rollouts that were begun last to take back what this one updated; nothing when none was."""
    ways = next((stored.decision.ways for stored in story.decisions if isinstance(stored.decision, Revert)), [])
    return next((way.rollout_id for way in ways if way.rollout_id is not None), None)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a rollout; 'surefoot rollout list' shows it")
    return int(text)


def _show(arguments: argparse.Namespace) -> int:
    calls, path = client(arguments), f"rollouts/{arguments.rollout_id}"
    if arguments.json:
        print(json.dumps(calls.get(path, dict[str, Any]), indent=1, sort_keys=True))
        return 0
    if arguments.follow:
        story = follow(lambda: calls.get(path, RolloutStory), lambda: time.sleep(_LOOK_S))
        say_standing(story)
    else:
        story = calls.get(path, RolloutStory)
        say_standing(story)
        for stored in reversed(story.decisions[:_SHOWN_DECISIONS]):
            _say(stored)
    for line in next_steps(story):
        print(line)
    return 0


def _stage(story: RolloutStory, index: int) -> str:
    rollout, batches = story.rollout, story.rollout.plan.stages[index].batches
    if index > rollout.stage or not rollout.has_begun:
        return "to come"
    is_inside = index == rollout.stage and rollout.status is not Status.FINISHED and len(batches) > 1
    at = f"; at batch {rollout.batch + 1} of {len(batches)} ({batches[rollout.batch]})" if is_inside else ""
    return f"{_line(story.evidence.of_stage(index))}{at}"


def _culprit(rollout: Rollout) -> str:
    if rollout.localise_at is None:
        return ""
    return f"at {utc_text(datetime.fromtimestamp(rollout.localise_at, UTC))} the gate looks for the culprit, by itself; "


def _say_gate(story: RolloutStory) -> None:
    rollout, number = story.rollout, story.rollout_id
    for hardware in rollout.excluded:
        print(f"excluded   hardware {hardware}; a person includes it: surefoot rollout include {number} {hardware} {_WHY}")
    for region in rollout.regions:
        if region.is_held:
            release = f"surefoot rollout release {number} {region.region or repr('')} {_WHY}"
            end = f"a person ends it: {release}" if region.needs_person else "it goes on by itself after half an hour of calm"
            print(f"held       region {region.region or '(none)'}; {end}")
    for alarm in story.alarms:
        print(f"alarm      {alarm}")
    verdict = judge(rollout, story.evidence, 0)
    if rollout.status is Status.RUNNING and verdict.most_at_risk is not None:
        slow = ", while something speaks against it" if verdict.is_slow else ""
        print(f"at risk    {verdict.at_risk} devices, of at most {verdict.most_at_risk}{slow}")


def _say(stored: StoredDecision) -> None:
    decision = stored.decision
    word = "start" if decision.cause == "started" else type(decision).__name__.lower()
    print(f"{stored.at}  {word:<8} {decision.reason}", flush=True)
    for warning in decision.warnings:
        print(f"{'':<20}  warning  {warning}", flush=True)


def _line(counts: Counts) -> str:
    words = [f"{counts.offered} offered", f"{counts.succeeded} succeeded"]
    words += [f"{number} {name.replace('_', ' ')}" for name in _HARM if (number := getattr(counts, name))]
    return ", ".join([*words, *([f"{counts.open} open"] if counts.open else [])])
