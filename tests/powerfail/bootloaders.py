# SPDX-License-Identifier: Apache-2.0
"""Power cuts under bootloader backends: every change of every state that can be reached, cut at every write.

From the factory on, each change that an agent may make, and each start by the loader, is done to every state that this leads
to. An agent gives up a slot, or puts one on trial, only while the other one is good, and makes no bad slot primary.
The medium is snapshotted before a change, and each cut works on a copy: nothing is replayed.

- Backends over the storage port are cut at each operation, at writes also in half, with what was unsynced lost, kept and torn.
- ``fw_setenv`` and ``grub-editenv`` write through the real file system, so they are run once a change; then each 512-byte
  sector that differs is taken as survived or not, each for itself, and for ``grub-editenv``, which empties the file first,
  also an empty file. That covers what one call writes before its sync, whatever the order of its writes; it does not cover the
  file system's own metadata.

After a cut the state is the old or the new one, or else it is *other* (readable, and neither) or *lost* (nobody can read it).
Where a change is several writes (the agent's note beside a loader that counts every start), the state is what comes of it: the
slot that is started next, and what the agent in it then reads; *between* is one in which that slot and what is said of each are
those of the old state or the new one, or a slot counts as on trial.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec import structs

from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.efi import ENTRIES, EfiBootControl, boot, parse
from surefoot.agent.boot.file import FileStore, save
from surefoot.agent.boot.grub import GrubStore
from surefoot.agent.boot.state import TRIES, BootState, choose, factory, with_state
from surefoot.agent.boot.store import StateStore, StoredBootControl, start
from surefoot.agent.boot.twostate import TwoStateBootControl
from surefoot.agent.boot.uboot import UBootStore
from surefoot.agent.boot.variables import to_variables
from surefoot.agent.storage import read_file, replace_file
from surefoot.model.errors import BootError
from surefoot.model.record import to_json
from surefoot.model.slot import SlotName, SlotState
from surefoot.simulator.flash import SECTOR, Damage, PowerCut, SimulatedFlash
from tests.agent.loaders import GRUBENV_BYTES, GrubEnvironment, UBootEnvironment
from tests.agent.rigs import BLOCK as STATE_BLOCK
from tests.agent.rigs import (
    ENV,
    ENV_BYTES,
    GRUBENV,
    block_bytes,
    block_store,
    efi_names,
    link_store,
    write_environment,
    write_grubenv,
)
from tests.agent.trees import FlashLink

A, B = SlotName.A, SlotName.B
TIMEOUT_S = 60.0

Look = bytes
"""All that a loader and an agent can read of the medium, as bytes; equal for equal states."""


@dataclass(frozen=True, kw_only=True)
class Medium:
    """A backend and its loader on flash.

    Attributes:
        name: What it is called in the table.
        flash: That of a new board.
        control: The agent's side, from the slot that runs.
        load: The loader, once.
        look: What can be read; ``BootError`` when nothing can.
        has_steps: Whether a change is several writes; then the look is words, each of which may change before the others.
    """

    name: str
    flash: Callable[[], SimulatedFlash]
    control: Callable[[SimulatedFlash, SlotName], BootControl]
    load: Callable[[SimulatedFlash], SlotName]
    look: Callable[[SimulatedFlash], Look]
    has_steps: bool = False


@dataclass(kw_only=True)
class Tally:
    """What came of the cuts under one backend: ``ends`` counts ``old``, ``new``, ``between``, ``other``, ``lost``."""

    name: str
    states: int = 0
    changes: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    worst: str = ""

    @property
    def points(self) -> int:
        """How many different cuts there were."""
        return self.ends.total()

    @property
    def is_safe(self) -> bool:
        """Whether each cut left a state that somebody meant."""
        return not (self.ends["other"] or self.ends["lost"])

    def note(self, end: str, where: str) -> None:
        self.ends[end] += 1
        if end in {"other", "lost"} and not self.worst:
            self.worst = f"{end}: {where}"


def media() -> list[Medium]:
    """Return every backend whose writes go through the storage port, and the loaders' own sides of the others."""
    return [
        _stored("file", _file_flash, FileStore),
        _stored("block", _block_flash, block_store),
        Medium(
            name="link",
            flash=_link_flash,
            control=lambda flash, _running: StoredBootControl(link_store(flash)),
            load=lambda flash: start(link_store(flash)),
            look=_link_look,
        ),
        _stored("uboot, loader", _uboot_flash, uboot_store),
        _stored("grub, loader", _grub_flash, lambda flash: GrubEnvironment(lambda: flash.open(GRUBENV))),
        Medium(name="efi", flash=_efi_flash, control=EfiBootControl, load=boot, look=_efi_look),
        Medium(
            name="custom, rauc",
            flash=_counting_flash,
            control=lambda flash, running: TwoStateBootControl(CountingLoader(flash), flash, running, "said"),
            load=lambda flash: CountingLoader(flash).boot(),
            look=_counting_look,
            has_steps=True,
        ),
    ]


