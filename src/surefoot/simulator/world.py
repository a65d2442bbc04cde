# SPDX-License-Identifier: Apache-2.0
"""A world in virtual time: many boards and the services, on one queue of instants; a simulated year takes as long as its work.

- Each board is the real agent on its own flash, clock and network. A step that waits moves the board's clock, and the board's
  next step comes when the world gets there; steps at one instant come in the order in which they were put.
- The services are called at the true time of the board that calls. While an answer travels that is a little after the step
  began, so the time they see is raised to the latest they have seen, and never goes back.
- ``tick`` is called at fixed intervals: what a server does on its own.
- A board that was never touched may be a *dormant*: it polls with the ETag that it holds, and becomes a board when the answer
  is anything but "nothing changed". This costs a poll as any other and no board; what a board would have said at its first
  boot, the owner of the world says for it.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from surefoot.agent.download import Response
from surefoot.agent.transport import Polled
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import Digest
from surefoot.model.errors import Error
from surefoot.model.event import Acknowledgement, EventBatch
from surefoot.simulator.board import SimulatedBoard
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import Damage, PowerCut
from surefoot.simulator.network import Services

_RESTART_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A loss of power.

    Attributes:
        after: Flash operations, counted from when the board came into the world, after which the power goes.
        in_half: Whether a write that is hit has half reached the cache.
        damage: What becomes of everything that was not synced.
        seed: How it is torn.
        off_s: How long the board stays without power; ``math.inf`` is for good.
    """

    after: int
    in_half: bool = False
    damage: Damage = Damage.LOST
    seed: int = 0
    off_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Jump:
    """The wall clock of a board jumps by ``by_s`` seconds once the world is ``at_s`` seconds old."""

    at_s: float
    by_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What will happen to a board, each list in order."""

    cuts: Sequence[Cut] = ()
    jumps: Sequence[Jump] = ()


@dataclass(slots=True, kw_only=True)
class Resident:
    """A board in the world, with what will still happen to it; ``clock`` is the board's."""

    board: SimulatedBoard
    clock: VirtualClock
    cuts: list[Cut]
    jumps: list[Jump]
    first_operation: int

    def turn(self) -> None:
        """Take one step of the board, or lose power in it."""
        while self.jumps and self.jumps[0].at_s <= self.clock.monotonic():
            self.clock.jump(self.jumps.pop(0).by_s)
        self._plan_cut()
        try:
            self.board.step()
        except PowerCut:
            cut = self.cuts.pop(0)
            self.board.flash = self.board.flash.power_cycle(cut.damage, seed=cut.seed)
            self.clock.sleep(cut.off_s)
        except Error:
            # The agent ended with an error; on a board something starts it again.
            self.clock.sleep(_RESTART_S)

    def _plan_cut(self) -> None:
        flash = self.board.flash
        while self.cuts and self.first_operation + self.cuts[0].after < flash.operations:
            del self.cuts[0]
        flash.cut_at = self.first_operation + self.cuts[0].after + 1 if self.cuts else None
        flash.cut_in_half = bool(self.cuts) and self.cuts[0].in_half


@dataclass(frozen=True, slots=True, kw_only=True)
class Dormant:
    """A board that was never touched.

    Attributes:
        device_id: Who it is.
        etag: What it holds: the ETag of the services' last answer to it.
        wake: Makes the board, with a clock that has come as far as the world, when there is something new for it.
        fate: What will happen to the board; its operations are counted from when it wakes.
    """

    device_id: DeviceId
    etag: str
    wake: Callable[[VirtualClock], SimulatedBoard]
    fate: Fate = field(default_factory=Fate)


class SteadyServices:
    """Services that see a time which never goes back."""

    def __init__(self, services: Services, start: datetime) -> None:
        """Pass calls on to ``services``."""
        self._services = services
        self._latest = start

    def steady(self, now: datetime) -> datetime:
        """Return ``now``, or the latest time seen if that is later."""
        self._latest = max(self._latest, now)
        return self._latest

    def poll(self, device_id: DeviceId, etag: str, now: datetime) -> Polled:
        """Implement ``Services``."""
        return self._services.poll(device_id, etag, self.steady(now))

    def report(self, device_id: DeviceId, batch: EventBatch, now: datetime) -> Acknowledgement:
        """Implement ``Services``."""
        return self._services.report(device_id, batch, self.steady(now))

    def artifact(self, device_id: DeviceId, digest: Digest, offset: int) -> Response:
        """Implement ``Services``."""
        return self._services.artifact(device_id, digest, offset)


