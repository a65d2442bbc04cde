# SPDX-License-Identifier: Apache-2.0
"""The lab put together: a server, releases as slot images, and one board that left the factory, joined, and is updated again and again.

The board goes on from scenario to scenario, as boards do: it is never set back, so that nothing that it or the server remembers is
lost between two of them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.image import Behaviour, System, make_system, write_flash
from lab.layout import SLOTS, make_disk
from lab.machine import Machine
from lab.office import HARDWARE, Office
from lab.packages import fetch_agent, fetch_system
from lab.tools import LabError
from surefoot.agent.boot.state import factory
from surefoot.cli.flashing import read_release
from surefoot.model.errors import UnknownError
from surefoot.model.slot import SlotName

FACTORY = "1.0.0"
GOOD = ("1.1.0", "1.2.0", "1.3.0")
"""Releases that are well; the board goes from one to the next, and round again."""

_BAD_MINOR = 10
_ENDS = {"update.health.ok", "update.download.failed", "update.install.failed", "update.rollback.completed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an order ended.

    Attributes:
        outcome: As the server says it.
        reason: Why it was taken back, as the board says it; empty when it was not.
        starts: Which slots the loader started since the order, in order.
        seconds: From the order to the outcome, by the clock on the wall.
        requests: What was asked of the disk meanwhile.
    """

    outcome: str
    reason: str
    starts: tuple[str, ...]
    seconds: float
    requests: int


