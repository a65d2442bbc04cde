# SPDX-License-Identifier: Apache-2.0
"""Real block devices: files behind the kernel's loop driver. Needs root, as ``make system`` does."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def loop_device(file: Path, size: int) -> Iterator[Path]:
    """Give a block device of ``size`` bytes, a multiple of 512, whose sectors lie in ``file``."""
    with file.open("ab") as grown:
        grown.truncate(size)
    device = _run("losetup", "--find", "--show", str(file)).strip()
    try:
        yield Path(device)
    finally:
        _run("losetup", "--detach", device)


@contextmanager
def mounted(device: Path, at: Path) -> Iterator[None]:
    """Mount the file system on ``device``, a new one if there is none."""
    # Not what ``blkid`` remembers of a loop device that was another file's a moment ago.
    if subprocess.run(["blkid", "--probe", str(device)], stdout=subprocess.DEVNULL, check=False).returncode != 0:
        _run("mkfs.ext4", "-q", "-F", str(device))
    at.mkdir(exist_ok=True)
    _run("mount", str(device), str(at))
    try:
        yield
    finally:
        _run("umount", str(at))


@contextmanager
def read_only(device: Path) -> Iterator[None]:
    """Let nothing write to ``device``."""
    _run("blockdev", "--setro", str(device))
    try:
        yield
    finally:
        _run("blockdev", "--setrw", str(device))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
