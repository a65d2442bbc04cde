# SPDX-License-Identifier: Apache-2.0
"""Every bootloader backend with its loader, ready for the contract."""

from collections.abc import Callable
from pathlib import Path

from surefoot.agent.boot.block import COPY_BYTES, BlockStore, Copy, encode
from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.file import FileStore, save
from surefoot.agent.boot.state import factory
from surefoot.agent.boot.store import StateStore, StoredBootControl, start
from surefoot.agent.storage import replace_file
from surefoot.model.slot import SlotName
from surefoot.simulator.flash import Damage, SimulatedFlash
from tests.agent.contract_boot import Rig

BLOCK = "state.bin"


class FlashRig:
    """A medium in memory that can lose power under a store; the current flash is ``flash``."""

    def __init__(self, flash: SimulatedFlash, store: Callable[[SimulatedFlash], StateStore], spoiled: dict[str, bytes]) -> None:
        self.flash = flash
        self._store = store
        self._spoiled = spoiled

    def rig(self) -> Rig:
        return Rig(
            connect=self._connect,
            load=lambda: start(self._store(self.flash)),
            trace=lambda: self.flash.operations,
            spoil=lambda: [replace_file(self.flash, path, data) for path, data in self._spoiled.items()] and None,
            lose=self._lose,
        )

    def _connect(self, _running: SlotName) -> BootControl:
        return StoredBootControl(self._store(self.flash))

    def _lose(self) -> None:
        self.flash = self.flash.power_cycle(Damage.LOST)


def file_rig(_folder: Path) -> Rig:
    flash = SimulatedFlash()
    save(flash, factory())
    return FlashRig(flash, FileStore, {"boot.json": b"{}"}).rig()


def block_store(flash: SimulatedFlash) -> BlockStore:
    return BlockStore(lambda: flash.open(BLOCK), (0, COPY_BYTES), BLOCK)


def block_flash() -> SimulatedFlash:
    """Return flash with the state block of a new board."""
    flash = SimulatedFlash()
    replace_file(flash, BLOCK, b"".join(encode(Copy(sequence=number, state=factory())) for number in (1, 0)))
    return flash


def block_rig(_folder: Path) -> Rig:
    return FlashRig(block_flash(), block_store, {BLOCK: bytes(2 * COPY_BYTES)}).rig()


RIGS: dict[str, Callable[[Path], Rig]] = {
    "file": file_rig,
    "block": block_rig,
}
