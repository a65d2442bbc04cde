# SPDX-License-Identifier: Apache-2.0
"""How an agent is put together on a real board: files, bootloader, server and clocks from ``agent.toml``.

Layout below the storage root: ``boot.json`` (of the backend ``file``), ``slots/a.img`` and ``slots/b.img`` (slots that are files), and
the agent's own ``data/``: ``journal``, ``trusted/``, ``identity/``, ``boot-said.json`` (of the backends ``rauc`` and ``custom``).
"""

import logging
import os
import secrets
import stat
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from surefoot.agent.admission import Board
from surefoot.agent.bootloader import open_bootloader
from surefoot.agent.config import Config, policy_of
from surefoot.agent.consent import put_off_until
from surefoot.agent.enrol import read_identity
from surefoot.agent.health import Monitor
from surefoot.agent.install import keep
from surefoot.agent.installer import open_installer
from surefoot.agent.installers.port import Installer
from surefoot.agent.interlock import inhibitors
from surefoot.agent.journal import Journal
from surefoot.agent.origin import read_origin
from surefoot.agent.posix import PosixStorage, SystemClock
from surefoot.agent.pulse import Unheard
from surefoot.agent.renewal import Renewal
from surefoot.agent.runner import Parts, Runner, factory_state
from surefoot.agent.state import State
from surefoot.agent.storage import Storage
from surefoot.agent.transport import HttpsServer
from surefoot.agent.trusted import TrustedStore
from surefoot.agent.watchdog import Keeper
from surefoot.model.errors import BootError, DigestError, InvalidInput
from surefoot.model.manifest import Manifest
from surefoot.model.record import from_json
from surefoot.model.slot import Installed, SlotName

DATA = "data"
JOURNAL = f"{DATA}/journal"
LOCK = f"{DATA}/lock"
SAID = f"{DATA}/boot-said.json"

_LOG = logging.getLogger("surefoot.agent")
_REBOOT_TIMEOUT_S = 30


def assemble(config: Config, folder: Path, environment: Mapping[str, str], keeper: Keeper | None = None) -> Runner:
    """Return an agent that is ready to run.

    Args:
        config: The content of ``agent.toml``.
        folder: The folder it lies in: relative paths and commands start there.
        environment: Environment variables: ``SUREFOOT_SLOT`` names the slot that booted, else the kernel's command line does;
            ``SUREFOOT_SERVER_OVERRIDE`` takes the place of the server's URL, for labs.
        keeper: Who kicks the watchdogs; nobody does when there is none.

    Raises:
        InvalidInput: The device is not enrolled, or a file it needs cannot be read.
        ConflictError: Another agent works on this device.
        BootError: Nobody says which slot booted, or the bootloader's state cannot be read.
        DigestError: The factory image is not what its manifest says.
        DeviceError: The agent's own files are damaged.
    """
    root = storage_root(config, folder)
    storage = PosixStorage(root)
    identity = read_identity(storage, root, DATA)
    storage.hold(LOCK)
    clock = keeper or SystemClock()
    journal = open_journal(storage)
    slot = booted_slot(environment)
    slots = open_installer(config.install, storage, folder, slot, config.storage.slot_capacity_bytes)
    boot = open_bootloader(config.boot, storage, folder, slot, SAID)
    if journal.state is None:
        journal.append(factory_state(_factory_release(folder / config.device.factory_manifest, slots, slot), slot, clock.now()))
    keep(boot, slot)
    server = HttpsServer(environment.get("SUREFOOT_SERVER_OVERRIDE", identity.device_url), identity.credentials)
    parts = Parts(
        device_id=config.device.id,
        agent_version=version("surefoot"),
        board=Board(
            hardware=config.device.hardware,
            bootloader_version=config.device.bootloader_version,
            slot_capacity_bytes=slots.capacity_bytes,
        ),
        journal=journal,
        trusted=TrustedStore(storage, f"{DATA}/trusted"),
        slots=slots,
        boot=boot,
        server=server,
        monitor=Monitor(config.trial.probes, clock, folder),
        clock=clock,
        reboot=lambda: _reboot(config.reboot.command, folder),
        renew=Renewal(storage, DATA, config.device.id, server, clock),
        policy=policy_of(config.trial, config.rollback),
        attributes=config.attributes,
        put_off_until=lambda: put_off_until(storage, DATA),
        inhibitors=lambda: inhibitors(storage, DATA),
        origin=read_origin(),
        pulse=keeper or Unheard(),
    )
    return Runner(parts, slot)


def storage_root(config: Config, folder: Path) -> Path:
    """Return the folder of everything that a board keeps.

    Raises:
        InvalidInput: There is none, or everybody may write there: then what the agent remembers is anybody's to forge.
    """
    root = folder / config.storage.root
    if not root.is_dir():
        raise InvalidInput(f"The storage root {root} is not a folder.", hint="Make it, or name another in agent.toml.")
    for path in (root, root / DATA):
        if path.is_dir() and path.stat().st_mode & stat.S_IWOTH:
            raise InvalidInput(f"Everybody may write in {path}.", hint=f"Run 'chmod o-w {path}'.")
    return root


def open_journal(storage: Storage) -> Journal[State]:
    """Return the agent's journal, started if there is none."""
    return Journal(storage, JOURNAL, State, new_id=lambda: secrets.token_hex(16))


def booted_slot(environment: Mapping[str, str]) -> SlotName:
    """Return the slot that booted: ``SUREFOOT_SLOT``, else ``surefoot.slot=`` on the kernel's command line.

    Raises:
        BootError: Neither names a slot. It is never guessed.
    """
    words = [f"surefoot.slot={environment['SUREFOOT_SLOT']}"] if "SUREFOOT_SLOT" in environment else _kernel_words()
    named = [word.removeprefix("surefoot.slot=") for word in words if word.startswith("surefoot.slot=")]
    if len(named) != 1 or named[0] not in list(SlotName):
        raise BootError(
            "Nobody says which slot booted.",
            hint="Set SUREFOOT_SLOT, or surefoot.slot=a or =b on the kernel's command line; a board of 'surefoot simulate board' does so.",
        )
    return SlotName(named[0])


def installed_from(manifest: Manifest) -> Installed:
    """Return the release that a manifest describes, as version rules will need to know it."""
    return Installed(
        product=manifest.product,
        version=manifest.version,
        build_id=manifest.build_id,
        release_counter=manifest.release_counter,
        hash=manifest.image.hash,
        size=manifest.image.size,
        data_format=manifest.data_format,
        revert_to=manifest.revert_to,
    )


def _kernel_words() -> list[str]:
    try:
        return Path("/proc/cmdline").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []


def _factory_release(path: Path, slots: Installer, slot: SlotName) -> Installed:
    try:
        manifest = from_json(path.read_bytes(), Manifest, what=str(path))
    except OSError as error:
        raise InvalidInput(f"The factory manifest {path} cannot be read: {error.strerror}.", hint="Flash the board again.") from error
    try:
        slots.verify(slot, manifest.image.size, manifest.image.hash)
    except DigestError as error:
        raise DigestError(f"The factory image is not what {path} says: {error.message}", hint="Flash the board again.") from error
    return installed_from(manifest)


def _reboot(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, timeout=_REBOOT_TIMEOUT_S, check=True, env=os.environ)
    except (OSError, subprocess.SubprocessError) as error:
        raise BootError(f"The reboot command failed: {error}.") from error
