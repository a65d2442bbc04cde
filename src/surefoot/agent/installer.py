# SPDX-License-Identifier: Apache-2.0
"""From the table ``[install]`` to the installer it means."""

from pathlib import Path

from surefoot.agent.installers.devices import SlotDevices
from surefoot.agent.installers.files import SlotFiles
from surefoot.agent.installers.port import Installer
from surefoot.agent.installers.settings import Install
from surefoot.agent.storage import Storage
from surefoot.model.slot import SlotName

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
    if settings.devices is not None:
        return SlotDevices(settings.devices.by_slot(folder), running, capacity_bytes)
    return SlotFiles(storage, SLOTS, capacity_bytes or 0)
