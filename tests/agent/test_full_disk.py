# SPDX-License-Identifier: Apache-2.0
"""A data partition that fills up, or turns read-only, at any write of an update: the agent goes on polling, and comes to its end later."""

from datetime import timedelta
from itertools import pairwise

import pytest
from msgspec import structs

from surefoot.agent.boot.file import FileStore
from surefoot.agent.boot.state import with_state
from surefoot.agent.journal import peek
from surefoot.agent.state import Phase, State
from surefoot.model.errors import DeviceError, SpaceError
from surefoot.model.event import EventType
from surefoot.model.slot import SlotName, SlotState
from surefoot.simulator.board import Behaviour
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.mains import Mains
from tests.powerfail.pocket import Plan, PocketWorld

PLANS = {behaviour: Plan.to(behaviour) for behaviour in (Behaviour.GOOD, Behaviour.UNHEALTHY)}
LONG_S = timedelta(hours=2).total_seconds()


class FailingFlash(SimulatedFlash):
    """Flash whose data partition takes nothing more from an operation on; the slots and the loader's state lie elsewhere."""

    def __init__(self, fails_from: int, *, is_read_only: bool) -> None:
        super().__init__()
        self.fails_from: float = fails_from
        self.is_read_only = is_read_only
        self.refused = 0

    def count(self, description: str) -> None:
        verb, _, rest = description.partition(" ")
        if self.operations >= self.fails_from and rest.startswith("data/") and (self.is_read_only or verb in {"write", "create"}):
            self.refused += 1
            raise DeviceError("The data partition is read-only.") if self.is_read_only else SpaceError("No space is left.")
        super().count(description)


def operations_of(behaviour: Behaviour) -> range:
    """Return the operations from the first one in the field to the end of an update."""
    world = PLANS[behaviour].world()
    world.run_to_the_end()
    return range(world.factory_operations, world.board.flash.operations)


def failing(behaviour: Behaviour, fails_from: int, *, is_read_only: bool = False) -> tuple[PocketWorld, FailingFlash]:
    flash = FailingFlash(1_000_000, is_read_only=is_read_only)
    world = PLANS[behaviour].world(flash)
    flash.fails_from = fails_from
    return world, flash


def later(world: PocketWorld, seconds: float = LONG_S) -> None:
    """Let time pass; an agent that refuses to start is started again, as an init system does."""
    until_s = world.board.clock.monotonic() + seconds
    while world.board.clock.monotonic() < until_s:
        try:
            world.board.step()
        except SpaceError:
            raise
        except DeviceError:
            world.board.clock.sleep(60)


@pytest.mark.parametrize("is_read_only", [False, True], ids=["full", "read-only"])
@pytest.mark.parametrize("behaviour", PLANS)
def test_wherever_the_partition_gives_out_the_agent_goes_on_and_ends_where_it_should(behaviour: Behaviour, *, is_read_only: bool) -> None:
    tried = operations_of(behaviour)
    for fails_from in tried:
        world, flash = failing(behaviour, fails_from, is_read_only=is_read_only)
        later(world)
        heard = len(world.server.reports)
        if flash.refused and not is_read_only:
            later(world, 3600)
            assert len(world.server.reports) > heard or _is_idle(world), f"from {fails_from} on the server hears nothing"
        flash.fails_from = float("inf")
        later(world)
        assert _is_idle(world), f"from {fails_from} on it does not come to rest"
        versions = {report.version for report in world.server.reports[-1:]}
        kept = "1.1.0" if behaviour is Behaviour.GOOD else "1.0.0"
        assert versions <= {kept, "1.0.0"}, f"from {fails_from} on it ends on {versions}"
        assert world.server.reports[-1].hash == world.board.boots[-1][1]
        seqs = sorted(seq for _, seq in world.server.events)
        assert seqs == list(range(1, len(seqs) + 1)), f"from {fails_from} on events are missing: {seqs}"
    assert len(tried) > 50


def _is_idle(world: PocketWorld) -> bool:
    runner = world.board.runner
    return runner is not None and runner.state.phase in {Phase.IDLE, Phase.CHECKING} and not runner.parts.journal.pending


