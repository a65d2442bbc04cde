# SPDX-License-Identifier: Apache-2.0
"""What a disk holds after a cut: all that was flushed, and of the rest, sector by sector, what survives."""

import os
import tempfile
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lab.volatile import SECTOR_BYTES, VolatileDisk, kept, lost

SECTORS = 12
sectors = st.integers(0, SECTORS - 1)


class DiskMachine(RuleBasedStateMachine):
    """Holds the disk against two lists: what a reader sees, and what is durable."""

    @initialize()
    def make(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  # closed in teardown
        self.file.truncate(SECTORS * SECTOR_BYTES)
        self.disk = VolatileDisk(self.file.fileno())
        self.seen = [bytes(SECTOR_BYTES)] * SECTORS
        self.durable = list(self.seen)

    @rule(first=sectors, count=st.integers(1, SECTORS), fill=st.integers(0, 255))
    def write(self, first: int, count: int, fill: int) -> None:
        written = [bytes([fill]) * SECTOR_BYTES] * min(count, SECTORS - first)
        self.disk.write(first * SECTOR_BYTES, b"".join(written))
        self.seen[first : first + len(written)] = written

    @rule()
    def flush(self) -> None:
        self.disk.flush()
        self.durable = list(self.seen)

    @rule(first=sectors, count=st.integers(1, SECTORS))
    def flush_range(self, first: int, count: int) -> None:
        self.disk.flush_range(first * SECTOR_BYTES, count * SECTOR_BYTES)
        self.durable[first : first + count] = self.seen[first : first + count]

    @rule(survivors=st.sets(sectors))
    def cut_torn(self, survivors: set[int]) -> None:
        self._cut(survivors.__contains__)

    @rule()
    def cut_lost(self) -> None:
        self._cut(lost)

    @rule()
    def cut_kept(self) -> None:
        self._cut(kept)

    def _cut(self, survives: Callable[[int], bool]) -> None:
        gone = self.disk.cut(survives)
        self.durable = [self.seen[n] if survives(n) else self.durable[n] for n in range(SECTORS)]
        assert gone >= sum(self.seen[n] != self.durable[n] for n in range(SECTORS))
        self.seen = list(self.durable)
        assert self.disk.pending == 0

    @invariant()
    def what_is_read_was_written_last(self) -> None:
        assert self.disk.read(0, SECTORS * SECTOR_BYTES) == b"".join(self.seen)
        assert self.disk.read(3 * SECTOR_BYTES, 2 * SECTOR_BYTES) == b"".join(self.seen[3:5])

    @invariant()
    def the_file_holds_what_is_durable_alone(self) -> None:
        assert os.pread(self.file.fileno(), SECTORS * SECTOR_BYTES, 0) == b"".join(self.durable)

    def teardown(self) -> None:
        self.file.close()


TestDisk = DiskMachine.TestCase
