# SPDX-License-Identifier: Apache-2.0
"""A slot that cannot be written ends the attempt with its code, told once, and the board goes on with what it runs."""

import pytest
from msgspec import structs

from surefoot.agent.boot.file import file_control
from surefoot.agent.home import open_journal
from surefoot.agent.runner import Runner
from surefoot.agent.storage import File
from surefoot.model.errors import DeviceError, SlotBusyError, SlotMissingError, SlotReadOnlyError, SpaceError, WrongSlotError
from surefoot.model.event import EventType
from surefoot.model.slot import SlotName, SlotState
from surefoot.simulator.board import Behaviour, slot_files
from surefoot.simulator.flash import SimulatedFlash
from tests.powerfail.pocket import CAPACITY, Plan

PLAN = Plan.to(Behaviour.GOOD)
REFUSALS = [SlotMissingError, SlotBusyError, SlotReadOnlyError, WrongSlotError, SpaceError]


class Refusing:
    """An installer whose other slot cannot be opened."""

    def __init__(self, flash: SimulatedFlash, error: DeviceError, capacity_bytes: int) -> None:
        self._installer = slot_files(flash, SlotName.A, CAPACITY)
        self._error = error
        self.capacity_bytes = capacity_bytes
        self.verify = self._installer.verify
        self.install = self._installer.install
        self.running_digest = self._installer.running_digest
        self.close = self._installer.close
        self.install_s, self.read_s = self._installer.install_s, self._installer.read_s

    def writer(self, slot: SlotName) -> File:
        if slot is SlotName.B:
            raise self._error
        return self._installer.writer(slot)


@pytest.mark.parametrize("capacity", [CAPACITY, 0], ids=["", "and too small"])
@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.code)
def test_a_slot_that_cannot_be_written_is_reported_once_with_its_code(kind: type[DeviceError], capacity: int) -> None:
    world = PLAN.world()
    error = kind("The slot cannot be written.", hint="Look.")
    world.board.installer = lambda flash, _slot, _bytes: Refusing(flash, error, capacity)
    loader = file_control(world.board.flash)
    loader.set_state(SlotName.B, SlotState.GOOD)
    journal = open_journal(world.board.flash)
    assert journal.state is not None
    journal.append(structs.replace(journal.state, fallback=journal.state.running))
    journal.close()
    world.run_to_the_end()
    assert loader.get_state(SlotName.B) is SlotState.GOOD, "nothing of it was written over"
    told = [event for event in world.server.events.values() if event.type == EventType.DOWNLOAD_FAILED]
    assert [event.data["code"] for event in told] == [SpaceError.code if capacity == 0 else kind.code]
    assert world.server.reports[-1].version == "1.0.0"
    runner = world.board.runner
    assert isinstance(runner, Runner)
    assert runner.state.result is not None
    assert runner.state.result.outcome == "failed"
    assert runner.state.fallback == runner.state.running, "there is still a release to go back to"
