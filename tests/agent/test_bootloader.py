# SPDX-License-Identifier: Apache-2.0
"""From ``[boot]`` in agent.toml to a bootloader that answers, and what is said when it cannot."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.file import save
from surefoot.agent.boot.rauc import RaucLoader
from surefoot.agent.boot.settings import Boot, LoaderNames, RaucBoot
from surefoot.agent.boot.state import factory
from surefoot.agent.boot.twostate import TwoStateBootControl
from surefoot.agent.boot.variables import to_variables
from surefoot.agent.bootloader import open_bootloader
from surefoot.agent.installer import open_installer
from surefoot.agent.installers.settings import RaucInstall
from surefoot.agent.posix import PosixStorage, SystemClock, open_device
from surefoot.agent.storage import replace_file
from surefoot.model.errors import BootError, DeviceError, FormatError, InvalidInput
from surefoot.model.record import from_plain
from surefoot.model.slot import SlotName, SlotState
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.raucd import Raucd
from tests.agent.rigs import BACKEND, NAMES, block_bytes, efi_names, write_environment, write_grubenv

A, B = SlotName.A, SlotName.B


def settings(**table: object) -> Boot:
    found: Boot = from_plain(table, Boot, what="[boot]")  # type: ignore[arg-type]  # a union is a type to msgspec
    return found


def opened(folder: Path, **table: object) -> BootControl:
    return open_bootloader(settings(**table), PosixStorage(folder), folder, A, "data/said.json")


def lay_out(folder: Path) -> None:
    """Put a new board's state of every kind into a folder."""
    save(PosixStorage(folder), factory())
    (folder / "block").write_bytes(bytes(4096) + block_bytes())
    (folder / "link").symlink_to(folder / "block")
    write_environment(folder, to_variables(factory()))
    write_grubenv(folder / "grubenv", to_variables(factory()))
    for name in efi_names():
        replace_file(PosixStorage(folder), f"esp/loader/entries/{name}", b"")
    (folder / "backend").write_text(BACKEND)
    (folder / "backend").chmod(0o700)
    for name, text in {"primary": "A", "A": "3", "B": "0"}.items():
        (folder / name).write_text(text)


TABLES: list[dict[str, object]] = [
    {"backend": "file"},
    {"backend": "block", "device": "link", "offsets": [4096, 8192]},
    {"backend": "uboot", "config": "fw_env.config"},
    {"backend": "grub", "path": "grubenv"},
    {"backend": "efi", "esp": "esp"},
    {"backend": "custom", "command": ["./backend"]},
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table["backend"]))
def test_a_backend_is_opened_as_the_table_says(table: dict[str, object], tmp_path: Path) -> None:
    lay_out(tmp_path)
    control = opened(tmp_path, **table)
    assert (control.get_primary(), control.get_state(A), control.get_state(B)) == (A, SlotState.GOOD, SlotState.BAD)
    control.set_state(B, SlotState.TRYING)
    assert opened(tmp_path, **table).get_state(B) is SlotState.TRYING


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table["backend"]))
def test_a_backend_whose_state_is_not_there_says_what_to_do(table: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(BootError) as caught:
        opened(tmp_path, **table).get_primary()
    assert caught.value.hint


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"backend": "lilo"}, "lilo"),
        ({"backend": "block"}, "device"),
        ({"backend": "block", "device": "x", "offsets": [0, 512]}, "overlap"),
        ({"backend": "block", "device": "x", "offsets": [0, 5000]}, "multiple"),
        ({"backend": "block", "device": "x", "config": "y"}, "config"),
        ({"backend": "custom", "command": []}, "length >= 1"),
        ({"backend": "custom", "command": ["x"], "names": {"a": "B"}}, "one name"),
        ({"backend": "rauc", "names": {"a": "--help"}}, "names.a"),
        ({"backend": "uboot", "timeout_s": 0}, "timeout_s"),
        ({"path": "x"}, "backend"),
    ],
)
def test_a_table_that_says_nonsense(table: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError) as caught:
        settings(**table)
    assert message in caught.value.message


def test_rauc_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("boot.rauc", "boot.raucbus", "installers.rauc"):
        monkeypatch.delitem(sys.modules, f"surefoot.agent.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "jeepney", None)
    with pytest.raises(InvalidInput, match=r"Install surefoot\[rauc\]"):
        open_bootloader(RaucBoot(), PosixStorage(tmp_path), tmp_path, A, "said")
    with pytest.raises(InvalidInput, match=r"The installer rauc needs jeepney. Install surefoot\[rauc\]"):
        open_installer(RaucInstall(), PosixStorage(tmp_path), tmp_path, A, capacity_bytes=1, clock=SystemClock())


def test_rauc_without_a_bus(tmp_path: Path) -> None:
    with pytest.raises(BootError, match="cannot be reached on D-Bus"):
        RaucLoader(NAMES, timeout_s=5, bus=f"unix:path={tmp_path / 'nothing'}").get_primary()


def test_rauc_that_hangs_and_that_knows_no_such_slot(tmp_path: Path) -> None:
    config = write_environment(tmp_path, {"BOOT_ORDER": "A B", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "3"})
    with ExitStack() as stack:
        raucd = stack.enter_context(Raucd(tmp_path, config))
        with pytest.raises(BootError, match="no slot with the bootname 'C'"):
            RaucLoader({A: "A", B: "C"}, timeout_s=30, bus=raucd.bus).is_startable(A)
        raucd.stop()
        with pytest.raises(BootError, match=r"does not answer within 0\.3 s"):
            RaucLoader(NAMES, timeout_s=0.3, bus=raucd.bus).get_primary()


def test_names_for_a_loader() -> None:
    assert LoaderNames(a="system0", b="system1").by_slot() == {A: "system0", B: "system1"}


class Loader:
    """A loader in memory that counts nothing."""

    def get_primary(self) -> SlotName:
        return A

    def set_primary(self, slot: SlotName) -> None:
        raise NotImplementedError

    def is_startable(self, slot: SlotName) -> bool:
        return slot is A

    def mark(self, slot: SlotName, *, startable: bool) -> None:
        raise NotImplementedError


def test_a_damaged_note_stops_the_agent() -> None:
    flash = SimulatedFlash()
    replace_file(flash, "said", b'{"slots":{"b":"perhaps"}}')
    with pytest.raises(BootError, match="What was said of the slots cannot be read"):
        TwoStateBootControl(Loader(), flash, A, "said").get_state(B)


def test_a_device_is_a_block_device_or_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DeviceError, match="neither a block device nor a file"):
        open_device(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        open_device(tmp_path / "nothing")
    with pytest.raises(DeviceError, match="cannot be opened"):
        open_device(tmp_path)
