# SPDX-License-Identifier: Apache-2.0
"""Every bootloader backend with its loader, ready for the contract.

The tools of U-Boot, GRUB and RAUC are the real ones and write through the real file system; what they do not sync is not
lost there (``tests/powerfail`` treats each sector that they change).
"""

import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from surefoot.agent.boot.block import COPY_BYTES, BlockStore, Copy, encode
from surefoot.agent.boot.custom import CustomLoader
from surefoot.agent.boot.efi import EfiBootControl, boot
from surefoot.agent.boot.file import FileStore, save
from surefoot.agent.boot.grub import GrubStore
from surefoot.agent.boot.link import LinkStore
from surefoot.agent.boot.rauc import RaucLoader
from surefoot.agent.boot.state import TRIES, factory
from surefoot.agent.boot.store import StateStore, StoredBootControl, start
from surefoot.agent.boot.twostate import TwoStateBootControl
from surefoot.agent.boot.uboot import UBootStore
from surefoot.agent.boot.variables import to_variables
from surefoot.agent.posix import PosixStorage
from surefoot.agent.storage import replace_file
from surefoot.model.slot import SlotName
from surefoot.simulator.flash import Damage, SimulatedFlash
from tests.agent.contract_boot import Rig
from tests.agent.loaders import GRUBENV_BYTES, CountingScript, GrubEnvironment, UBootEnvironment
from tests.agent.raucd import Raucd
from tests.agent.trees import FlashLink

A, B = SlotName.A, SlotName.B
NAMES = {A: "A", B: "B"}
BLOCK = "state.bin"
ENV = "uboot.env"
ENV_BYTES = 8192
GRUBENV = "grubenv"
TIMEOUT_S = 20.0


class Medium:
    """Flash that can lose power; the current one is ``flash``."""

    def __init__(self, flash: SimulatedFlash) -> None:
        self.flash = flash

    def lose(self) -> None:
        self.flash = self.flash.power_cycle(Damage.LOST)

    def stored(self, store: Callable[[SimulatedFlash], StateStore], spoil: Callable[[SimulatedFlash], None]) -> Rig:
        """Return the rig of a whole state on this medium."""
        return Rig(
            connect=lambda _running: StoredBootControl(store(self.flash)),
            load=lambda: start(store(self.flash)),
            trace=lambda: self.flash.operations,
            spoil=lambda: spoil(self.flash),
            lose=self.lose,
        )


def file_rig(_folder: Path, _stack: ExitStack) -> Rig:
    flash = SimulatedFlash()
    save(flash, factory())
    return Medium(flash).stored(FileStore, lambda flash: replace_file(flash, "boot.json", b"{}"))


def block_store(flash: SimulatedFlash) -> BlockStore:
    return BlockStore(lambda: flash.open(BLOCK), (0, COPY_BYTES), BLOCK)


def block_bytes() -> bytes:
    """Return the state block of a new board."""
    return b"".join(encode(Copy(sequence=number, state=factory())) for number in (1, 0))


def block_rig(_folder: Path, _stack: ExitStack) -> Rig:
    flash = SimulatedFlash()
    replace_file(flash, BLOCK, block_bytes())
    return Medium(flash).stored(block_store, lambda flash: replace_file(flash, BLOCK, bytes(2 * COPY_BYTES)))


def link_store(flash: SimulatedFlash) -> LinkStore:
    return LinkStore(FlashLink(flash), FileStore(flash))


def link_rig(_folder: Path, _stack: ExitStack) -> Rig:
    flash = SimulatedFlash()
    save(flash, factory())
    FlashLink(flash).point("a")
    return Medium(flash).stored(link_store, lambda flash: flash.remove("current"))


def efi_names() -> list[str]:
    """Return the entries of a new board."""
    return ["surefoot-2-a.conf", "surefoot-1-b+0-0.conf"]


def efi_rig(_folder: Path, _stack: ExitStack) -> Rig:
    flash = SimulatedFlash()
    for name in efi_names():
        replace_file(flash, f"loader/entries/{name}", name.encode())
    medium = Medium(flash)

    def spoil() -> None:
        for name in medium.flash.names("loader/entries"):
            medium.flash.remove(f"loader/entries/{name}")

    return Rig(
        connect=lambda running: EfiBootControl(medium.flash, running),
        load=lambda: boot(medium.flash),
        trace=lambda: medium.flash.operations,
        spoil=spoil,
        lose=medium.lose,
    )


def uboot_environment(folder: Path) -> UBootEnvironment:
    return UBootEnvironment(lambda: PosixStorage(folder).open(ENV), (0, ENV_BYTES), ENV_BYTES)


def write_environment(folder: Path, variables: dict[str, str]) -> Path:
    """Write both copies of a redundant environment, the second one older, and return the tools' configuration."""
    lines = (b"".join(f"{name}={value}\0".encode() for name, value in sorted(variables.items())) + b"\0").ljust(ENV_BYTES - 5, b"\0")
    (folder / ENV).write_bytes(b"".join(UBootEnvironment.sealed(lines, flag) for flag in (2, 1)))
    config = folder / "fw_env.config"
    config.write_text("".join(f"{folder / ENV} {index * ENV_BYTES:#x} {ENV_BYTES:#x}\n" for index in (0, 1)))
    return config


