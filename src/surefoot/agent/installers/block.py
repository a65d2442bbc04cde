# SPDX-License-Identifier: Apache-2.0
"""What the system says of a block device, and whether that forbids writing an image over it.

The kernel has the last word: a device is opened with ``O_EXCL``, which it refuses for whatever is mounted or otherwise held,
so that nothing can get in between. What is asked before that only says *why*, and what to do.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from surefoot.model.errors import DeviceError, SlotBusyError, SlotMissingError, SlotReadOnlyError, WrongSlotError


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFacts:
    """What is known of a path that should be a block device.

    Attributes:
        exists: Whether there is anything at the path.
        is_block: Whether it is a block device.
        is_root: Whether the running system's root lies on it.
        mounted_at: Where it, or a part of it, is mounted; empty when it is not.
        held_by: What else uses it: swap, or the names of devices that are made of it; empty when nothing does.
        is_read_only: Whether the kernel calls it read-only.
    """

    exists: bool = False
    is_block: bool = False
    is_root: bool = False
    mounted_at: str = ""
    held_by: str = ""
    is_read_only: bool = False


def refusal(path: Path, facts: BlockFacts) -> DeviceError | None:
    """Return why no image may be written to ``path``, or nothing when one may."""
    if not facts.exists:
        return SlotMissingError(f"There is no device {path}.", hint="Name the slot's device in agent.toml, or look at its partition table.")
    if not facts.is_block:
        return WrongSlotError(f"{path} is not a block device.", hint="Name the slot's device in agent.toml.")
    if facts.is_root:
        return WrongSlotError(f"{path} is what the system runs from.", hint="Name the other slot's device in agent.toml.")
    if facts.mounted_at:
        return SlotBusyError(f"{path} is mounted at {facts.mounted_at}.", hint=f"Unmount {facts.mounted_at} for good.")
    if facts.held_by:
        return SlotBusyError(f"{path} is used by {facts.held_by}.", hint="Take it out of there, and let nothing use it again.")
    if facts.is_read_only:
        return SlotReadOnlyError(f"{path} is read-only.", hint="Look at its write protection ('blockdev --setrw', a switch, a worn chip).")
    return None


def facts_of(path: Path, system: Path = Path("/")) -> BlockFacts:
    """Ask the system about ``path``.

    Args:
        path: The device, or a link to it.
        system: Where ``proc`` and ``sys`` lie.
    """
    try:
        found = path.stat()
    except OSError:
        return BlockFacts()
    if not stat.S_ISBLK(found.st_mode):
        return BlockFacts(exists=True)
    number = _text(found.st_rdev)
    device = system / "sys/dev/block" / number
    family = {number, *_parts(device)}
    mounts = dict(_mounts(system))
    return BlockFacts(
        exists=True,
        is_block=True,
        is_root=_text(system.stat().st_dev) in family,
        mounted_at=next((mounts[one] for one in sorted(family) if one in mounts), ""),
        held_by=", ".join([*_swaps(system, family), *_names(device / "holders")]),
        is_read_only=_read(device / "ro").strip() == "1",
    )


def _text(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"


def _mounts(system: Path) -> Iterator[tuple[str, str]]:
    """Yield device number and place of each mount of the agent's namespace (``proc_pid_mountinfo(5)``)."""
    for line in _read(system / "proc/self/mountinfo").splitlines():
        words = line.split()
        yield words[2], words[4].replace("\\040", " ")


def _swaps(system: Path, family: set[str]) -> list[str]:
    used = (line.split()[0] for line in _read(system / "proc/swaps").splitlines()[1:])
    return ["swap" for path in used if (found := _number(Path(path))) and found in family]


def _number(path: Path) -> str:
    try:
        return _text(path.stat().st_rdev)
    except OSError:
        return ""


def _parts(device: Path) -> list[str]:
    """Return the numbers of a disk's partitions."""
    return [_read(part).strip() for part in sorted(device.glob("*/dev")) if (part.parent / "partition").exists()]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
