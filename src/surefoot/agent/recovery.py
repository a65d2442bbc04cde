# SPDX-License-Identifier: Apache-2.0
"""What an agent begins anew with when its journal is lost: what the slots and the bootloader prove, and nothing else.

- ``kept.json`` is a copy of what must outlive the journal; it is written when that changes, once an update.
- What is remembered in any place only proposes; what runs is believed when its bytes have the digest of a proposal.
- What runs and is not marked good was on trial. Its trial cannot be told any more, so the board goes back to a good slot that is proved,
  whether or not it is proved what was on trial. A slot that has nothing to go back to is kept.
- A slot in which nothing is proved is never started: the caller makes it bad, whatever an update was about to do with it.
- The slot that runs is never written over, whatever is lost; when nothing is proved, the agent does not start.
- The release counter and the time floor are the highest that anything remembers; a lost journal is no way down.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec import structs

from surefoot.agent.state import State, release_of
from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.digest import Digest
from surefoot.model.errors import DeviceError, FormatError, JournalLostError
from surefoot.model.manifest import Counter
from surefoot.model.record import Record, from_newer_json, parse_utc, to_json, utc_text
from surefoot.model.slot import Installed, SlotName, SlotState


class Kept(Record, frozen=True, kw_only=True):
    """The file ``kept.json``.

    Attributes:
        slot: The slot of the committed release.
        running: The committed release.
        fallback: The verified release in the other slot, if there is one.
        release_counter: The highest release counter ever committed.
        time_floor: The newest verified time when this was written, RFC 3339 UTC.
    """

    slot: SlotName
    running: Installed
    fallback: Installed | None = None
    release_counter: Counter
    time_floor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What can still be read of what the agent knew.

    Attributes:
        states: States from the damaged journal, oldest first.
        kept: The copy, if there is one.
        factory: What the board left the factory with, if its manifest can be read.
        built_at: When that was built, aware: no board can be earlier.
    """

    states: Sequence[State]
    kept: Kept | None
    factory: Installed | None
    built_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GoBack:
    """What runs was on trial: the board must boot ``to``, and never ``bad`` again."""

    bad: SlotName
    to: SlotName


def keep(storage: Storage, folder: str, state: State) -> None:
    """Write the copy durably; nothing is written when it says the same already but for the time.

    Raises:
        DeviceError: The disk refuses, or is full; the copy before is untouched.
    """
    fresh = Kept(
        slot=state.slot,
        running=state.running,
        fallback=state.fallback,
        release_counter=state.release_counter,
        time_floor=state.time_floor,
    )
    found = read_kept(storage, folder)
    if found is None or structs.replace(found, time_floor=fresh.time_floor) != fresh:
        replace_file(storage, _path(folder), to_json(fresh))


def read_kept(storage: Storage, folder: str) -> Kept | None:
    """Return the copy; nothing when there is none, or it is damaged too."""
    try:
        data = read_file(storage, _path(folder))
        return None if data is None else from_newer_json(data, Kept, what=_path(folder))
    except FormatError:
        return None


def begin_anew(
    remembered: Remembered, running: SlotName, states: Mapping[SlotName, SlotState], digest: Callable[[SlotName, int], Digest]
) -> State | GoBack:
    """Say what the device knows for certain.

    Args:
        remembered: What proposes.
        running: The slot that booted.
        states: What the bootloader thinks of each slot.
        digest: Reads the digest of that many first bytes of a slot.

    Returns:
        The state to begin a new journal with, or what to do before that can be told.

    Raises:
        JournalLostError: The bytes that run are none that anything here remembers.
    """
    proposals = list(dict.fromkeys(_proposals(remembered)))
    other = _proved(running.other, proposals, digest) if states[running.other] is SlotState.GOOD else None
    if states[running] is not SlotState.GOOD and other is not None:
        return GoBack(bad=running, to=running.other)
    runs = _proved(running, proposals, digest)
    if runs is None:
        raise JournalLostError(
            f"The journal is lost, and nothing here proves what runs in slot {running}.",
            hint="Put the manifest of what runs where device.factory_manifest names it, or flash and enrol the board again.",
        )
    return State(
        slot=running,
        running=runs,
        fallback=other,
        release_counter=max([runs.release_counter, *_counters(remembered)]),
        time_floor=utc_text(max([remembered.built_at, *_floors(remembered)])),
    )


def _proposals(remembered: Remembered) -> Iterator[Installed]:
    for state in reversed(remembered.states):
        yield state.running
        if state.fallback is not None:
            yield state.fallback
        if state.attempt is not None:
            yield release_of(state.attempt)
    if remembered.kept is not None:
        yield remembered.kept.running
        if remembered.kept.fallback is not None:
            yield remembered.kept.fallback
    if remembered.factory is not None:
        yield remembered.factory


def _proved(slot: SlotName, proposals: Sequence[Installed], digest: Callable[[SlotName, int], Digest]) -> Installed | None:
    """Return the proposal whose bytes lie in ``slot``; each length is read once."""
    found: dict[int, Digest] = {}
    for proposal in proposals:
        if proposal.size not in found:
            try:
                found[proposal.size] = digest(slot, proposal.size)
            except DeviceError:
                return None  # a slot that cannot be read proves nothing
        if found[proposal.size] == proposal.hash:
            return proposal
    return None


def _counters(remembered: Remembered) -> list[int]:
    kept = [] if remembered.kept is None else [remembered.kept.release_counter]
    return [*(state.release_counter for state in remembered.states), *kept]


def _floors(remembered: Remembered) -> list[datetime]:
    kept = [] if remembered.kept is None else [remembered.kept.time_floor]
    return [parse_utc(text) for text in [*(state.time_floor for state in remembered.states), *kept]]


def _path(folder: str) -> str:
    return f"{folder}/kept.json"