class World:
    """Everything of one run of the lab.

    Attributes:
        machine: The board.
        office: The server.
        version: The release that the board runs and has kept.
    """

    def __init__(self, cache: Path, folder: Path, wheel: Path) -> None:
        """Build what the board is made of, start the server, switch the board on and wait until it has joined.

        Args:
            cache: What was fetched, kept from run to run.
            folder: An empty folder for this run.
            wheel: Our own wheel.

        Raises:
            LabError: Something cannot be had or made, or the board does not join.
        """
        packages, kernel = fetch_system(cache)
        self._folder = folder
        self._system: System = make_system(folder / "system", packages, kernel, fetch_agent(cache, wheel))
        self._published: set[str] = set()
        self.version = FACTORY
        self.office = Office(folder)
        write_flash(folder / "flash.img", folder)
        bundle = self._publish(FACTORY, Behaviour.GOOD)
        data = folder / "data"
        (data / "surefoot").mkdir(parents=True)
        (data / "surefoot/factory-manifest.json").write_bytes(read_release(bundle, HARDWARE, "release")[0])
        self.office.offer(data / "surefoot/enrol.json")
        make_disk(folder / "disk.img", self.image(FACTORY), data, factory())
        self.machine = Machine(folder / "disk.img", folder / "flash.img", folder)
        self.machine.power_on()
        self.machine.wait("the board to join", lambda: self.report().get("version") == FACTORY)

    def image(self, version: str) -> Path:
        """Return where the slot image of a release lies."""
        return self._folder / f"system-{version}.ext4"

    def next_good(self) -> str:
        """Return the release that is well and comes after the one that runs, published: it lies in neither slot."""
        version = GOOD[(GOOD.index(self.version) + 1) % len(GOOD)] if self.version in GOOD else GOOD[0]
        self._publish(version, Behaviour.GOOD)
        return version

    def bad(self, behaviour: Behaviour) -> str:
        """Return the release that behaves so, published."""
        version = f"1.{_BAD_MINOR + list(Behaviour).index(behaviour)}.0"
        self._publish(version, behaviour)
        return version

    def update(self, version: str, meanwhile: Callable[[], None] = lambda: None) -> Ending:
        """Order a release and wait for the end of it.

        Args:
            version: The release, published.
            meanwhile: Done after the order; the machine must be on again when it returns.

        Raises:
            LabError: It does not end; or ends more than once, or with a gap in what the board told; or the board runs something else
                than the outcome says.
        """
        began, line, requests = time.monotonic(), len(self.machine.console.lines), self.machine.requests
        self.office.order(version)
        meanwhile()
        self.machine.wait(f"{version} to end", self.outcome)
        outcome = self.outcome()
        story = self.office.story()
        if outcome == "succeeded":
            self.version = version
        check_story(story, self.version)
        return Ending(
            outcome=outcome,
            reason=_reason(story),
            starts=tuple(self.machine.console.starts(line)),
            seconds=time.monotonic() - began,
            requests=self.machine.requests - requests,
        )

    def outcome(self) -> str:
        """Return how the newest order ended; empty while it has not."""
        found: str = self.office.story()["assignments"][0].get("outcome") or ""
        return found

    def await_relapse(self, version: str) -> Ending:
        """Wait until the board has given up the release that it runs and has kept, and runs ``version``, the one before, again.

        Raises:
            LabError: It does not; or says so more than once.
        """
        began, line, requests = time.monotonic(), len(self.machine.console.lines), self.machine.requests
        self.machine.wait("the release to be given up", lambda: self._rollbacks() and self.report().get("version") == version)
        self.version = version
        reasons = [event.get("data", {}).get("reason", "") for event in self._rollbacks()]
        if len(reasons) != 1:
            raise LabError(f"The board reported {len(reasons)} rollbacks of one release: {reasons}.")
        return Ending(
            outcome="given up",
            reason=reasons[0],
            starts=tuple(self.machine.console.starts(line)),
            seconds=time.monotonic() - began,
            requests=self.machine.requests - requests,
        )

    def recover(self) -> None:
        """Switch the board off and on, and take it as it comes up, after a scenario that failed; ``LabError`` when it does not."""
        self.machine.cut()
        line = len(self.machine.console.lines)
        self.machine.power_on()
        self.machine.wait_for_line(r"lab: system ", line)
        self.machine.wait("the board to be done", self.outcome)
        self.version = str(self.report()["version"])

    def report(self) -> dict[str, Any]:
        """Return what the board last said that it runs; empty before it has."""
        try:
            device: dict[str, Any] = self.office.story()["device"]
        except UnknownError:
            return {}
        return device.get("report") or {}

    def running_slot(self) -> SlotName:
        """Return the slot that the board said it runs from."""
        return SlotName(self.report()["slot"])

    def overwrite_slot(self, slot: SlotName, version: str) -> None:
        """Put the image of a release into a slot behind the board's back, while it is off."""
        self.machine.change_disk(SLOTS[slot], self.image(version).read_bytes())

    def slot_holds(self, slot: SlotName, version: str) -> bool:
        """Say whether the disk has the image of a release in a slot, while the board is off."""
        image = self.image(version).read_bytes()
        return self.machine.read_disk(SLOTS[slot], len(image)) == image

    def close(self) -> None:
        """Switch everything off."""
        self.machine.close()
        self.office.close()

    def _publish(self, version: str, behaviour: Behaviour) -> Path:
        if version not in self._published:
            self._system.write_image(self.image(version), version, behaviour)
            self._published.add(version)
            self.office.release(version, self.image(version))
        return self._folder / f"release-{version}"

    def _rollbacks(self) -> list[dict[str, Any]]:
        return [event for event in _events_of_newest(self.office.story()) if event["type"] == "update.rollback.completed"]


def check_story(story: dict[str, Any], version: str) -> None:
    """Look at what a server knows of a board once its newest order has ended.

    Raises:
        LabError: The order has another number of ends than one, an event is missing or told twice, or the board says that it runs something
            else than ``version``.
    """
    ends = [event["type"] for event in _events_of_newest(story) if event["type"] in _ENDS]
    if len(ends) != 1:
        raise LabError(f"The board reported {len(ends)} ends of one order: {ends}.")
    seqs = sorted(stored["event"]["seq"] for stored in story["events"])
    if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
        raise LabError("What the board told has gaps, or is told twice.")
    running = story["device"]["report"]["version"]
    if running != version:
        raise LabError(f"The board says that it runs {running}, and not {version}.")


def _reason(story: dict[str, Any]) -> str:
    return next((reason for event in _events_of_newest(story) if (reason := str(event.get("data", {}).get("reason", "")))), "")


def _events_of_newest(story: dict[str, Any]) -> list[dict[str, Any]]:
    newest = story["assignments"][0]["assignment_id"]
    return [stored["event"] for stored in story["events"] if stored["event"].get("assignment_id") == newest]
