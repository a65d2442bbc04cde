# SPDX-License-Identifier: Apache-2.0
"""systemd-boot and other loaders with boot counting (Boot Loader Specification, Automatic Boot Assessment): names of entries.

Everything lies in the names of two files in ``loader/entries`` of the EFI system partition; their content is never touched:

====================  ==================================================================
``…-2-a.conf``        slot a, good
``…-1-b.conf``        slot b, good; a is primary
``…-3-b.conf``        slot b, good; b is primary: of names that differ, the highest comes first
``…-3-b+3-0.conf``    slot b on trial: 3 tries left, none done
``…-3-b+1-2.conf``    after two starts: the loader renames the file before each
``…-3-b+0-3.conf``    all tries used: comes last; still on trial while it runs, given up otherwise
``…-3-b+0-0.conf``    bad
====================  ==================================================================

- A change is one rename (two, when a bad slot ``a`` becomes bootable again while its name would put it first).
- With both slots bad, the loader starts the one with the highest name.
- A bad slot cannot be primary.

**Not safe against power cuts.** A rename on FAT is not atomic: a cut may leave both names, or neither. Two names for one
slot, or none, raise ``BootError``. ``make powerfail`` prints which cuts do it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from surefoot.agent.boot.state import TRIES
from surefoot.agent.boot.store import LIES
from surefoot.agent.storage import Storage
from surefoot.model.errors import BootError, DeviceError
from surefoot.model.slot import SlotName, SlotState

ENTRIES = "loader/entries"

_RANKS = {SlotName.A: {2}, SlotName.B: {1, 3}}
_NAME = re.compile(r"(?P<rank>[0-9])-(?P<slot>[ab])(\+(?P<left>[0-9]{1,3})(-(?P<done>[0-9]{1,3}))?)?\.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the name of an entry says.

    Attributes:
        slot: What it starts.
        rank: Where it comes; the highest first.
        left: Tries left; ``None`` when its starts are not counted.
        done: Tries done.
    """

    slot: SlotName
    rank: int
    left: int | None = None
    done: int = 0

    @property
    def is_startable(self) -> bool:
        """Whether a loader starts it while there is another."""
        return self.left != 0

    def name(self, prefix: str) -> str:
        """Return the file's name."""
        counter = "" if self.left is None else f"+{self.left}-{self.done}"
        return f"{prefix}-{self.rank}-{self.slot}{counter}.conf"


Entries = Mapping[SlotName, Entry]


class EfiBootControl:
    """The agent's side: the four verbs of ``BootControl`` over the names of entries."""

    def __init__(self, storage: Storage, running: SlotName, *, prefix: str = "surefoot", folder: str = ENTRIES) -> None:
        """Rename entries in ``folder`` of ``storage`` (the partition) whose names start with ``prefix``, while ``running`` runs."""
        self._storage = storage
        self._running = running
        self._prefix = prefix
        self._folder = folder

    def get_primary(self) -> SlotName:
        """Return the slot that the next boot tries first; ``BootError`` when there is not one entry for each slot."""
        return self._primary(self._read())

    def set_primary(self, slot: SlotName) -> None:
        """Make ``slot`` the one that the next boot tries first; ``BootError`` when it is bad, or that fails."""
        entries = self._read()
        if self._primary(entries) is slot:
            return
        if not entries[slot].is_startable:
            raise BootError(f"Slot {slot} is bad and cannot be primary.", hint="Install into it first.")
        self._rename(entries[SlotName.B], _for_primary(entries[SlotName.B], slot))

    def get_state(self, slot: SlotName) -> SlotState:
        """Return what may be done with ``slot``; ``BootError`` when there is not one entry for each slot."""
        entry = self._read()[slot]
        if entry.left is None:
            return SlotState.GOOD
        return SlotState.TRYING if entry.left > 0 or self._is_last_try(entry) else SlotState.BAD

    def set_state(self, slot: SlotName, state: SlotState) -> None:
        """Set what may be done with ``slot``; ``BootError`` when that fails."""
        entries = self._read()
        before = entries[slot]
        if state is SlotState.BAD and self.get_state(slot) is SlotState.BAD:
            return
        after = _set(before, state)
        primary = self._primary(entries)
        if after.is_startable and first({**entries, slot: after}).slot is not primary:
            # Becoming startable must not make it primary.
            if slot is SlotName.B:
                after = _for_primary(after, primary)
            else:
                self._rename(entries[SlotName.B], _for_primary(entries[SlotName.B], primary))
        self._rename(before, after)

    def _is_last_try(self, entry: Entry) -> bool:
        return entry.slot is self._running and entry.left == 0 and entry.done > 0

    def _primary(self, entries: Entries) -> SlotName:
        """Return the first slot, the running one being what it was when it was started."""
        return max(entries.values(), key=lambda entry: (entry.is_startable or self._is_last_try(entry), entry.rank)).slot

    def _read(self) -> Entries:
        with _explained(self._folder):
            return parse(self._storage.names(self._folder), self._prefix)

    def _rename(self, before: Entry, after: Entry) -> None:
        if after == before:
            return
        target = f"{self._folder}/{after.name(self._prefix)}"
        with _explained(self._folder):
            self._storage.rename(f"{self._folder}/{before.name(self._prefix)}", target)
            self._storage.sync_folder(target)
        if self._read()[after.slot] != after:
            raise BootError(f"The entry of slot {after.slot} was renamed to {target}, and it is not.", hint=LIES)


