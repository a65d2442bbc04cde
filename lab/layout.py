# SPDX-License-Identifier: Apache-2.0
"""The board's disk: where everything lies, and a new one with both slots.

One sector of switches, which the lab writes while the machine is off and its init reads; then four partitions: the boot state in
two copies, slot a, slot b, and the data partition. Slots are raw: an image is written over one from its first byte.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

from lab.tools import run
from lab.volatile import SECTOR_BYTES
from surefoot.agent.boot.block import COPY_BYTES, Copy, encode
from surefoot.agent.boot.state import BootState
from surefoot.model.slot import SlotName

MIB = 1024 * 1024
SWITCHES_OFFSET = 16 * SECTOR_BYTES
STATE_OFFSET = MIB
SLOT_BYTES = 112 * MIB
SLOTS: Mapping[SlotName, int] = {SlotName.A: 2 * MIB, SlotName.B: 2 * MIB + SLOT_BYTES}
DATA_OFFSET = 2 * MIB + 2 * SLOT_BYTES
DATA_BYTES = 32 * MIB
DISK_BYTES = DATA_OFFSET + DATA_BYTES

STATE_RANGE = range(STATE_OFFSET, STATE_OFFSET + 2 * COPY_BYTES)
"""Bytes of the two copies of the boot state."""

_LINUX = 0x83


def partition_table() -> bytes:
    """Return the first sector: the four partitions, in the order of the module's first words (MBR, numbers little-endian)."""
    parts = (
        (STATE_OFFSET, MIB),
        (SLOTS[SlotName.A], SLOT_BYTES),
        (SLOTS[SlotName.B], SLOT_BYTES),
        (DATA_OFFSET, DATA_BYTES),
    )
    entries = b"".join(struct.pack("<B3xB3xII", 0, _LINUX, offset // SECTOR_BYTES, size // SECTOR_BYTES) for offset, size in parts)
    return bytes(446) + entries + b"\x55\xaa"


def switches(words: Mapping[str, str]) -> bytes:
    """Return the sector of switches: ``name=value`` lines for the shell, then zeros; none of them may hold a blank."""
    text = "".join(f"{name}={value}\n" for name, value in words.items()).encode()
    return text.ljust(SECTOR_BYTES, b"\0")


def boot_copy(state: BootState, sequence: int = 1) -> bytes:
    """Return one copy of the boot state."""
    return encode(Copy(sequence=sequence, state=state))


def make_disk(path: Path, slot_image: Path, data_folder: Path, state: BootState) -> None:
    """Make a board's disk as it leaves the factory: ``slot_image`` in slot a, nothing in b, ``data_folder`` on the data partition.

    The data partition is ext4 with its journal, data=ordered. Raises ``LabError`` when a tool fails.
    """
    data = path.with_suffix(".data")
    data.unlink(missing_ok=True)
    with data.open("wb") as file:
        file.truncate(DATA_BYTES)
    run(["mke2fs", "-q", "-t", "ext4", "-L", "data", "-d", data_folder, "-E", "root_owner=0:0", data])
    with path.open("wb") as disk:
        disk.truncate(DISK_BYTES)
        disk.write(partition_table())
        disk.seek(SWITCHES_OFFSET)
        disk.write(switches({}))
        disk.seek(STATE_OFFSET)
        disk.write(boot_copy(state))
        disk.seek(SLOTS[SlotName.A])
        disk.write(slot_image.read_bytes())
        disk.seek(DATA_OFFSET)
        disk.write(data.read_bytes())
    data.unlink()