UNSAFE = {"grub, loader", "grub, grub-editenv", "efi"}
"""What is documented not to survive every cut."""


def sweep(medium: Medium, *, seeds: int, every: int = 1) -> Tally:
    """Cut every change of every ``every``-th state that the factory's leads to."""
    tally = Tally(name=medium.name)
    for number, (flash, running) in enumerate(_reachable(medium)):
        if number % every:
            continue
        tally.states += 1
        for named in _changes(medium, flash, running):
            _cut_everywhere(medium, flash, named, tally, seeds)
    return tally


Change = Callable[[SimulatedFlash], object]


def _changes(medium: Medium, flash: SimulatedFlash, running: SlotName) -> Iterator[tuple[str, Change]]:
    now = medium.control(flash, running)
    yield "start", medium.load
    for slot in SlotName:
        if now.get_state(slot) is not SlotState.BAD:
            yield f"set_primary {slot}", partial(_set_primary, medium, running, slot)
        for state in SlotState:
            if state is SlotState.GOOD or now.get_state(slot.other) is SlotState.GOOD:
                yield f"set_state {slot} {state}", partial(_set_state, medium, running, slot, state)


def _set_primary(medium: Medium, running: SlotName, slot: SlotName, flash: SimulatedFlash) -> None:
    medium.control(flash, running).set_primary(slot)


def _set_state(medium: Medium, running: SlotName, slot: SlotName, state: SlotState, flash: SimulatedFlash) -> None:
    medium.control(flash, running).set_state(slot, state)


def _reachable(medium: Medium) -> Iterator[tuple[SimulatedFlash, SlotName]]:
    """Yield a medium in each state that can come about, and the slot that runs then."""
    first = medium.flash().power_cycle(Damage.KEPT)
    seen = {(medium.look(first), A)}
    waiting = [(first, A)]
    while waiting:
        flash, running = waiting.pop()
        yield flash, running
        for name, change in _changes(medium, flash, running):
            after = flash.fork()
            try:
                started = change(after)
            except BootError:
                continue
            after = after.power_cycle(Damage.KEPT)
            key = (medium.look(after), SlotName(str(started)) if name == "start" else running)
            if key not in seen:
                seen.add(key)
                waiting.append((after, key[1]))


def _cut_everywhere(medium: Medium, flash: SimulatedFlash, named: tuple[str, Change], tally: Tally, seeds: int) -> None:
    name, change = named
    done = flash.fork()
    done.log.clear()
    try:
        change(done)
    except BootError:
        return
    if done.operations == flash.operations:
        return
    allowed = {medium.look(flash): "old", medium.look(done): "new"}
    tally.changes += 1
    for at, line in enumerate([*done.log, "the end"], flash.operations + 1):
        for half in (False, True) if " write " in line else (False,):
            cut = flash.fork()
            cut.cut_at, cut.cut_in_half = at, half
            with suppress(PowerCut):
                change(cut)
            seen: set[int] = set()
            for damage, seed in _damages(seeds):
                after = cut.power_cycle(damage, seed=seed)
                found = after.fingerprint()
                if damage is Damage.TORN and found in seen:
                    continue  # of the ways to tear that leave the same storage, one is counted
                seen.add(found)
                tally.note(_end(medium, after, allowed), f"{name} at {line!r}, {damage} {seed}")


def _damages(seeds: int) -> Iterator[tuple[Damage, int]]:
    yield Damage.LOST, 0
    yield Damage.KEPT, 0
    yield from ((Damage.TORN, seed) for seed in range(seeds))


def _end(medium: Medium, flash: SimulatedFlash, allowed: dict[Look, str]) -> str:
    try:
        look = medium.look(flash)
    except BootError:
        return "lost"
    if medium.has_steps and look not in allowed and _is_between(look, list(allowed)):
        return "between"
    return allowed.get(look, "other")


