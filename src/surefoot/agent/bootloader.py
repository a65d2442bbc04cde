# SPDX-License-Identifier: Apache-2.0
"""From the table ``[boot]`` to the bootloader it means."""

from pathlib import Path
from typing import assert_never

from surefoot.agent.boot.block import BlockStore
from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.custom import CustomLoader
from surefoot.agent.boot.efi import EfiBootControl
from surefoot.agent.boot.file import FileStore, file_control
from surefoot.agent.boot.grub import GrubStore
from surefoot.agent.boot.link import CURRENT, LinkStore
from surefoot.agent.boot.settings import BlockBoot, Boot, CustomBoot, EfiBoot, FileBoot, GrubBoot, LinkBoot, RaucBoot, UBootBoot
from surefoot.agent.boot.store import StoredBootControl
from surefoot.agent.boot.twostate import TwoStateBootControl, TwoStateLoader
from surefoot.agent.boot.uboot import UBootStore
from surefoot.agent.posix import PosixLink, PosixStorage, open_device
from surefoot.agent.storage import Storage
from surefoot.model.errors import InvalidInput
from surefoot.model.slot import SlotName


def open_bootloader(settings: Boot, storage: Storage, folder: Path, running: SlotName, note: str) -> BootControl:
    """Return the agent's side of a bootloader; nothing is read yet.

    Args:
        settings: The table ``[boot]``.
        storage: The agent's storage.
        folder: The folder of ``agent.toml``: relative paths and commands start there.
        running: The slot that booted.
        note: Where in ``storage`` lies what was said of slots, for loaders that cannot remember it.

    Raises:
        InvalidInput: The backend needs an extra that is not installed.
    """
    match settings:
        case FileBoot():
            return file_control(storage, settings.path)
        case BlockBoot():
            device = folder / settings.device
            return StoredBootControl(BlockStore(lambda: open_device(device), settings.offsets, str(device)))
        case UBootBoot():
            return StoredBootControl(UBootStore(str(folder / settings.config), timeout_s=settings.timeout_s))
        case GrubBoot():
            return StoredBootControl(GrubStore(folder / settings.path, timeout_s=settings.timeout_s))
        case EfiBoot():
            return EfiBootControl(PosixStorage(folder / settings.esp), running, prefix=settings.prefix, folder=settings.entries)
        case RaucBoot():
            return TwoStateBootControl(_rauc(settings), storage, running, note)
        case CustomBoot():
            loader = CustomLoader(settings.command, settings.names.by_slot(), folder=folder, timeout_s=settings.timeout_s)
            return TwoStateBootControl(loader, storage, running, note)
        case LinkBoot():
            return StoredBootControl(open_link(settings, storage, folder))
        case _ as never:
            assert_never(never)


def open_link(settings: LinkBoot, storage: Storage, folder: Path) -> LinkStore:
    """Return the state of an application's slots, for the agent as its loader."""
    return LinkStore(PosixLink(folder / settings.folder / CURRENT), FileStore(storage))


def _rauc(settings: RaucBoot) -> TwoStateLoader:
    try:
        from surefoot.agent.boot.rauc import RaucLoader  # noqa: PLC0415  # D-Bus is an extra of its own
    except ModuleNotFoundError as error:
        raise InvalidInput(f"The backend rauc needs {error.name}.", hint="Install surefoot[rauc].") from error
    return RaucLoader(settings.names.by_slot(), timeout_s=settings.timeout_s)
