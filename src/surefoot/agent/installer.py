# SPDX-License-Identifier: Apache-2.0
"""From the table ``[install]`` to the installer it means."""

from pathlib import Path
from typing import assert_never

from surefoot.agent.installers.archive import SlotTrees
from surefoot.agent.installers.devices import SlotDevices
from surefoot.agent.installers.files import SlotFiles
from surefoot.agent.installers.folder import FolderTree
from surefoot.agent.installers.port import Installer
from surefoot.agent.installers.settings import ArchiveInstall, Devices, Install, RawInstall
from surefoot.agent.installers.staging import Staging
from surefoot.agent.storage import Storage
from surefoot.model.slot import SlotName

NOTES = "data/installed"
SLOTS = {SlotName.A: "slots/a.img", SlotName.B: "slots/b.img"}


def open_installer(settings: Install, storage: Storage, folder: Path, running: SlotName, capacity_bytes: int | None) -> Installer:
    """Return what fills the slots; nothing is opened yet.

    Args:
        settings: The table ``[install]``.
        storage: The agent's storage.
        folder: The folder of ``agent.toml``: relative paths start there.
        running: The slot that booted.
        capacity_bytes: How large an image may be; nothing leaves that to the slots' devices.
    """
    staging = Staging(storage, capacity_bytes or 0)
    match settings:
        case RawInstall(devices=Devices() as devices):
            return SlotDevices(devices.by_slot(folder), running, capacity_bytes)
        case RawInstall():
            return SlotFiles(storage, SLOTS, capacity_bytes or 0)
        case ArchiveInstall():
            trees = {slot: FolderTree(folder / settings.folder / slot) for slot in SlotName}
            return SlotTrees(storage, staging, trees, NOTES)
        case _ as never:
            assert_never(never)
