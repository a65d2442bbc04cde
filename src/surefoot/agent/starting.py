# SPDX-License-Identifier: Apache-2.0
"""Which slot runs, and how the board, or only its application, is started again."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from surefoot.agent.boot.settings import LinkBoot
from surefoot.agent.boot.store import start
from surefoot.agent.bootloader import open_link
from surefoot.agent.config import Config
from surefoot.agent.health import Monitor
from surefoot.agent.runner import Restarted
from surefoot.agent.storage import Storage
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName

_REBOOT_TIMEOUT_S = 30


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


def started_slot(config: Config, storage: Storage, folder: Path, environment: Mapping[str, str]) -> SlotName:
    """Return the slot that runs; where the agent is the loader of an application, this is one more start of that."""
    if not isinstance(config.boot, LinkBoot):
        return booted_slot(environment)
    store = open_link(config.boot, storage, folder)
    before = store.read().primary
    slot = start(store)
    if slot is not before:
        # The system started what ``current`` led to, and that has no start left.
        run(config.reboot.command, folder)
    return slot


def restart(config: Config, storage: Storage, folder: Path, monitor: Monitor) -> Restarted | None:
    """Start the board again, or its application alone.

    Returns:
        Nothing when the board reboots; else the slot that the application was started from, and who looks after it: ``monitor``,
        which begins anew.

    Raises:
        BootError: The command failed.
    """
    if config.reboot.restarts == "board" or not isinstance(config.boot, LinkBoot):
        run(config.reboot.command, folder)
        return None
    slot = start(open_link(config.boot, storage, folder))
    monitor.begin_anew()
    run(config.reboot.command, folder)
    return Restarted(slot=slot, monitor=monitor)


def run(command: list[str], folder: Path) -> None:
    """Run the command that starts the board, or its application, again; ``BootError`` when it fails."""
    try:
        subprocess.run(command, cwd=folder, timeout=_REBOOT_TIMEOUT_S, check=True, env=os.environ)
    except (OSError, subprocess.SubprocessError) as error:
        raise BootError(f"The reboot command failed: {error}.") from error


def _kernel_words() -> list[str]:
    try:
        return Path("/proc/cmdline").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []
