# SPDX-License-Identifier: Apache-2.0
"""The demo's closing table: what the server counts of each rollout, and the same from the boards' own memories."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surefoot.cli.operator import OperatorClient
from surefoot.model.assignment import Outcome
from surefoot.model.errors import StoreError
from surefoot.model.record import from_json
from surefoot.server.services.catalogue import RolloutDevices
from surefoot.simulator.fleet import JOURNALS
from surefoot.simulator.recorder import story_of
from surefoot.simulator.story import BoardStory, Ending

_PAGE = 1_000
_HARM = (Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.SILENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One release and the boards it came to, by name.

    Attributes:
        touched: Boards that began to update to it.
        harmed: Those of them that it failed on.
        recovered: Those of them that run another release again.
        spared: Boards that never began to.
    """

    version: str
    touched: frozenset[str]
    harmed: frozenset[str]
    recovered: frozenset[str]
    spared: frozenset[str]


def server_rows(calls: OperatorClient, rollouts: Mapping[str, int]) -> list[Row]:
    """Return a row a rollout, from the server's attempts and the devices' reports."""
    running = {device["device_id"]: device["report"]["version"] for device in _devices(calls)}
    rows: list[Row] = []
    for version, rollout_id in rollouts.items():
        attempts = list(_attempts(calls, rollout_id))
        touched = frozenset(device_id for device_id, is_started, _ in attempts if is_started)
        harmed = frozenset(device_id for device_id, _, outcome in attempts if outcome in _HARM)
        rows.append(_row(version, touched, harmed, running))
    return rows


def board_rows(folder: Path, boards: Sequence[str], rollouts: Iterable[str]) -> list[Row]:
    """Return the same rows from what every board remembers.

    Raises:
        StoreError: The simulated boards' file cannot be read.
    """
    try:
        data = (folder / "fleet" / JOURNALS).read_bytes()
    except OSError as error:
        raise StoreError(f"{folder / 'fleet' / JOURNALS} cannot be read: {error.strerror}.", hint=f"See {folder}/fleet.log.") from error
    stories = from_json(data, dict[str, BoardStory], what=JOURNALS) | {board: story_of(folder / board) for board in boards}
    running = {serial: story.version for serial, story in stories.items()}
    rows: list[Row] = []
    for version in rollouts:
        endings = {serial: attempt.ended for serial, story in stories.items() for attempt in story.attempts if attempt.version == version}
        harmed = frozenset(serial for serial, ended in endings.items() if ended in (Ending.ROLLED_BACK, Ending.FAILED))
        rows.append(_row(version, frozenset(endings), harmed, running))
    return rows


def difference(first: Sequence[Row], second: Sequence[Row]) -> list[str]:
    """Return the versions of which the two say different things."""
    return [one.version for one, other in zip(first, second, strict=True) if one != other]


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows as numbers."""
    line = "   {:<9} {:>8} {:>8} {:>10} {:>14}"
    print(line.format("release", "touched", "harmed", "recovered", "never touched"))
    for row in rows:
        print(line.format(row.version, len(row.touched), len(row.harmed), len(row.recovered), len(row.spared)))


def _row(version: str, touched: frozenset[str], harmed: frozenset[str], running: Mapping[str, str]) -> Row:
    recovered = frozenset(serial for serial in harmed if running[serial] != version)
    return Row(version=version, touched=touched, harmed=harmed, recovered=recovered, spared=frozenset(running) - touched)


def _devices(calls: OperatorClient) -> Iterable[dict[str, Any]]:
    after = ""
    while True:
        page = calls.get("devices", dict[str, Any], after=after, limit=_PAGE)
        yield from page["devices"]
        after = page["next"]
        if not after:
            return


def _attempts(calls: OperatorClient, rollout_id: int) -> Iterable[tuple[str, bool, Outcome | None]]:
    after = 0
    while True:
        page = calls.get(f"rollouts/{rollout_id}/devices", RolloutDevices, after=after, limit=_PAGE)
        yield from ((device.device_id, device.is_started, device.outcome) for device in page.devices)
        after = page.next
        if not after:
            return
