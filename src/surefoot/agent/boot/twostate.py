# SPDX-License-Identifier: Apache-2.0
"""Loaders that know of a slot only whether they may start it: what the agent said of it is kept beside them.

Such loaders (RAUC's, and executables with RAUC's protocol) count every start of every slot down to 0, and "good" fills the
count again. So:

- ``trying`` and ``good`` are both "good" to the loader; which of them it is lies in a file of the agent's own. A file that
  is not there says that nothing is on trial.
- The slot that runs may have been counted down to 0 for this start: it is still what the agent said.
- A slot that the loader may start though the agent gave it up is on trial: somebody else marked it, and nobody kept it.
- ``good`` is marked again each time it is set: the agent does so at each of its starts (``surefoot.agent.install.keep``).
- The note is written before a slot becomes startable on trial, and after it is kept or given up: a power cut leaves the
  old state or the new one.
- What was set is asked for again: what a loader *says* it did is not believed.
"""

from typing import Protocol

from surefoot.agent.boot.store import LIES
from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.errors import BootError, DeviceError, FormatError
from surefoot.model.record import Record, from_json, to_json
from surefoot.model.slot import SlotName, SlotState


class TwoStateLoader(Protocol):
    """What such a loader can do. Every verb raises ``BootError`` when it fails, and is durable when it returns."""

    def get_primary(self) -> SlotName:
        """Return the slot that the next boot tries first."""
        ...

    def set_primary(self, slot: SlotName) -> None:
        """Make ``slot`` the one that the next boot tries first."""
        ...

    def is_startable(self, slot: SlotName) -> bool:
        """Say whether the loader may start ``slot``."""
        ...

    def mark(self, slot: SlotName, *, startable: bool) -> None:
        """Let the loader start ``slot``, with a full number of tries, or never again."""
        ...


class Said(Record, frozen=True, kw_only=True):
    """What the agent said of each slot; one that is missing counts as good."""

    slots: dict[SlotName, SlotState] = {}


class TwoStateBootControl:
    """The agent's side: the four verbs of ``BootControl`` over such a loader."""

    def __init__(self, loader: TwoStateLoader, storage: Storage, running: SlotName, path: str) -> None:
        """Speak to ``loader`` from the slot ``running``, and keep what was said at ``path``."""
        self._loader = loader
        self._storage = storage
        self._running = running
        self._path = path

    def get_primary(self) -> SlotName:
        """Return the slot that the next boot tries first; ``BootError`` when the loader cannot say."""
        return self._loader.get_primary()

    def set_primary(self, slot: SlotName) -> None:
        """Make ``slot`` the one that the next boot tries first; ``BootError`` when that fails."""
        is_primary = self._loader.get_primary() is slot
        # While the other one runs on its last try, this one is primary only until that is kept.
        if is_primary and (slot is self._running or self._loader.is_startable(slot.other)):
            return
        self._loader.set_primary(slot)
        if self._loader.get_primary() is not slot:
            raise BootError(f"Slot {slot} was made primary, and it is not.", hint=LIES)

    def get_state(self, slot: SlotName) -> SlotState:
        """Return what may be done with ``slot``; ``BootError`` when the loader cannot say or the note is damaged."""
        said = self._read().slots.get(slot, SlotState.GOOD)
        if self._loader.is_startable(slot):
            return said if said is SlotState.GOOD else SlotState.TRYING
        return said if slot is self._running else SlotState.BAD

    def set_state(self, slot: SlotName, state: SlotState) -> None:
        """Set what may be done with ``slot``; ``BootError`` when that fails."""
        # Asked in any case: what cannot be read must not be papered over.
        is_startable = self._loader.is_startable(slot)
        match state:
            case SlotState.TRYING:
                self._say(slot, state)
                self._let_start(slot, is_startable=is_startable)
            case SlotState.GOOD:
                self._let_start(slot, is_startable=is_startable)
                self._say(slot, state)
            case SlotState.BAD:
                if is_startable:
                    self._mark(slot, startable=False)
                self._say(slot, state)

    def _let_start(self, slot: SlotName, *, is_startable: bool) -> None:
        if is_startable or slot is self._running:
            self._mark(slot, startable=True)
            return
        # A loader that only passed over this slot would take it for primary again: first make sure that the other one is.
        primary = self._loader.get_primary()
        self._loader.set_primary(primary)
        self._mark(slot, startable=True)
        self.set_primary(primary)

    def _mark(self, slot: SlotName, *, startable: bool) -> None:
        self._loader.mark(slot, startable=startable)
        if self._loader.is_startable(slot) is not startable:
            wanted = "good" if startable else "bad"
            raise BootError(f"Slot {slot} was marked {wanted}, and it is not.", hint=LIES)

    def _say(self, slot: SlotName, state: SlotState) -> None:
        said = self._read()
        if said.slots.get(slot) is state:
            return
        try:
            replace_file(self._storage, self._path, to_json(Said(slots={**said.slots, slot: state})))
        except DeviceError as error:
            raise BootError(f"What was said of slot {slot} cannot be written. {error.message}", hint=error.hint) from error

    def _read(self) -> Said:
        try:
            data = read_file(self._storage, self._path)
            return Said() if data is None else from_json(data, Said, what=self._path)
        except (DeviceError, FormatError) as error:
            raise BootError(f"What was said of the slots cannot be read. {error.message}", hint=_REMOVE.format(self._path)) from error


_REMOVE = "Look at {} on the device; without it, no slot counts as on trial."
