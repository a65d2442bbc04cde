# SPDX-License-Identifier: Apache-2.0
"""``surefoot rollout decide``: what a plan would do with evidence that is given line by line, without a server."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import structs

from surefoot.cli.plan_file import read_plan
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.record import Record, from_json, parse_utc, to_json
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Decision
from surefoot.rollout.evidence import Evidence
from surefoot.rollout.plan import Plan, Status
from surefoot.rollout.sequence import draft
from surefoot.rollout.standing import after


class Moment(Record, frozen=True, kw_only=True):
    """One line of evidence: what is known ``at`` a time, RFC 3339."""

    at: str
    evidence: Evidence


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb of this module to ``surefoot rollout``."""
    description = "Decide by a plan on evidence from standard input, one JSON object a line, and print one decision a line."
    decider = add_parser("decide", help="say what a plan does with evidence, without a server", description=description)
    decider.add_argument("plan", type=Path, metavar="PLAN", help="the plan, a YAML file")
    decider.set_defaults(run=_decide)


def decisions(plan: Plan, lines: Iterable[bytes]) -> Iterator[Decision]:
    """Yield a decision for each line of evidence; the rollout runs from the first line on, and every decision is carried out.

    Raises:
        InvalidInput: A line is not evidence, or names a stage that the plan does not have; names the line.
    """
    rollout = structs.replace(draft(plan), status=Status.RUNNING)
    for number, line in enumerate(lines, start=1):
        try:
            moment = from_json(line, Moment, what="This is not evidence")
            evidence, now = with_deadlines(moment.evidence), parse_utc(moment.at)
            decision = decide(rollout, evidence, now)
        except InvalidInput as error:
            raise FormatError(f"Line {number}: {error.message}", hint=error.hint) from error
        rollout = after(rollout, decision, evidence, now)
        yield decision


def with_deadlines(evidence: Evidence) -> Evidence:
    """Return evidence in which nobody counted passed deadlines as if that of every attempt that has resolved had passed."""
    if any(tally.counts.due for tally in evidence.tallies):
        return evidence
    tallies = [structs.replace(one, counts=structs.replace(one.counts, due=one.counts.resolved)) for one in evidence.tallies]
    return structs.replace(evidence, tallies=tallies)


def _decide(arguments: argparse.Namespace) -> int:
    for decision in decisions(read_plan(arguments.plan), sys.stdin.buffer):
        print(to_json(decision).decode(), flush=True)
    return 0
