# SPDX-License-Identifier: Apache-2.0
"""``surefoot rollout decide``: what a plan would do with evidence that is given line by line, without a server."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from msgspec import structs

from surefoot.cli.plan_file import read_plan
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.record import Record, from_json, parse_utc, to_json
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Decision
from surefoot.rollout.evidence import Evidence, Tally
from surefoot.rollout.plan import Plan, Status
from surefoot.rollout.sequence import draft
from surefoot.rollout.standing import after

_NAMES_DUE = b'"due"'


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
        InvalidInput: A line is not evidence, names a stage that the plan does not have, or is earlier than the one before; names the
            line.
    """
    rollout = structs.replace(draft(plan), status=Status.RUNNING)
    deadlines = _Deadlines()
    before: datetime | None = None
    for number, line in enumerate(lines, start=1):
        try:
            moment = from_json(line, Moment, what="This is not evidence")
            evidence, now = deadlines.in_full(moment.evidence, is_counted=_NAMES_DUE in line), _no_earlier(moment.at, before)
            decision = decide(rollout, evidence, now)
        except InvalidInput as error:
            raise FormatError(f"Line {number}: {error.message}", hint=error.hint) from error
        rollout, before = after(rollout, decision, evidence, now), now
        yield decision


class _Deadlines:
    """Passed deadlines, for evidence in which nobody counted them: that of every attempt that has resolved is taken to have passed.

    Who counts them but leaves zeros out is known only by a later line. What was taken to have passed until then stays so, since counts
    that go back would hold the rollout.
    """

    def __init__(self) -> None:
        self._is_counted = False
        self._taken: dict[tuple[int, str, str], int] = {}

    def in_full(self, evidence: Evidence, *, is_counted: bool) -> Evidence:
        """Return evidence with ``due`` in every tally; ``is_counted`` says whether this line has it."""
        self._is_counted = self._is_counted or is_counted
        return structs.replace(evidence, tallies=[self._tally_in_full(tally) for tally in evidence.tallies])

    def _tally_in_full(self, tally: Tally) -> Tally:
        key, counts = (tally.stage, tally.hardware, tally.region), tally.counts
        if not self._is_counted:
            self._taken[key] = counts.resolved
        return structs.replace(tally, counts=structs.replace(counts, due=max(counts.due, self._taken.get(key, 0))))


def _no_earlier(at: str, before: datetime | None) -> datetime:
    now = parse_utc(at)
    if before is not None and now < before:
        raise InvalidInput(f"{at} is earlier than the line before.", hint="Give the lines in the order of their times.")
    return now


def _decide(arguments: argparse.Namespace) -> int:
    for decision in decisions(read_plan(arguments.plan), sys.stdin.buffer):
        print(to_json(decision).decode(), flush=True)
    return 0
