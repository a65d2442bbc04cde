# SPDX-License-Identifier: Apache-2.0
"""What a bootloader remembers, and how it chooses: values and pure functions, whatever keeps them.

- A slot on trial is started at most ``TRIES`` times; each start is counted before the slot runs.
- A slot that may not be started any more becomes bad, and the other one becomes primary.
- When no slot may be started, the one that was good last is: it was verified and it once ran healthily.

The boot scripts of ``integration/`` say the same in their loaders' words.
"""

from typing import Annotated

from msgspec import Meta, structs

from surefoot.model.record import Record
from surefoot.model.slot import SlotName, SlotState

TRIES = 3
"""How often a slot on trial is started before it counts as bad."""


class SlotRecord(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What the bootloader knows of one slot; ``tries_left`` is 0 unless it is on trial."""

    state: SlotState
    tries_left: Annotated[int, Meta(ge=0, le=TRIES)] = 0

    def __post_init__(self) -> None:
        """Refuse tries of a slot that is not on trial; the decoder turns this into ``FormatError``."""
        if self.tries_left and self.state is not SlotState.TRYING:
            raise ValueError("tries are left to a slot that is not on trial")


class BootState(Record, frozen=True, kw_only=True):
    """All a bootloader remembers.

    Attributes:
        primary: The slot that the next boot tries first.
        last_good: The slot that was made good last and not made bad since, unless both were.
        slots: Both slots.
    """

    primary: SlotName
    last_good: SlotName
    slots: dict[SlotName, SlotRecord]

    def __post_init__(self) -> None:
        """Refuse a state that lacks a slot; the decoder turns this into ``FormatError``."""
        if len(self.slots) != len(SlotName):
            raise ValueError("a slot is missing")


def factory(primary: SlotName = SlotName.A) -> BootState:
    """Return the state of a board that leaves the factory: one slot good, the other empty."""
    slots = {primary: SlotRecord(state=SlotState.GOOD), primary.other: SlotRecord(state=SlotState.BAD)}
    return BootState(primary=primary, last_good=primary, slots=slots)


def with_state(state: BootState, slot: SlotName, new: SlotState) -> BootState:
    """Return ``state`` with one slot changed; ``TRYING`` also gives it a full number of tries."""
    record = SlotRecord(state=new, tries_left=TRIES if new is SlotState.TRYING else 0)
    slots = {**state.slots, slot: record}
    other_is_good = slots[slot.other].state is SlotState.GOOD
    last_good = state.last_good
    if new is SlotState.GOOD:
        last_good = slot
    elif slot is last_good and other_is_good:
        last_good = slot.other
    return structs.replace(state, slots=slots, last_good=last_good)


def choose(state: BootState) -> tuple[SlotName, BootState]:
    """Say which slot to start, and what to remember before it is started.

    The primary is started if it is good, or on trial with tries left. Otherwise it becomes bad and the other slot becomes
    primary under the same rule. When neither will do, the slot that was good last is started and the states stay bad.
    """
    for slot in (state.primary, state.primary.other):
        if is_bootable(state.slots[slot]):
            return slot, _started(structs.replace(state, primary=slot), slot)
        state = with_state(state, slot, SlotState.BAD)
    return state.last_good, structs.replace(state, primary=state.last_good)


def is_bootable(record: SlotRecord) -> bool:
    """Say whether a bootloader may start a slot: it is good, or on trial with tries left."""
    return record.state is SlotState.GOOD or (record.state is SlotState.TRYING and record.tries_left > 0)


def _started(state: BootState, slot: SlotName) -> BootState:
    record = state.slots[slot]
    if record.state is not SlotState.TRYING:
        return state
    return structs.replace(state, slots={**state.slots, slot: structs.replace(record, tries_left=record.tries_left - 1)})
