# SPDX-License-Identifier: Apache-2.0
"""Where a boot came from: how the system names it, and whether the watchdog reset the board, as far as the kernel says."""

from dataclasses import dataclass
from pathlib import Path

from surefoot.agent.vitals import Reset

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
WATCHDOG = Path("/sys/class/watchdog/watchdog0")

_CARD_RESET = 0x0020
"""WDIOF_CARDRESET of linux/watchdog.h: of ``bootstatus``, the last reset was the watchdog's; of ``options``, the driver can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A boot: its id, empty where the system gives none, and what reset the board."""

    boot: str = ""
    reset: Reset = Reset.UNKNOWN


def read_origin(boot_id: Path = BOOT_ID, watchdog: Path = WATCHDOG) -> Origin:
    """Ask the kernel; what no watchdog driver can tell is unknown."""
    try:
        boot = boot_id.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        boot = ""
    return Origin(boot=boot, reset=_reset(watchdog))


def _reset(watchdog: Path) -> Reset:
    if _flags(watchdog / "bootstatus") & _CARD_RESET:
        return Reset.WATCHDOG
    # Software watchdogs, and some chips, always say that it was not them.
    return Reset.OTHER if _flags(watchdog / "options") & _CARD_RESET else Reset.UNKNOWN


def _flags(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii").strip(), 0)
    except (OSError, ValueError):
        return 0
