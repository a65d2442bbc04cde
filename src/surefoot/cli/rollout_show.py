# SPDX-License-Identifier: Apache-2.0
"""``surefoot rollout show``: where a rollout stands and every decision about it; with ``--follow``, as they are made."""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from surefoot.cli.operator import add_options, client
from surefoot.rollout.evidence import Counts, total
from surefoot.rollout.judgement import judge
from surefoot.rollout.plan import Status
from surefoot.server.services.catalogue import RolloutStory, StoredDecision

_SHOWN_DECISIONS = 15
_LOOK_S = 1
_END_OF_HOLD = {False: "it goes on by itself once it is calm", True: "a person ends it: surefoot rollout release"}
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
    for index, stage in enumerate(plan.stages):
        mark = ">" if index == rollout.stage and rollout.status is not Status.FINISHED else " "
        print(f"{mark} {stage.name:<12} {_line(story.evidence.of_stage(index))}")
    print(f"  {'in all':<12} {_line(total(tally.counts for tally in story.evidence.tallies))}")
    for stage in rollout.written:
        for name, values in stage.order:
            print(f"order      {stage.name} by {name}: {', '.join(values)}, then the others")
    _say_gate(story)
    if rollout.approved_by:
        print(f"approved   by {rollout.approved_by}")
    if rollout.status is Status.SCHEDULED:
        print(f"starts     {rollout.starts_at}")
    elif not rollout.has_begun:
        print(f"Next: surefoot rollout {'start' if rollout.may_start else 'approve'} {story.rollout_id}")


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
        say_standing(follow(lambda: calls.get(path, RolloutStory), lambda: time.sleep(_LOOK_S)))
        return 0
    story = calls.get(path, RolloutStory)
    say_standing(story)
    for stored in reversed(story.decisions[:_SHOWN_DECISIONS]):
        _say(stored)
    return 0


def _say_gate(story: RolloutStory) -> None:
    rollout = story.rollout
    if rollout.excluded:
        print(f"excluded   hardware {', '.join(rollout.excluded)}; a person includes it: surefoot rollout include")
    for region in rollout.regions:
        if region.is_held:
            print(f"held       region {region.region or '(none)'}; {_END_OF_HOLD[region.needs_person]}")
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