def at(phase: Phase) -> tuple[PocketWorld, FailingFlash]:
    world, flash = failing(Behaviour.GOOD, 1_000_000)
    while world.board.runner is None or world.board.runner.state.phase is not phase:
        world.board.step()
    flash.fails_from = 0
    return world, flash


def test_an_idle_device_without_room_polls_and_begins_nothing_and_tells_it_afterwards() -> None:
    world, flash = at(Phase.CHECKING)
    later(world)
    assert [slot for slot, _ in world.board.boots] == [SlotName.A]
    assert world.server.events == {}
    flash.fails_from = float("inf")
    later(world)
    world.check(commits=True)
    told = [event.data for event in world.server.events.values() if event.type == EventType.CHECK_COMPLETED]
    assert {"failed": "no_space", "detail": "No space is left."} in told


def test_a_trial_under_which_nothing_can_be_noted_goes_back_when_its_time_is_over() -> None:
    world, flash = at(Phase.TRIAL)
    later(world, 600)
    assert [slot for slot, _ in world.board.boots] == [SlotName.A, SlotName.B, SlotName.A]
    flash.fails_from = float("inf")
    world.run_to_the_end()
    world.check(commits=False)


def test_a_trial_that_gets_room_in_time_is_looked_at_anew_and_kept() -> None:
    world, flash = at(Phase.TRIAL)
    later(world, 10)
    flash.fails_from = float("inf")
    world.run_to_the_end()
    assert world.server.reports[-1].version == "1.1.0"


def test_a_pause_between_two_tries_grows_and_is_capped(caplog: pytest.LogCaptureFixture) -> None:
    world, _ = at(Phase.CHECKING)
    polls: list[float] = []
    ask = world.server.poll
    runner = world.board.runner
    assert runner is not None

    def poll(etag: str) -> object:
        polls.append(world.board.clock.monotonic())
        return ask(etag)

    world.server.poll = poll  # type: ignore[assignment,method-assign]  # a server that counts
    later(world, 1_000)
    pauses = [round(after - before) for before, after in pairwise(polls)]
    assert pauses[:6] == [2, 4, 8, 16, 32, 64]
    assert max(pauses) <= 300
    assert {record.getMessage() for record in caplog.records if record.levelname == "WARNING"} == {
        "nothing can be noted, so nothing is begun: No space is left."
    }


def test_a_kept_release_that_the_loader_gave_up_while_nothing_could_be_noted_is_known_to_be_given_up() -> None:
    world, flash = failing(Behaviour.GOOD, 1_000_000)
    world.run_to_the_end()
    loader = FileStore(flash)
    loader.write(structs.replace(with_state(loader.read(), SlotName.B, SlotState.BAD), primary=SlotName.A))
    world.board.off()
    flash.fails_from = flash.operations
    later(world, 20)
    flash.fails_from = float("inf")
    later(world, 700)
    told = peek(flash, "data/journal", State)
    assert told is not None
    assert (told.state.slot, told.state.running.version, told.state.fallback) == (SlotName.A, "1.0.0", None)


def test_a_trial_that_the_loader_gave_up_while_nothing_could_be_noted_is_not_kept() -> None:
    flash = FailingFlash(1_000_000, is_read_only=False)
    world = PLANS[Behaviour.GOOD].world(flash)
    board, clock = world.board, Mains(has_rtc=True)
    board.clock = clock
    while board.runner is None or board.runner.state.phase is not Phase.TRIAL:
        board.step()
    while board.boots[-1][0] is SlotName.B:
        clock.resets = clock.resets or [clock.monotonic() + 0.5]
        board.step()
    clock.resets = []
    flash.fails_from = flash.operations
    later(world, 12)
    assert flash.refused
    flash.fails_from = float("inf")
    later(world, 120)
    told = peek(flash, "data/journal", State)
    assert told is not None
    assert told.state.result is not None
    assert (told.state.slot, told.state.running.version, told.state.result.outcome) == (SlotName.A, "1.0.0", "rolled back")
    assert FileStore(flash).read().slots[SlotName.B].state is SlotState.BAD
    world.check(commits=False)
