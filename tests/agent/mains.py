# SPDX-License-Identifier: Apache-2.0
"""A board in virtual time that is reset when a test likes, with a clock on its wall or without, and a release that fails when it likes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from surefoot.agent.journal import peek
from surefoot.agent.state import State
from surefoot.agent.vitals import Reset
from surefoot.model.event import EventType
from surefoot.model.slot import SlotName
from surefoot.simulator.board import Behaviour, Rebooting, load_sketch
from surefoot.simulator.clock import VirtualClock
from tests.powerfail.pocket import Plan, PocketWorld
from tests.trust.repositories import NOW

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BROKER = "the broker mqtt.site:1883"


class Mains(VirtualClock):
    """A clock whose board is reset at given instants, in the middle of whatever it does."""

    def __init__(self, *, has_rtc: bool) -> None:
        super().__init__(NOW)
        self.resets: list[float] = []
        self._has_rtc = has_rtc

    def sleep(self, seconds: float) -> None:
        end_s = self.monotonic() + max(seconds, 0.0)
        if self.resets and self.resets[0] <= end_s:
            super().sleep(self.resets.pop(0) - self.monotonic())
            if not self._has_rtc:
                self.jump((EPOCH - self.now()).total_seconds())
            raise Rebooting
        super().sleep(seconds)


@dataclass
class Ward:
    """The program of a release that is healthy while a test says so."""

    is_well: Callable[[], bool]

    def at_start(self, serial: str) -> None:
        """Start."""

    def is_healthy(self) -> bool:
        return self.is_well()

    def agent_environment(self) -> Mapping[str, str]:
        return {}


@dataclass
class Site:
    """A board that has just kept release 1.1.0 in slot b, or is about to get it.

    Attributes:
        world: The board and its server.
        clock: Its clock.
        is_well: Whether release 1.1.0 is healthy, by the clock.
        has_broker: Whether the site's broker can be reached from a slot, by the clock.
    """

    world: PocketWorld
    clock: Mains
    is_well: Callable[[float], bool] = field(default=lambda _now_s: True)
    has_broker: Callable[[float, SlotName], bool] = field(default=lambda _now_s, _slot: True)

    @property
    def slot(self) -> SlotName:
        return self.world.board.boots[-1][0]

    @property
    def state(self) -> State:
        found = peek(self.world.board.flash, "data/journal", State)
        assert found is not None
        return found.state

    def live(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end_s = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end_s:
            self.world.board.step()

    def reset_every(self, seconds: float, times: int) -> None:
        """Reset the board so many times, each after so many seconds."""
        begun_s = self.clock.monotonic()
        self.clock.resets = [begun_s + seconds * number for number in range(1, times + 1)]
        self.live(seconds * times + 1)

    def reasons(self) -> list[object]:
        """Return why the server was told that a roll back was completed."""
        events = self.world.server.events
        return [events[key].data["reason"] for key in sorted(events) if events[key].type is EventType.ROLLBACK_COMPLETED]


PLAN = Plan.to(Behaviour.GOOD)


def site(*, has_rtc: bool = True, reset: Reset = Reset.OTHER, needs_brokers: bool = True) -> Site:
    """Return a board before its update."""
    world = PLAN.world()
    it = Site(world=world, clock=Mains(has_rtc=has_rtc))
    board = world.board
    board.clock, board.reset, board.needs_brokers = it.clock, reset, needs_brokers
    board.brokers = {BROKER: lambda: it.has_broker(it.clock.monotonic(), it.slot)}
    board.load = lambda image: Ward(lambda: it.is_well(it.clock.monotonic())) if image == PLAN.content else load_sketch(image)
    return it


def kept(*, has_rtc: bool = True, reset: Reset = Reset.OTHER) -> Site:
    """Return a board that has just kept release 1.1.0."""
    it = site(has_rtc=has_rtc, reset=reset)
    it.world.run_to_the_end()
    assert (it.state.slot, it.state.running.version) == (SlotName.B, "1.1.0")
    return it