def _is_between(look: Look, ends: list[Look]) -> bool:
    """Say whether every word of a look is that of an end, or calls a slot less than kept."""
    words, *others = (one.split() for one in (look, *ends))
    return all(word == b"trying" or word in among for word, *among in zip(words, *others, strict=False))


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A backend behind a real tool that writes a file of the real file system.

    Attributes:
        name: What it is called in the table.
        path: The file.
        store: The agent's side.
        theirs: The loader's side, on a copy of the file.
        truncates: Whether the tool empties the file before it writes.
    """

    name: str
    path: Path
    store: StateStore
    theirs: Callable[[SimulatedFlash], StateStore]
    truncates: bool = False


def tools(folder: Path) -> list[Tool]:
    """Return the real tools on files in ``folder``, beside enough other variables that a change moves several sectors."""
    # Sorted behind ours, so that they move when ours change their length.
    others = {f"script_{number:02}": hashlib.sha256(str(number).encode()).hexdigest() for number in range(30)}
    config = write_environment(folder, {**others, **to_variables(factory())})
    write_grubenv(folder / GRUBENV, {**to_variables(factory()), **dict(list(others.items())[:8])})
    return [
        Tool(
            name="uboot, fw_setenv",
            path=folder / ENV,
            store=UBootStore(str(config), timeout_s=TIMEOUT_S),
            theirs=uboot_store,
        ),
        Tool(
            name="grub, grub-editenv",
            path=folder / GRUBENV,
            store=GrubStore(folder / GRUBENV, timeout_s=TIMEOUT_S),
            theirs=lambda flash: GrubEnvironment(lambda: flash.open(GRUBENV)),
            truncates=True,
        ),
    ]


def sweep_tool(tool: Tool, *, most: int, every: int = 1) -> Tally:
    """Let the tool make every ``every``-th change between states, and damage what it wrote in up to ``most`` ways each."""
    tally = Tally(name=tool.name)
    changes = [(before, after) for before in _states() for after in _after(before) if after != before][::every]
    tally.states = len({to_json(before) for before, _ in changes})
    for before, after in changes:
        tool.store.write(before)
        old = tool.path.read_bytes()
        tool.store.write(after)
        new = tool.path.read_bytes()
        tally.changes += 1
        allowed = {to_json(before): "old", to_json(after): "new"}
        for damaged in _survivors(old, new, most=most, truncates=tool.truncates):
            flash = SimulatedFlash(keeps_log=False)
            replace_file(flash, tool.path.name, damaged)
            try:
                end = allowed.get(to_json(tool.theirs(flash).read()), "other")
            except BootError:
                end = "lost"
            tally.note(end, f"{to_json(before).decode()} to {to_json(after).decode()}")
    return tally


def _survivors(old: bytes, new: bytes, *, most: int, truncates: bool) -> Iterator[bytes]:
    """Yield what may lie on the disk after a cut: of each sector that differs, either side; at ``most`` so many ways."""
    base = bytes(len(new)) if truncates else old
    if truncates:
        yield old
        yield b""
    differing = [at for at in range(0, len(new), SECTOR) if base[at : at + SECTOR] != new[at : at + SECTOR]]
    ways = min(most, 2 ** len(differing))
    for way in range(ways):
        # Both ends of the range, in turns: none, all, one, all but one …
        survived = way // 2 if way % 2 == 0 else 2 ** len(differing) - 1 - way // 2
        data = bytearray(base)
        for bit, at in enumerate(differing):
            if survived >> bit & 1:
                data[at : at + SECTOR] = new[at : at + SECTOR]
        yield bytes(data)


def _states() -> list[BootState]:
    found = {to_json(factory()): factory()}
    waiting = [factory()]
    while waiting:
        for after in _after(waiting.pop()):
            if to_json(after) not in found:
                found[to_json(after)] = after
                waiting.append(after)
    return list(found.values())


def _after(state: BootState) -> Iterator[BootState]:
    """Yield what each change of an agent's and a start makes of a state."""
    yield choose(state)[1]
    for slot, record in state.slots.items():
        if record.state is not SlotState.BAD:
            yield structs.replace(state, primary=slot)
        for new in SlotState:
            if new is SlotState.GOOD or state.slots[slot.other].state is SlotState.GOOD:
                yield with_state(state, slot, new)


