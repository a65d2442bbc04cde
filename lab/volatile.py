# SPDX-License-Identifier: Apache-2.0
"""A disk with a write cache that forgets: what was written and not flushed may be lost, kept or torn when the power goes.

Killing a virtual machine is no power cut for its disk, since the host still holds all that the guest ever wrote. Here a write
lies in memory, sector by sector, until the guest flushes it.
"""

import os
from collections.abc import Callable, Iterable

SECTOR_BYTES = 512

Survives = Callable[[int], bool]
"""Says of an unflushed sector, by its number, whether it reached the disk all the same."""


def lost(_sector: int) -> bool:
    """Let nothing survive that was not flushed."""
    return False


def kept(_sector: int) -> bool:
    """Let everything survive: an interruption, and no loss."""
    return True


class VolatileDisk:
    """A file as a disk with a volatile write cache; offsets and lengths are bytes, and whole sectors."""

    def __init__(self, descriptor: int) -> None:
        """Keep the disk in the open file ``descriptor``, which stays the caller's; its length is the disk's."""
        self._descriptor = descriptor
        self._pending: dict[int, bytes] = {}
        self.size_bytes = os.fstat(descriptor).st_size

    @property
    def pending(self) -> int:
        """Return how many sectors are written and not flushed."""
        return len(self._pending)

    def read(self, offset: int, size: int) -> bytes:
        """Return what was last written there, flushed or not."""
        data = bytearray(os.pread(self._descriptor, size, offset))
        for sector in self._pending.keys() & set(_sectors(offset, size)) if self._pending else ():
            begin = sector * SECTOR_BYTES - offset
            data[begin : begin + SECTOR_BYTES] = self._pending[sector]
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Take ``data`` into the cache."""
        for place, sector in enumerate(_sectors(offset, len(data))):
            self._pending[sector] = data[place * SECTOR_BYTES : (place + 1) * SECTOR_BYTES]

    def flush(self, sectors: Iterable[int] | None = None) -> None:
        """Make everything durable that was written, or only some sectors of it."""
        for sector in list(self._pending if sectors is None else self._pending.keys() & set(sectors)):
            self._keep(sector)

    def flush_range(self, offset: int, size: int) -> None:
        """Make durable what was written there."""
        self.flush(_sectors(offset, size))

    def cut(self, survives: Survives) -> int:
        """Lose the power; return how many sectors are lost with it."""
        gone = 0
        for sector in list(self._pending):
            if survives(sector):
                self._keep(sector)
            else:
                gone += 1
        self._pending.clear()
        return gone

    def _keep(self, sector: int) -> None:
        os.pwrite(self._descriptor, self._pending.pop(sector), sector * SECTOR_BYTES)


def _sectors(offset: int, size: int) -> range:
    return range(offset // SECTOR_BYTES, (offset + size) // SECTOR_BYTES)
