# SPDX-License-Identifier: Apache-2.0
"""Simulated flash: storage in memory that loses power where it is told to, and forgets what was not synced.

The rules are those of ``surefoot.agent.storage``, taken as unkindly as they may be:

- Each 4 KiB block of a write, each truncation, sync, creation, rename, removal and folder sync is one numbered *operation*.
- The power may be cut at any of them, before it happens; at a write also when half of the block has reached the cache.
- What was not synced is then lost, kept, or torn: of every unsynced 512-byte sector and of every unsynced name, chance says
  whether it survived. A sync of a file does not make its name durable.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from types import TracebackType
from typing import Self

from surefoot.agent.storage import parts_of
from surefoot.model.errors import SpaceError

BLOCK = 4096
"""Bytes of one write operation."""

SECTOR = 512
"""Bytes that are written whole or not at all."""

_ZEROS = bytes(BLOCK)


class PowerCut(BaseException):
    """The power went; nothing in the agent may catch this, as nothing runs without power."""


class Damage(StrEnum):
    """What becomes of everything that was not synced when the power went."""

    LOST = "lost"
    KEPT = "kept"
    TORN = "torn"


@dataclass(slots=True, kw_only=True)
class _Content:
    """Bytes as whole blocks, shared between copies; a block that is missing is all zeros."""

    size: int = 0
    blocks: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> "_Content":
        return _Content(size=self.size, blocks=dict(self.blocks))

    def block(self, index: int) -> bytes:
        return self.blocks.get(index, _ZEROS)

    def read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self.size)
        if end <= offset:
            return b""
        first = offset // BLOCK
        whole = b"".join(self.block(index) for index in range(first, (end - 1) // BLOCK + 1))
        return whole[offset - first * BLOCK : end - first * BLOCK]

    def write(self, offset: int, data: bytes) -> None:
        """Write ``data``, which lies within one block."""
        index, start = divmod(offset, BLOCK)
        old = self.block(index)
        self.blocks[index] = old[:start] + data + old[start + len(data) :]
        self.size = max(self.size, offset + len(data))

    def resize(self, size: int) -> None:
        self.blocks = {index: block for index, block in self.blocks.items() if index * BLOCK < size}
        last, kept = divmod(size, BLOCK)
        if last in self.blocks:
            self.blocks[last] = self.blocks[last][:kept].ljust(BLOCK, b"\0")
        self.size = size


@dataclass(slots=True, kw_only=True)
class _Inode:
    """One file, whatever its name: what programs see, and what is on the chip."""

    cached: _Content = field(default_factory=_Content)
    durable: _Content = field(default_factory=_Content)

    def copy(self) -> "_Inode":
        return _Inode(cached=self.cached.copy(), durable=self.durable.copy())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Naming:
    """A change of names that is not durable yet: ``inode`` leaves ``source`` (if any) and goes to ``target`` (if any)."""

    inode: int
    source: str | None
    target: str | None

    @property
    def paths(self) -> set[str]:
        return {path for path in (self.source, self.target) if path is not None}

    def apply(self, names: dict[str, int]) -> None:
        """Change ``names``, unless what this change starts from never reached the chip."""
        if self.source is not None:
            if names.get(self.source) != self.inode:
                return
            del names[self.source]
        if self.target is not None:
            names[self.target] = self.inode


class SimulatedFile:
    """An open file of a ``SimulatedFlash``; it stays with that file whatever its name becomes."""

    def __init__(self, flash: "SimulatedFlash", path: str, inode: int) -> None:
        """Made by ``SimulatedFlash.open``."""
        self._flash = flash
        self._path = path
        self._inode = inode
        self._is_open = True

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end of the file."""
        return self._flash.content(self._inode).read(offset, size)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write ``data`` block by block, each an operation of its own; ``SpaceError`` leaves the blocks before the full one."""
        done = 0
        while done < len(data):
            piece = data[done : done + BLOCK - (offset + done) % BLOCK]
            self._flash.write(self._path, self._inode, offset + done, piece)
            done += len(piece)

    def truncate(self, size: int) -> None:
        """Cut or grow the file to ``size`` bytes."""
        self._flash.truncate(self._path, self._inode, size)

    def size(self) -> int:
        """Return the file's length in bytes."""
        return self._flash.content(self._inode).size

    def sync(self) -> None:
        """Put the file's bytes and length on the chip."""
        self._flash.sync(self._path, self._inode)

    def is_file(self, inode: int | None) -> bool:
        """Say whether this is the file with that number; for the flash only."""
        return self._inode == inode

    def close(self) -> None:
        """Let the flash forget the file if it has no name any more; closing does not sync, and doing it twice does it once."""
        if self._is_open:
            self._is_open = False
            self._flash.closed(self._inode)

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file."""
        self.close()


class SimulatedFlash:
    """Storage in memory with a volatile cache.

    Attributes:
        capacity_bytes: Room for all files together, each counted in whole blocks.
        cut_at: Number of the operation at which the power goes, or ``None``.
        cut_in_half: Whether a write that is cut leaves the first half of its block in the cache.
        operations: How many operations have happened; the next one has this number plus one.
        log: One line for each operation, oldest first, for the message of a test that fails; empty when none is kept.
    """

    def __init__(self, *, capacity_bytes: int = 64 * 1024 * 1024, keeps_log: bool = True, has_atomic_renames: bool = True) -> None:
        """Make an empty flash that has power; a log grows for as long as the flash is used.

        Without atomic renames it is FAT: the new name and the end of the old one survive a power cut each on its own.
        """
        self.capacity_bytes = capacity_bytes
        self._keeps_log = keeps_log
        self._has_atomic_renames = has_atomic_renames
        self.cut_at: int | None = None
        self.cut_in_half = False
        self.operations = 0
        self.log: list[str] = []
        self._has_power = True
        self._inodes: dict[int, _Inode] = {}
        self._next_inode = 0
        self._opened: dict[int, int] = {}
        self._names: dict[str, int] = {}
        self._durable_names: dict[str, int] = {}
        self._unsynced: list[_Naming] = []

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> SimulatedFile:  # noqa: ARG002  # nothing is read-only here
        """Open a file, making an empty one if asked to; ``FileNotFoundError`` and ``SpaceError`` as the port says."""
        self._check(path)
        if path not in self._names:
            if not create:
                raise FileNotFoundError(path)
            self._create(path)
        inode = self._names[path]
        self._opened[inode] = self._opened.get(inode, 0) + 1
        return SimulatedFile(self, path, inode)

    def is_at(self, file: SimulatedFile, path: str) -> bool:
        """Say whether ``path`` still names this open file, and not one that has replaced it."""
        return file.is_file(self._names.get(path))

    def exists(self, path: str) -> bool:
        """Say whether there is a file at ``path``."""
        self._check(path)
        return path in self._names

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in ``folder``, sorted; none when there is no such folder."""
        self._check(folder)
        return sorted(path.removeprefix(f"{folder}/") for path in self._names if _folder_of(path) == folder)

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, replacing what had it; durable after ``sync_folder``."""
        self._check(source)
        self._check(target)
        if source not in self._names:
            raise FileNotFoundError(source)
        self.count(f"rename {source} to {target}")
        inode = self._names[source]
        if self._has_atomic_renames:
            self._name(_Naming(inode=inode, source=source, target=target))
        else:
            self._name(_Naming(inode=inode, source=None, target=target))
            self._name(_Naming(inode=inode, source=source, target=None))

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens when there is none."""
        self._check(path)
        if path in self._names:
            self.count(f"remove {path}")
            self._name(_Naming(inode=self._names[path], source=path, target=None))

    def sync_folder(self, path: str) -> None:
        """Put the names of the folder that holds ``path`` on the chip, with what they depend on in other folders."""
        folder = _folder_of(path)
        self._check(path)
        self.count(f"sync folder {folder or '.'}")
        needed: set[str] = set()
        synced: list[_Naming] = []
        waiting: list[_Naming] = []
        for naming in reversed(self._unsynced):
            if needed & naming.paths or folder in map(_folder_of, naming.paths):
                needed |= naming.paths
                synced.append(naming)
            else:
                waiting.append(naming)
        for naming in reversed(synced):
            naming.apply(self._durable_names)
        self._unsynced = waiting[::-1]
        self._free()

    def count(self, description: str) -> None:
        """Count one operation, and cut the power if this is where it goes.

        Effects elsewhere (a message sent, a reboot asked for) may be counted too, so that the power can fail at them.

        Raises:
            PowerCut: This is operation ``cut_at``, or the power is gone already.
        """
        self._need_power()
        if self.operations + 1 == self.cut_at:
            self._has_power = False
            raise PowerCut(f"operation {self.cut_at}: {description}")
        self.operations += 1
        if self._keeps_log:
            self.log.append(f"{self.operations} {description}")

    def fork(self) -> "SimulatedFlash":
        """Return an independent copy that has power and no cut planned; files opened before stay with the original."""
        copy = SimulatedFlash(capacity_bytes=self.capacity_bytes, keeps_log=self._keeps_log, has_atomic_renames=self._has_atomic_renames)
        copy.operations = self.operations
        copy.log = list(self.log)
        copy._next_inode = self._next_inode
        copy._inodes = {number: inode.copy() for number, inode in self._inodes.items()}
        copy._names = dict(self._names)
        copy._durable_names = dict(self._durable_names)
        copy._unsynced = list(self._unsynced)
        return copy

    def power_cycle(self, damage: Damage, *, seed: int = 0) -> "SimulatedFlash":
        """Return the flash as the next boot finds it; this one is left as it was, without power.

        Numbers of operations go on where they stopped, so that a cut in the second life has a number of its own.

        Args:
            damage: What becomes of everything that was not synced.
            seed: For ``TORN``: the same seed tears the same way.
        """
        self._has_power = False
        after = self.fork()
        if self._keeps_log:
            after.log.append(f"- power back, unsynced {damage} (seed {seed})")
        after._settle(damage, seed)  # noqa: SLF001  # a flash of this class, not yet given out
        return after

    def fingerprint(self) -> int:
        """Return a number that is the same, in one process, for flash with the same names and bytes."""
        files = ((path, self._inodes[inode].cached) for path, inode in self._names.items())
        return hash(frozenset((path, content.size, frozenset(content.blocks.items())) for path, content in files))

    def content(self, inode: int) -> _Content:
        """Return what programs see of a file; for open files only."""
        self._need_power()
        return self._inodes[inode].cached

    def write(self, path: str, inode: int, offset: int, data: bytes) -> None:
        """Write part of one block, as one operation; for open files only."""
        content = self.content(inode)
        self._need_room(path, content.size, offset + len(data))
        try:
            self.count(f"write {path} {offset}+{len(data)}")
        except PowerCut:
            if self.cut_in_half:
                content.write(offset, data[: len(data) // 2])
            raise
        content.write(offset, data)

    def truncate(self, path: str, inode: int, size: int) -> None:
        """Cut or grow a file; for open files only."""
        content = self.content(inode)
        self._need_room(path, content.size, size)
        self.count(f"truncate {path} to {size}")
        content.resize(size)

    def closed(self, inode: int) -> None:
        """Note that one of a file's users is gone; for open files only."""
        self._opened[inode] -= 1

    def sync(self, path: str, inode: int) -> None:
        """Put a file's bytes and length on the chip; for open files only."""
        self.count(f"sync {path}")
        file = self._inodes[inode]
        file.durable = file.cached.copy()

    def _check(self, path: str) -> None:
        _require_path(path)
        self._need_power()

    def _need_power(self) -> None:
        if not self._has_power:
            raise PowerCut("the power is off")

    def _need_room(self, path: str, old_size: int, new_size: int) -> None:
        growth = _blocks(new_size) - _blocks(old_size)
        if growth <= 0:
            return
        used = sum(_blocks(self._inodes[inode].cached.size) for inode in self._names.values())
        if (used + growth) * BLOCK > self.capacity_bytes:
            raise SpaceError(f"{path} does not fit: the flash holds {self.capacity_bytes} bytes.", hint="Free some space.")

    def _create(self, path: str) -> None:
        self._need_room(path, 0, 1)
        self.count(f"create {path}")
        number, self._next_inode = self._next_inode, self._next_inode + 1
        self._inodes[number] = _Inode()
        self._name(_Naming(inode=number, source=None, target=path))

    def _name(self, naming: _Naming) -> None:
        naming.apply(self._names)
        self._unsynced.append(naming)

    def _free(self) -> None:
        """Forget files that no name leads to, on the chip or in the cache, and that nobody has open."""
        needed = {*self._names.values(), *self._durable_names.values(), *(naming.inode for naming in self._unsynced)}
        for number in self._inodes.keys() - needed:
            if self._opened.get(number, 0) == 0:
                del self._inodes[number]
                self._opened.pop(number, None)

    def _settle(self, damage: Damage, seed: int) -> None:
        for number, naming in enumerate(self._unsynced):
            if damage is Damage.KEPT or (damage is Damage.TORN and _chance(seed, "name", number, 2)):
                naming.apply(self._durable_names)
        for number, inode in self._inodes.items():
            match damage:
                case Damage.LOST:
                    inode.cached = inode.durable.copy()
                case Damage.KEPT:
                    inode.durable = inode.cached.copy()
                case Damage.TORN:
                    inode.durable = _torn(inode, seed, number)
                    inode.cached = inode.durable.copy()
        self._unsynced = []
        self._names = dict(self._durable_names)
        self._free()


# A board has a dozen paths, and asks for each of them a hundred times an update.
_require_path = lru_cache(maxsize=256)(parts_of)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _torn(inode: _Inode, seed: int, number: int) -> _Content:
    old, new = inode.durable, inode.cached
    torn = old.copy()
    for index in old.blocks.keys() | new.blocks.keys():
        if old.block(index) is not new.block(index):
            torn.blocks[index] = b"".join(_sectors(old.block(index), new.block(index), seed, f"{number}/{index}"))
    between = range(min(old.size, new.size), max(old.size, new.size), SECTOR)
    sizes = [old.size, new.size, *between[:64]]
    torn.resize(sizes[_chance(seed, "size", number, len(sizes))])
    return torn


def _sectors(old: bytes, new: bytes, seed: int, place: str) -> Iterator[bytes]:
    for start in range(0, BLOCK, SECTOR):
        survivor = new if _chance(seed, place, start, 2) else old
        yield survivor[start : start + SECTOR]


def _chance(seed: int, place: str, number: int, sides: int) -> int:
    # A hash and not a generator: what happens to one sector must not depend on how many were torn before it.
    digest = hashlib.blake2b(f"{seed} {place} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % sides