class CountingLoader:
    """A ``TwoStateLoader`` whose state is one small file, replaced whole: primary first, then the starts that are left."""

    def __init__(self, flash: SimulatedFlash) -> None:
        self._flash = flash

    def text(self) -> str:
        return (read_file(self._flash, "loader") or b"").decode()

    def get_primary(self) -> SlotName:
        order, left = self._read()
        return next((slot for slot in order if left[slot]), order[0])

    def set_primary(self, slot: SlotName) -> None:
        self._write([slot, slot.other], self._read()[1])

    def is_startable(self, slot: SlotName) -> bool:
        return self._read()[1][slot] > 0

    def mark(self, slot: SlotName, *, startable: bool) -> None:
        order, left = self._read()
        self._write(order, {**left, slot: TRIES if startable else 0})

    def boot(self) -> SlotName:
        order, left = self._read()
        slot = next((slot for slot in order if left[slot]), None)
        if slot is None:
            raise BootError("No slot is left to start.")
        self._write(order, {**left, slot: left[slot] - 1})
        return slot

    def _read(self) -> tuple[list[SlotName], dict[SlotName, int]]:
        first, a, b = self.text().split()
        return [SlotName(first), SlotName(first).other], {A: int(a), B: int(b)}

    def _write(self, order: list[SlotName], left: dict[SlotName, int]) -> None:
        replace_file(self._flash, "loader", f"{order[0]} {left[A]} {left[B]}".encode())


def _stored(name: str, flash: Callable[[], SimulatedFlash], store: Callable[[SimulatedFlash], StateStore]) -> Medium:
    return Medium(
        name=name,
        flash=flash,
        control=lambda flash, _running: StoredBootControl(store(flash)),
        load=lambda flash: start(store(flash)),
        look=lambda flash: to_json(store(flash).read()),
    )


def _file_flash() -> SimulatedFlash:
    flash = SimulatedFlash()
    save(flash, factory())
    return flash


def _link_flash() -> SimulatedFlash:
    flash = _file_flash()
    FlashLink(flash).point("a")
    return flash


def _link_look(flash: SimulatedFlash) -> Look:
    """Return what comes of a start: the link is changed after the states, and the next start makes good what lies between."""
    after = flash.fork()
    start(link_store(after))
    return to_json(link_store(after).read())


def _block_flash() -> SimulatedFlash:
    flash = SimulatedFlash()
    replace_file(flash, STATE_BLOCK, block_bytes())
    return flash


def uboot_store(flash: SimulatedFlash) -> UBootEnvironment:
    return UBootEnvironment(lambda: flash.open(ENV), (0, ENV_BYTES), ENV_BYTES)


def uboot_bytes() -> bytes:
    """Return both copies of the environment of a new board."""
    lines = b"".join(f"{name}={value}\0".encode() for name, value in sorted(to_variables(factory()).items())) + b"\0"
    return b"".join(UBootEnvironment.sealed(lines.ljust(ENV_BYTES - 5, b"\0"), flag) for flag in (2, 1))


def _uboot_flash() -> SimulatedFlash:
    flash = SimulatedFlash()
    replace_file(flash, ENV, uboot_bytes())
    return flash


def _grub_flash() -> SimulatedFlash:
    flash = SimulatedFlash()
    variables = {**{f"menu_{number}": "x" * 58 for number in range(7)}, **to_variables(factory())}
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    replace_file(flash, GRUBENV, f"# GRUB Environment Block\n{lines}".encode().ljust(GRUBENV_BYTES, b"#"))
    return flash


def _efi_flash() -> SimulatedFlash:
    flash = SimulatedFlash(has_atomic_renames=False)
    for name in efi_names():
        replace_file(flash, f"{ENTRIES}/{name}", name.encode())
    return flash


def _efi_look(flash: SimulatedFlash) -> Look:
    names = flash.names(ENTRIES)
    parse(names, "surefoot")
    return "\n".join(names).encode()


def _counting_look(flash: SimulatedFlash) -> Look:
    after = flash.fork()
    try:
        slot = CountingLoader(after).boot()
    except BootError:
        return b"nothing is started"
    control = TwoStateBootControl(CountingLoader(after), after, slot, "said")
    return " ".join([slot, *(control.get_state(each) for each in SlotName)]).encode()


def _counting_flash() -> SimulatedFlash:
    flash = SimulatedFlash()
    replace_file(flash, "loader", f"a {TRIES} 0".encode())
    return flash
