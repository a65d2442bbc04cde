# SPDX-License-Identifier: Apache-2.0
"""Bootloaders whose whole state is one value: a port that keeps it, and both sides over that port.

- A change reads the state, writes the new one in one go, and reads it back: what a store *says* it did is not believed.
- Nothing is written when nothing changes.
- **Doubt holds**: a state that cannot be read raises ``BootError`` on both sides. A guess might start a slot half written.
"""

from typing import Protocol

from msgspec import structs

from surefoot.agent.boot.state import BootState, choose, with_state
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName, SlotState


class StateStore(Protocol):
    """Where a bootloader keeps its state."""

    def read(self) -> BootState:
        """Return the state; ``BootError`` when there is none or it is damaged."""
        ...

    def write(self, state: BootState) -> None:
        """Make ``state`` what the bootloader finds, durably and as a whole; ``BootError`` when that fails."""
        ...


class StoredBootControl:
    """The agent's side: the four verbs of ``BootControl`` over a store, which is read anew for each call."""

    def __init__(self, store: StateStore) -> None:
        """Keep the state in ``store``, which the bootloader writes too."""
        self._store = store

    def get_primary(self) -> SlotName:
        """Return the slot that the next boot tries first; ``BootError`` when the state cannot be read."""
        return self._store.read().primary

    def set_primary(self, slot: SlotName) -> None:
        """Make ``slot`` the one that the next boot tries first; ``BootError`` when that fails."""
        before = self._store.read()
        self._change(before, structs.replace(before, primary=slot))

    def get_state(self, slot: SlotName) -> SlotState:
        """Return what may be done with ``slot``; ``BootError`` when the state cannot be read."""
        return self._store.read().slots[slot].state

    def set_state(self, slot: SlotName, state: SlotState) -> None:
        """Set what may be done with ``slot``; ``BootError`` when that fails."""
        before = self._store.read()
        self._change(before, with_state(before, slot, state))

    def _change(self, before: BootState, after: BootState) -> None:
        if after == before:
            return
        self._store.write(after)
        if self._store.read() != after:
            raise BootError("The bootloader's state was written, and something else is read back.", hint=LIES)


LIES = "Something else writes there, or the tool or the medium does not do what it says: look at it before the next update."
"""The hint for a change that was reported as done and was not."""


def start(store: StateStore) -> SlotName:
    """Be the bootloader once: read the state, choose a slot, remember that it was started, and return it.

    Raises:
        BootError: The state cannot be read or written; nothing may be started.
    """
    before = store.read()
    slot, after = choose(before)
    if after != before:
        store.write(after)
    return slot
