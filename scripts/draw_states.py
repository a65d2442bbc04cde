# SPDX-License-Identifier: Apache-2.0
"""Draws ``docs/agent-states.md`` from the agent's table of rules: a diagram, every row, every event and every effect."""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from surefoot.agent.machine import RULES, Rule
from surefoot.agent.signals import Effect, Event
from surefoot.agent.state import Phase

PAGE = Path(__file__).parents[1] / "docs" / "agent-states.md"

_MEANINGS = {
    Phase.IDLE: "Nothing is ordered; the device waits for its next poll.",
    Phase.CHECKING: "The server is being asked what changed.",
    Phase.VERIFYING: "The answer is held against both repositories and against the rules of this device.",
    Phase.DOWNLOADING: "The image is on its way into the slot that does not run, a tenth of it at a time, or 4 KiB if that is more.",
    Phase.WAITING: "The image is here and may not be installed yet; the server is asked as ever, and may take the order back.",
    Phase.INSTALLING: "The image is read back from the slot, compared with what was signed, and made the one to try.",
    Phase.REBOOTING: "The board is asked to boot the new release.",
    Phase.TRIAL: "The new release runs and must prove itself; the bootloader would still fall back.",
    Phase.COMMITTED: "The new release has proved itself; the bootloader is told to keep it.",
    Phase.ROLLING_BACK: "The new release has failed; the board is told to boot the release before.",
    Phase.REPORTING: "The attempt is over; every event of it is brought to the server.",
}

_HEAD = """\
# The agent's states

<!-- Drawn by `make docs` from `surefoot.agent.machine.RULES`. Do not edit: change the table and draw it again. -->

This is the whole behaviour of a device during an update. It is drawn from the one table that the agent runs, `RULES` in
`src/surefoot/agent/machine.py`, so it cannot differ from it.

How to read it: the agent is in one state. It is told an event. The row for that pair says where it goes, and what to do next.
The new state is on the disk before anything is done, and everything done may be done again. So the power may fail at any
instant: after it, the agent reads its last state, is told `Booted`, and goes on.

States that only say "a check is under way" (checking, verifying) are not written to the disk: a poll that finds nothing new
writes nothing ([ADR 0007](adr/0007-idle-devices-write-nothing.md)).
"""


def draw() -> str:
    """Return the whole page."""
    parts = [_HEAD, "## Diagram\n", _diagram(RULES), "## States\n", _states(), "## Rules\n", _rules(RULES)]
    parts += ["## Events: what the machine is told\n", _classes(get_args(Event), "event")]
    parts += ["## Effects: what the machine asks for\n", _classes(get_args(Effect), "effect")]
    return "\n".join(parts)


def _diagram(rules: Iterable[Rule]) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {_id(Phase.IDLE)}"]
    lines += [f"    {_id(phase)} : {phase}" for phase in Phase]
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for rule in rules:
        for to in rule.to:
            # Staying where one is says little in a picture; the table below has it.
            if to is not rule.phase:
                arrows.setdefault((rule.phase, to), []).append(rule.why.replace(":", ","))
    lines += [f"    {_id(origin)} --> {_id(to)} : {' / '.join(dict.fromkeys(labels))}" for (origin, to), labels in arrows.items()]
    return "\n".join([*lines, "```", ""])


def _states() -> str:
    rows = [f"| {phase} | {_MEANINGS[phase]} |" for phase in Phase]
    return "\n".join(["| state | meaning |", "| --- | --- |", *rows, ""])


def _rules(rules: Iterable[Rule]) -> str:
    rows = [f"| {rule.phase} | `{rule.event.__name__}` | {rule.why} | {', '.join(rule.to)} |" for rule in rules]
    head = ["A pair of state and event that has no row cannot happen; the agent would stop rather than guess.", ""]
    return "\n".join([*head, "| in state | told | because | goes to |", "| --- | --- | --- | --- |", *rows, ""])


def _classes(kinds: Iterable[type], what: str) -> str:
    rows = [f"| `{kind.__name__}` | {_first_paragraph(kind)} |" for kind in kinds]
    return "\n".join([f"| {what} | meaning |", "| --- | --- |", *rows, ""])


def _first_paragraph(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")


def _id(phase: Phase) -> str:
    return phase.replace(" ", "_")


if __name__ == "__main__":
    PAGE.write_text(draw(), encoding="utf-8")