def first(entries: Entries) -> Entry:
    """Return the entry that the loader starts: those with no tries left come last, then the highest name comes first."""
    return max(entries.values(), key=lambda entry: (entry.is_startable, entry.rank))


def started(entry: Entry) -> Entry:
    """Return the entry as the loader renames it before it starts it."""
    return replace(entry, left=entry.left - 1, done=entry.done + 1) if entry.left else entry


def parse(names: list[str], prefix: str) -> Entries:
    """Return the entry of each slot from the names in a folder; names with another prefix are ignored.

    Raises:
        BootError: A slot has none or several, or a name is none that this module writes.
    """
    ours = [name for name in names if name.startswith(f"{prefix}-")]
    entries = [_entry(name, prefix) for name in ours]
    for slot in SlotName:
        count = sum(entry.slot is slot for entry in entries)
        if count != 1:
            raise BootError(f"Slot {slot} has {count} boot entries: {', '.join(ours) or 'none'}.", hint=_ONE_EACH)
    return {entry.slot: entry for entry in entries}


def boot(storage: Storage, *, prefix: str = "surefoot", folder: str = ENTRIES) -> SlotName:
    """Be the loader once, as the specification tells it: choose an entry, count the start in its name, and return its slot.

    FAT drivers of firmware write through, so the names are synced.

    Raises:
        BootError: There is no entry for a slot, or the name cannot be changed.
    """
    with _explained(folder):
        entry = first(parse(storage.names(folder), prefix))
        if (after := started(entry)) != entry:
            storage.rename(f"{folder}/{entry.name(prefix)}", f"{folder}/{after.name(prefix)}")
            storage.sync_folder(f"{folder}/{after.name(prefix)}")
    return entry.slot


_ONE_EACH = "Let loader/entries have one entry for each slot, named as docs/formats.md says."


def _set(entry: Entry, state: SlotState) -> Entry:
    match state:
        case SlotState.GOOD:
            return replace(entry, left=None, done=0)
        case SlotState.TRYING:
            return replace(entry, left=TRIES, done=0)
        case SlotState.BAD:
            return replace(entry, left=0, done=0)


def _for_primary(entry: Entry, primary: SlotName) -> Entry:
    """Return the entry of slot b with the rank that makes ``primary`` the first of two startable ones."""
    return replace(entry, rank=3 if primary is SlotName.B else 1)


def _entry(name: str, prefix: str) -> Entry:
    found = _NAME.fullmatch(name.removeprefix(f"{prefix}-"))
    if found is None or int(found["rank"]) not in _RANKS[SlotName(found["slot"])]:
        raise BootError(f"{name} is no boot entry of Surefoot's.", hint=_ONE_EACH)
    left = None if found["left"] is None else int(found["left"])
    entry = Entry(slot=SlotName(found["slot"]), rank=int(found["rank"]), left=left, done=int(found["done"] or 0))
    if entry.name(prefix) != name:
        raise BootError(f"{name} is a boot entry of an unusual form; {entry.name(prefix)} would be right.", hint=_ONE_EACH)
    return entry


@contextmanager
def _explained(folder: str) -> Iterator[None]:
    try:
        yield
    except BootError:
        raise
    except FileNotFoundError as error:
        raise BootError(f"An entry in {folder} has vanished.", hint=_ONE_EACH) from error
    except DeviceError as error:
        raise BootError(f"The entries in {folder} cannot be read or renamed. {error.message}", hint=error.hint) from error