@dataclass(order=True, slots=True)
class _Turn:
    at_s: float
    number: int
    act: Callable[[], float | None] = field(compare=False)


class World:
    """Boards, services and time.

    Attributes:
        epoch: The start of the world, aware UTC.
        services: What boards are to be connected to.
        now_s: How old the world is, in virtual seconds.
        steps: How many steps boards have taken.
    """

    def __init__(self, services: Services, epoch: datetime, *, tick: Callable[[datetime], None], tick_s: float) -> None:
        """Make an empty world at ``epoch``, in which ``tick`` is called every ``tick_s`` seconds, first at once."""
        self.epoch = epoch
        self.services = SteadyServices(services, epoch)
        self.now_s = 0.0
        self.steps = 0
        self._queue: list[_Turn] = []
        self._turns = 0
        self._residents: dict[DeviceId, Resident] = {}
        self._tick = tick
        self._tick_s = tick_s
        self._put(0.0, self._ticked)

    @property
    def now(self) -> datetime:
        """True time."""
        return self.epoch + timedelta(seconds=self.now_s)

    @property
    def boards(self) -> Mapping[DeviceId, SimulatedBoard]:
        """All boards but the dormant ones."""
        return {device_id: resident.board for device_id, resident in self._residents.items()}

    def clock(self, *, ahead_s: float = 0.0) -> VirtualClock:
        """Return a clock for a board that comes into the world ``ahead_s`` seconds from now."""
        clock = VirtualClock(self.epoch)
        clock.sleep(self.now_s + ahead_s)
        return clock

    def add(self, board: SimulatedBoard, clock: VirtualClock, fate: Fate | None = None) -> None:
        """Switch a board on at the instant its ``clock``, made by ``World.clock``, shows."""
        fate = fate or Fate()
        resident = Resident(board=board, clock=clock, cuts=list(fate.cuts), jumps=list(fate.jumps), first_operation=board.flash.operations)
        self._residents[board.device_id] = resident
        self._put(clock.monotonic(), lambda: self._turned(resident))

    def add_dormant(self, dormant: Dormant, *, ahead_s: float) -> None:
        """Let a board that was never touched poll for the first time ``ahead_s`` seconds from now."""
        self._put(self.now_s + ahead_s, lambda: self._polled(dormant))

    def run(self, until: Callable[[], bool], *, at_most_s: float) -> bool:
        """Let time pass until something is so, asked after each tick, or for ``at_most_s`` virtual seconds; say whether it is."""
        end_s = self.now_s + at_most_s
        while self._queue[0].at_s <= end_s:
            turn = heapq.heappop(self._queue)
            self.now_s = turn.at_s
            next_s = turn.act()
            if next_s is not None:
                turn.at_s = next_s
                turn.number = self._number()
                heapq.heappush(self._queue, turn)
            if turn.act == self._ticked and until():
                return True
        self.now_s = end_s
        return until()

    def _put(self, at_s: float, act: Callable[[], float | None]) -> None:
        heapq.heappush(self._queue, _Turn(at_s, self._number(), act))

    def _number(self) -> int:
        self._turns += 1
        return self._turns

    def _ticked(self) -> float:
        self._tick(self.services.steady(self.now))
        return self.now_s + self._tick_s

    def _turned(self, resident: Resident) -> float:
        self.steps += 1
        resident.turn()
        return resident.clock.monotonic()

    def _polled(self, dormant: Dormant) -> float | None:
        polled = self.services.poll(dormant.device_id, dormant.etag, self.now)
        if polled.answer is None:
            return self.now_s + polled.next_poll_s
        clock = self.clock()
        self.add(dormant.wake(clock), clock, dormant.fate)
        return None
