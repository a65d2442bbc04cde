# SPDX-License-Identifier: Apache-2.0
"""From the table ``[install]`` to the installer it means."""

from pathlib import Path
from typing import assert_never

from surefoot.agent.clock import Clock
from surefoot.agent.installers.archive import SlotTrees
from surefoot.agent.installers.devices import SlotDevices, open_to_read
from surefoot.agent.installers.files import SlotFiles
from surefoot.agent.installers.folder import FolderTree
from surefoot.agent.installers.port import Installer
from surefoot.agent.installers.script import Executable, ScriptInstaller
from surefoot.agent.installers.settings import ArchiveInstall, Devices, Install, RaucInstall, RawInstall, ScriptInstall
from surefoot.agent.installers.staging import PATH, Staging
from surefoot.agent.posix import PosixStorage
from surefoot.model.errors import InvalidInput
from surefoot.model.slot import SlotName

NOTES = "data/installed"
SLOTS = {SlotName.A: "slots/a.img", SlotName.B: "slots/b.img"}


def open_installer(
    settings: Install, storage: PosixStorage, folder: Path, running: SlotName, *, capacity_bytes: int | None, clock: Clock
) -> Installer:
    """Return what fills the slots; nothing is opened yet.

    Args:
        settings: The table ``[install]``.
        storage: The agent's storage.
        folder: The folder of ``agent.toml``: relative paths start there.
        running: The slot that booted.
        capacity_bytes: How large an image may be; nothing leaves that to the slots' devices.
        clock: Counts the seconds of what takes long.

    Raises:
        InvalidInput: The installer needs an extra that is not installed.
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
        case RaucInstall():
            return _rauc(settings, storage, staging, clock)
        case ScriptInstall():
            return ScriptInstaller(Executable(settings.command, folder, settings.memory_bytes), storage, staging, NOTES, settings)
        case _ as never:
            assert_never(never)


def _rauc(settings: RaucInstall, storage: PosixStorage, staging: Staging, clock: Clock) -> Installer:
    try:
        # D-Bus is an extra of its own.
        from surefoot.agent.boot.raucbus import RaucBus  # noqa: PLC0415
        from surefoot.agent.installers.rauc import Check, RaucInstaller  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise InvalidInput(f"The installer rauc needs {error.name}.", hint="Install surefoot[rauc].") from error
    return RaucInstaller(
        RaucBus(timeout_s=settings.timeout_s),
        settings.names.by_slot(),
        storage,
        staging,
        lambda device: open_to_read(Path(device)),
        bundle=str(storage.path(PATH)),
        notes=NOTES,
        clock=clock,
        within_s=settings.install_timeout_s,
        check=Check(settings.check),
    )