def uboot_rig(folder: Path, _stack: ExitStack) -> Rig:
    config = write_environment(folder, {"bootdelay": "0", "bootcmd": "run ab; reset", **to_variables(factory())})
    return Rig(
        connect=lambda _running: StoredBootControl(UBootStore(str(config), timeout_s=TIMEOUT_S)),
        load=lambda: start(uboot_environment(folder)),
        trace=lambda: _trace(folder / ENV),
        spoil=lambda: _overwrite(folder / ENV, bytes(2 * ENV_BYTES)),
        lose=_nothing,
    )


def write_grubenv(path: Path, variables: dict[str, str]) -> None:
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    path.write_bytes(f"# GRUB Environment Block\n{lines}".encode().ljust(GRUBENV_BYTES, b"#"))


def grub_rig(folder: Path, _stack: ExitStack) -> Rig:
    write_grubenv(folder / GRUBENV, {"saved_entry": "0", **to_variables(factory())})
    return Rig(
        connect=lambda _running: StoredBootControl(GrubStore(folder / GRUBENV, timeout_s=TIMEOUT_S)),
        load=lambda: start(GrubEnvironment(lambda: PosixStorage(folder).open(GRUBENV))),
        trace=lambda: _trace(folder / GRUBENV),
        spoil=lambda: _overwrite(folder / GRUBENV, bytes(GRUBENV_BYTES)),
        lose=_nothing,
    )


BACKEND = """#!/bin/sh
# A custom backend as one would write it for RAUC: a file with the primary, and one with the tries left of each slot.
set -eu
cd "$(dirname "$0")"
put() { printf '%s\\n' "$2" > "$1.new" && sync "$1.new" && mv "$1.new" "$1" && sync .; }
case "$1" in
  get-primary) p=$(cat primary) && [ -n "$p" ] && if [ "$(cat "$p")" -gt 0 ]; then echo "$p"; else echo A B | tr -d " $p"; fi ;;
  set-primary) put primary "$2" ;;
  get-state) test "$(cat "$2")" -gt 0 && echo good || { test -s "$2" && echo bad; } ;;
  set-state) if [ "$3" = good ]; then put "$2" 3; else put "$2" 0; fi ;;
  *) exit 64 ;;
esac
"""


def custom_rig(folder: Path, _stack: ExitStack) -> Rig:
    loader = folder / "loader"
    loader.mkdir()
    backend = loader / "backend"
    backend.write_text(BACKEND)
    backend.chmod(backend.stat().st_mode | stat.S_IXUSR)
    for name, text in {"primary": "A", "A": f"{TRIES}", "B": "0"}.items():
        (loader / name).write_text(f"{text}\n")
    script = CountingScript(
        read=lambda: {path.name: path.read_text().strip() for path in loader.iterdir() if path != backend},
        write=lambda changed: [(loader / name).write_text(f"{text}\n") for name, text in changed.items()],
        order=lambda state: [state["primary"], *({"A", "B"} - {state["primary"]})],
        left="{}",
    )

    def spoil() -> None:
        for name in ("primary", "A", "B"):
            (loader / name).write_text("")

    return Rig(
        connect=lambda running: TwoStateBootControl(
            CustomLoader([str(backend)], NAMES, folder=folder, timeout_s=TIMEOUT_S), PosixStorage(folder), running, "data/said.json"
        ),
        load=script.boot,
        trace=lambda: {path.name: _trace(path) for path in loader.iterdir()},
        spoil=spoil,
        lose=_nothing,
        counts_kept=True,
    )


def rauc_rig(folder: Path, stack: ExitStack) -> Rig:
    config = write_environment(folder, {"BOOT_ORDER": "A B", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "0"})
    raucd = stack.enter_context(Raucd(folder, config))
    environment = uboot_environment(folder)
    script = CountingScript(
        read=lambda: environment.load()[2],
        write=lambda changed: environment.save({**environment.load()[2], **changed}),
        order=lambda state: state["BOOT_ORDER"].split(),
        left="BOOT_{}_LEFT",
    )

    return Rig(
        connect=lambda running: TwoStateBootControl(
            RaucLoader(NAMES, timeout_s=TIMEOUT_S, bus=raucd.bus), PosixStorage(folder), running, "data/said.json"
        ),
        load=script.boot,
        trace=lambda: _trace(folder / ENV),
        spoil=lambda: _overwrite(folder / ENV, bytes(2 * ENV_BYTES)),
        lose=_nothing,
        counts_kept=True,
    )


RIGS: dict[str, Callable[[Path, ExitStack], Rig]] = {
    "file": file_rig,
    "block": block_rig,
    "link": link_rig,
    "uboot": uboot_rig,
    "grub": grub_rig,
    "efi": efi_rig,
    "custom": custom_rig,
    "rauc": rauc_rig,
}


def _trace(path: Path) -> object:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, path.read_bytes()


def _overwrite(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _nothing() -> None:
    return
