# SPDX-License-Identifier: Apache-2.0
"""A bootloader whose state is one small file: the agent's side of it, and the bootloader's own side as a pure function.

- The file is replaced in one rename, so a power cut leaves the old state or the new one, whole. One copy is enough: only a
  failing chip can make it unreadable, and then nobody knows which slot was verified.
- **Doubt holds**: an unreadable state raises ``BootError`` on both sides. A guess might start a slot half written.
- A slot on trial is started at most ``TRIES`` times; each start is counted durably before the slot runs.
- When no slot is bootable, the one that was good last is started: it was verified and it once ran healthily.
"""

import zlib
from typing import Annotated

from msgspec import Meta, structs

from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.errors import BootError, DeviceError, FormatError
from surefoot.model.record import Record, from_json, to_json
from surefoot.model.slot import SlotName, SlotState

DEFAULT_PATH = "boot.json"

TRIES = 3
"""How often a slot on trial is started before it counts as bad."""


class SlotRecord(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What the bootloader knows of one slot; ``tries_left`` has a meaning only while it is on trial."""

    state: SlotState
    tries_left: Annotated[int, Meta(ge=0, le=TRIES)] = 0


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


class FileBootControl:
    """The agent's side: the four verbs over a state file. Nothing is written when nothing changes."""

    def __init__(self, storage: Storage, path: str = DEFAULT_PATH) -> None:
        """Keep the state at ``path``; it is read anew for each call, as the bootloader writes it too."""
        self._storage = storage
        self._path = path

    def get_primary(self) -> SlotName:
        """Return the slot that the next boot tries first; ``BootError`` when the state cannot be read."""
        return load(self._storage, self._path).primary

    def set_primary(self, slot: SlotName) -> None:
        """Make ``slot`` the one that the next boot tries first; durable on return, ``BootError`` when it cannot be."""
        save(self._storage, structs.replace(load(self._storage, self._path), primary=slot), self._path)

    def get_state(self, slot: SlotName) -> SlotState:
        """Return what may be done with ``slot``; ``BootError`` when the state cannot be read."""
        return load(self._storage, self._path).slots[slot].state

    def set_state(self, slot: SlotName, state: SlotState) -> None:
        """Set what may be done with ``slot``; durable on return, ``BootError`` when it cannot be."""
        save(self._storage, with_state(load(self._storage, self._path), slot, state), self._path)


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
        if _is_bootable(state.slots[slot]):
            return slot, _started(structs.replace(state, primary=slot), slot)
        state = with_state(state, slot, SlotState.BAD)
    return state.last_good, structs.replace(state, primary=state.last_good)


def boot(storage: Storage, path: str = DEFAULT_PATH) -> SlotName:
    """Be the bootloader once: read the state, choose a slot, remember that it was started, and return it.

    Raises:
        BootError: The state cannot be read or written; nothing may be started.
    """
    before = load(storage, path)
    slot, after = choose(before)
    save(storage, after, path)
    return slot


def load(storage: Storage, path: str = DEFAULT_PATH) -> BootState:
    """Return the state that lies at ``path``; ``BootError`` when there is none or it is damaged."""
    try:
        data = read_file(storage, path)
    except DeviceError as error:
        raise BootError(f"The bootloader's state {path} cannot be read. {error.message}", hint=error.hint) from error
    if data is None:
        raise BootError(f"There is no bootloader state at {path}.", hint=_REFLASH)
    return _decode(data, path)


def save(storage: Storage, state: BootState, path: str = DEFAULT_PATH) -> None:
    """Make ``state`` what the bootloader finds, durably and in one rename; nothing is written when it already is.

    Raises:
        BootError: The state cannot be written; the old one still stands.
    """
    data = to_json(_Sealed(crc32=_seal(state), state=state))
    try:
        if read_file(storage, path) != data:
            replace_file(storage, path, data)
    except DeviceError as error:
        raise BootError(f"The bootloader's state {path} cannot be written. {error.message}", hint=error.hint) from error


_REFLASH = "Flash the board again."


class _Sealed(Record, frozen=True, kw_only=True):
    crc32: str
    state: BootState


def _seal(state: BootState) -> str:
    return f"{zlib.crc32(to_json(state)):08x}"


def _decode(data: bytes, path: str) -> BootState:
    try:
        sealed = from_json(data, _Sealed, what=path)
    except FormatError as error:
        raise BootError(f"The bootloader's state is damaged: {error.message}", hint=_REFLASH) from error
    if sealed.crc32 != _seal(sealed.state):
        raise BootError(f"The bootloader's state {path} is damaged: its checksum is wrong.", hint=_REFLASH)
    return sealed.state


def _is_bootable(record: SlotRecord) -> bool:
    return record.state is SlotState.GOOD or (record.state is SlotState.TRYING and record.tries_left > 0)


def _started(state: BootState, slot: SlotName) -> BootState:
    record = state.slots[slot]
    if record.state is not SlotState.TRYING:
        return state
    return structs.replace(state, slots={**state.slots, slot: structs.replace(record, tries_left=record.tries_left - 1)})
