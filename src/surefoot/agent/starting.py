# SPDX-License-Identifier: Apache-2.0
"""Which slot runs, and how the board, or only its application, is started again."""

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from surefoot.agent.boot.settings import LinkBoot
from surefoot.agent.boot.store import StateStore, start
from surefoot.agent.bootloader import open_link
from surefoot.agent.config import Config, RebootCommand
from surefoot.agent.health import Monitor
from surefoot.agent.home import STARTED
from surefoot.agent.runner import Restarted
from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.errors import BootError, DeviceError, FormatError
from surefoot.model.record import Record, from_newer_json, to_json
from surefoot.model.slot import SlotName, SlotState


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


def running_slot(config: Config, storage: Storage, folder: Path, environment: Mapping[str, str]) -> SlotName:
    """Return the slot that runs, without counting a start; ``BootError`` when nobody says so."""
    if isinstance(config.boot, LinkBoot):
        return open_link(config.boot, storage, folder).read().primary
    return booted_slot(environment)


class Started(Record, frozen=True, kw_only=True):
    """The file ``started.json``: ``slot`` is what the application was started from last in the boot ``boot``; nothing if nobody knows."""

    boot: str
    slot: SlotName | None = None


def started_slot(config: Config, storage: Storage, folder: Path, environment: Mapping[str, str], boot: str) -> SlotName:
    """Return the slot that runs; where the agent is the loader of an application, this is one more start of that.

    Args:
        config: The content of ``agent.toml``.
        storage: The agent's storage.
        folder: The folder of ``agent.toml``.
        environment: What may name the slot that booted.
        boot: How the system names this boot; empty where it does not.

    Raises:
        BootError: Nobody says which slot runs, or the command failed that starts what should run; or that reboots the board.
    """
    if not isinstance(config.boot, LinkBoot):
        return booted_slot(environment)

    def restart_it() -> None:
        run(config.reboot, folder)
        if config.reboot.restarts == "board":
            raise BootError("The link leads to what was not started yet, and the board reboots for it.", hint="It reboots by itself.")

    return start_application(open_link(config.boot, storage, folder), storage, boot, restart_it)


def start_application(store: StateStore, storage: Storage, boot: str, restart_it: Callable[[], None]) -> SlotName:
    """Choose a slot as its loader, and see that the application runs from it; return the slot.

    Where the link leads says what runs only until the link is moved. An agent that was stopped between that and the restart of the
    application finds its note, by which what should run was not started in this boot.

    Raises:
        BootError: The loader's state cannot be read or written, or ``restart_it`` failed; then the next start of the agent tries again.
    """
    before = store.read()
    noted = _noted(storage)
    if noted is None or noted.boot != boot:
        # As it came up the system started what the link led to; without any note, a release on trial may not have been started at all.
        is_known = noted is not None or before.slots[before.primary].state is not SlotState.TRYING
        noted = Started(boot=boot, slot=before.primary if is_known else None)
        _note(storage, noted)
    slot = start(store)
    # Whatever is noted, a program that ended by itself is started again by the system from where the link led.
    if slot is not before.primary or slot is not noted.slot:
        restart_it()
        _note(storage, Started(boot=boot, slot=slot))
    return slot


def restart(config: Config, storage: Storage, folder: Path, monitor: Monitor, boot: str) -> Restarted | None:
    """Start the board again, or its application alone; ``boot`` is how the system names this boot.

    Returns:
        Nothing when the board reboots; else the slot that the application was started from, and who looks after it: ``monitor``,
        which begins anew.

    Raises:
        BootError: The command failed.
    """
    if config.reboot.restarts == "board" or not isinstance(config.boot, LinkBoot):
        run(config.reboot, folder)
        return None

    def restart_it() -> None:
        monitor.begin_anew()
        run(config.reboot, folder)

    slot = restart_application(open_link(config.boot, storage, folder), storage, boot, restart_it)
    return Restarted(slot=slot, monitor=monitor)


def restart_application(store: StateStore, storage: Storage, boot: str, restart_it: Callable[[], None]) -> SlotName:
    """Choose a slot as its loader, start the application from it, and note that; return the slot; ``BootError`` when that fails."""
    slot = start(store)
    restart_it()
    _note(storage, Started(boot=boot, slot=slot))
    return slot


def run(reboot: RebootCommand, folder: Path) -> None:
    """Run the command that starts the board, or its application, again; ``BootError`` when it fails, or takes too long."""
    try:
        subprocess.run(reboot.command, cwd=folder, timeout=reboot.timeout_s, check=True, env=os.environ)
    except (OSError, subprocess.SubprocessError) as error:
        raise BootError(f"The reboot command failed: {error}.") from error


def _noted(storage: Storage) -> Started | None:
    try:
        data = read_file(storage, STARTED)
        return None if data is None else from_newer_json(data, Started, what=STARTED)
    except FormatError:
        return None


def _note(storage: Storage, started: Started) -> None:
    # A disk that is full keeps no agent from its work; the worst that comes of a note that is missing is one restart too many.
    with suppress(DeviceError):
        replace_file(storage, STARTED, to_json(started))


def _kernel_words() -> list[str]:
    try:
        return Path("/proc/cmdline").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []
