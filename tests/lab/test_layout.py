# SPDX-License-Identifier: Apache-2.0
"""The board's disk, its loader and its agent mean the same places."""

import re
import struct
from itertools import pairwise
from pathlib import Path

from lab.image import GUEST
from lab.layout import DATA_OFFSET, DISK_BYTES, SLOTS, STATE_OFFSET, SWITCHES_OFFSET, boot_copy, partition_table, switches
from lab.volatile import SECTOR_BYTES
from surefoot.agent.boot.block import COPY_BYTES, decode
from surefoot.agent.boot.settings import BlockBoot
from surefoot.agent.boot.state import factory
from surefoot.agent.config import read_config
from surefoot.agent.installers.settings import RawInstall
from surefoot.model.slot import SlotName

CONFIG = read_config(GUEST / "agent.toml")


def partitions() -> dict[str, tuple[int, int]]:
    """Return begin and end of each partition, in bytes, by the name that the kernel gives it."""
    table = partition_table()
    found = [struct.unpack_from("<II", table, 446 + 16 * number + 8) for number in range(4)]
    return {f"/dev/vda{number}": (first * SECTOR_BYTES, (first + count) * SECTOR_BYTES) for number, (first, count) in enumerate(found, 1)}


def test_the_partitions_lie_one_after_the_other_and_fill_the_disk() -> None:
    places = list(partitions().values())
    assert all(before[1] <= after[0] for before, after in pairwise(places))
    assert places[0][0] >= SWITCHES_OFFSET + SECTOR_BYTES
    assert places[-1] == (DATA_OFFSET, DISK_BYTES)
    assert partition_table()[510:] == b"\x55\xaa"


def test_the_agent_installs_into_the_slots_of_the_disk() -> None:
    assert isinstance(CONFIG.install, RawInstall)
    devices = CONFIG.install.devices
    assert devices is not None
    assert {name: partitions()[getattr(devices, name)][0] for name in SlotName} == dict(SLOTS)


def test_agent_and_loader_keep_the_boot_state_in_the_same_sectors() -> None:
    assert isinstance(CONFIG.boot, BlockBoot)
    begin, end = partitions()[CONFIG.boot.device]
    environment = (GUEST / "uboot.env").read_text()
    for number, offset in enumerate(CONFIG.boot.offsets, 1):
        found = re.search(rf"surefoot_lba{number}=([0-9a-f]+)", environment)
        assert found is not None
        assert int(found[1], 16) * SECTOR_BYTES == begin + offset
        assert begin + offset + COPY_BYTES <= end


def test_a_new_board_starts_slot_a() -> None:
    copy = decode(boot_copy(factory()), "the disk")
    assert copy is not None
    assert (copy.state.primary, begin_of_state()) == (SlotName.A, STATE_OFFSET)


def begin_of_state() -> int:
    assert isinstance(CONFIG.boot, BlockBoot)
    return partitions()[CONFIG.boot.device][0]


def test_init_reads_the_sector_that_the_lab_writes() -> None:
    assert f"skip={SWITCHES_OFFSET // SECTOR_BYTES} count=1" in (GUEST / "init").read_text()
    assert switches({"A": "1", "B": "x"}) == b"A=1\nB=x\n".ljust(SECTOR_BYTES, b"\0")


def test_the_commands_that_agent_toml_names_are_in_the_image() -> None:
    image = Path(GUEST.parent / "image.py").read_text()
    for probe in CONFIG.trial.probes:
        words = getattr(probe, "command", ["/opt/lab/self-test"])
        assert words[0].removeprefix("/") in image
