# SPDX-License-Identifier: Apache-2.0
"""Slot images: a small Debian system with the real agent, in an ext4 file system that is never written; and the loader's flash.

A system is made once as a folder; each release differs from it in a few files.
"""

import gzip
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lab.layout import MIB, SLOT_BYTES
from lab.packages import PYTHON, ROOT
from lab.tools import LabError, run

GUEST = Path(__file__).parent / "guest"
BROKER = "10.0.2.100"
"""Where the board finds a message broker, or what passes for one: somebody who takes a connection."""

_LIBRARIES = "aarch64-linux-gnu"
_LEFT_OUT = ("ensurepip", "lib2to3", "idlelib", "turtledemo", "test", "tkinter", "pydoc_data", "distutils", "unittest", "sqlite3")
_DISK_MODULES = ("virtio_mmio", "virtio_blk", "crc32c_generic", "ext4")
_SYSTEM_MODULES = ("virtio_net", "virtio_rng", "softdog")
_FOLDERS = (
    "bin",
    "boot",
    "data",
    "dev",
    "etc/lab",
    "etc/surefoot",
    "lib",
    "opt/lab",
    "proc",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr/bin",
    "usr/lib",
)
_BLOCK_BYTES = 4096
_NOBODY = "10.0.2.101"
_SCRIPT_OFFSET = 0x40000
_FLASH_BYTES = 64 * 1024 * 1024


class Behaviour(StrEnum):
    """What a release does."""

    GOOD = "good"
    UNLOADABLE_KERNEL = "unloadable-kernel"
    NO_INIT = "no-init"
    CRASHES = "crashes"
    HANGS = "hangs"
    UNHEALTHY = "unhealthy"
    REBOOTS_LATER = "reboots-later"
    HANGS_LATER = "hangs-later"
    UNHEALTHY_LATER = "unhealthy-later"
    LOSES_BROKER = "loses-broker"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A system as a folder that slot images are made from."""

    folder: Path

    def write_image(self, path: Path, version: str, behaviour: Behaviour) -> None:
        """Write the slot image of one release; ``LabError`` when it does not fit a slot."""
        (self.folder / "etc/lab/version").write_text(f"{version}\n")
        (self.folder / "etc/lab/behaviour").write_text(f"{behaviour}\n")
        (self.folder / "etc/hosts").write_text(f"{_NOBODY if behaviour is Behaviour.LOSES_BROKER else BROKER} broker\n")
        settings = (GUEST / "agent.toml").read_text()
        if behaviour is Behaviour.HANGS_LATER:
            # A reset by softdog is a reboot too, and any reboot may have been softdog's, which cannot tell.
            settings = settings.replace("reboots = 3", "reboots = 20").replace("resets = 5", "resets = 2")
        (self.folder / "etc/surefoot/agent.toml").write_text(settings)
        path.unlink(missing_ok=True)
        with self._spoiled(behaviour):
            with path.open("wb") as file:
                file.truncate(self._needed_bytes())
            # U-Boot reads neither journals nor checksums of metadata.
            features = "^has_journal,^metadata_csum"
            run(
                [
                    "mke2fs",
                    "-q",
                    "-t",
                    "ext4",
                    "-b",
                    str(_BLOCK_BYTES),
                    "-i",
                    "16384",
                    "-O",
                    features,
                    "-m",
                    "0",
                    "-E",
                    "root_owner=0:0",
                    "-d",
                    self.folder,
                    path,
                ]
            )

    def _needed_bytes(self) -> int:
        """Return how large a file system must be: whole blocks, inodes, and a little; an image need not fill its slot."""
        files = [path for path in self.folder.rglob("*") if not path.is_symlink()]
        blocks = sum(-(-path.stat().st_size // _BLOCK_BYTES) for path in files)
        needed = (blocks + len(files) // 8) * _BLOCK_BYTES + 2 * MIB
        if needed > SLOT_BYTES:
            raise LabError(f"A system of {needed} bytes does not fit a slot of {SLOT_BYTES}.")
        return needed

    @contextmanager
    def _spoiled(self, behaviour: Behaviour) -> Iterator[None]:
        kernel, init = self.folder / "boot/vmlinuz", self.folder / "sbin/init"
        match behaviour:
            case Behaviour.UNLOADABLE_KERNEL:
                spoiled, content = kernel, b"this is no kernel\n" * 1000
            case Behaviour.NO_INIT:
                spoiled, content = init, b""
            case _:
                yield
                return
        aside = self.folder.parent / "aside"
        spoiled.rename(aside)
        if content:
            spoiled.write_bytes(content)
        try:
            yield
        finally:
            aside.rename(spoiled)


def make_system(folder: Path, packages: Path, kernel: str, site: Path) -> System:
    """Make the system in ``folder``, anew.

    Args:
        folder: Where.
        packages: The unpacked Debian packages.
        kernel: The kernel's version.
        site: What the interpreter imports the agent from.

    Raises:
        LabError: A tool failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    _copy_python(folder, packages)
    shutil.copytree(site, folder / "opt/surefoot", ignore=shutil.ignore_patterns("test_data"))
    _compile(folder)
    shutil.copy(packages / "bin/busybox", folder / "bin/busybox")
    for name in _APPLETS:
        (folder / "bin" / name).symlink_to("busybox")
    for name, target in (
        ("init", "sbin/init"),
        ("sitecustomize.py", "opt/surefoot/sitecustomize.py"),
        ("self-test", "opt/lab/self-test"),
    ):
        shutil.copy(GUEST / name, folder / target)
        (folder / target).chmod(0o755)
    # U-Boot's booti unpacks it; a third of the image would be the kernel otherwise.
    (folder / "boot/vmlinuz").write_bytes(gzip.compress((packages / f"boot/vmlinuz-{kernel}").read_bytes(), mtime=0))
    in_initramfs = _modules(packages, kernel, _DISK_MODULES)
    _copy_modules(
        [each for each in _modules(packages, kernel, _SYSTEM_MODULES) if each not in in_initramfs], folder / "lib/modules-to-load"
    )
    _make_initramfs(folder.parent / "initramfs", packages, in_initramfs, folder / "boot/initrd")
    return System(folder=folder)


def write_flash(path: Path, folder: Path) -> None:
    """Write the second flash of the board: U-Boot's environment, and behind it our boot script as an image."""
    environment, script = folder / "uboot-env.bin", folder / "boot.scr"
    run(["mkenvimage", "-s", hex(_SCRIPT_OFFSET), "-o", environment, GUEST / "uboot.env"])
    run(["mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-d", ROOT / "integration/uboot/boot.cmd", script])
    path.write_bytes((environment.read_bytes() + script.read_bytes()).ljust(_FLASH_BYTES, b"\0"))


_APPLETS = (
    "cat",
    "cp",
    "dd",
    "echo",
    "grep",
    "ifconfig",
    "insmod",
    "kill",
    "ls",
    "mkdir",
    "mount",
    "pidof",
    "ps",
    "reboot",
    "rm",
    "route",
    "sh",
    "sleep",
    "sync",
    "tee",
    "test",
    "touch",
    "tr",
)


def _copy_python(folder: Path, packages: Path) -> None:
    shutil.copytree(packages / "lib" / _LIBRARIES, folder / "lib" / _LIBRARIES, symlinks=True)
    shutil.copy(packages / "lib/ld-linux-aarch64.so.1", folder / "lib", follow_symlinks=False)
    libraries = folder / "usr/lib" / _LIBRARIES
    libraries.mkdir()
    for library in (packages / "usr/lib" / _LIBRARIES).glob("*.so*"):
        shutil.copy(library, libraries, follow_symlinks=False)
    left_out = shutil.ignore_patterns(*_LEFT_OUT, "__pycache__")
    shutil.copytree(packages / f"usr/lib/python{PYTHON}", folder / f"usr/lib/python{PYTHON}", symlinks=True, ignore=left_out)
    shutil.copy(packages / f"usr/bin/python{PYTHON}", folder / "usr/bin")
    (folder / "usr/bin/python3").symlink_to(f"python{PYTHON}")


def _compile(folder: Path) -> None:
    """Put byte code in the place of sources, which saves the board seconds at each start, if this interpreter makes the same."""
    if sys.version_info[:2] != tuple(map(int, PYTHON.split("."))):
        return
    places = [folder / f"usr/lib/python{PYTHON}", folder / "opt/surefoot"]
    run([sys.executable, "-m", "compileall", "-q", "-b", "-s", folder, "--invalidation-mode", "unchecked-hash", *places])
    for place in places:
        for source in place.rglob("*.py"):
            source.unlink()


def _modules(packages: Path, kernel: str, names: tuple[str, ...]) -> list[Path]:
    """Return the files of modules and of what they need, in the order in which they load."""
    found: dict[str, None] = {}
    for name in names:
        for line in run(["modprobe", "-d", packages, "-S", kernel, "--show-depends", name]).splitlines():
            if line.startswith("insmod "):
                found[line.removeprefix("insmod ").strip()] = None
    return [Path(each) for each in found]


def _copy_modules(modules: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for place, module in enumerate(modules):
        shutil.copy(module, folder / f"{place:02}-{module.name}")


def _make_initramfs(folder: Path, packages: Path, modules: list[Path], path: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "dev", "newroot", "proc"):
        (folder / name).mkdir(parents=True)
    shutil.copy(packages / "bin/busybox", folder / "bin")
    (folder / "bin/sh").symlink_to("busybox")
    _copy_modules(modules, folder / "lib")
    shutil.copy(GUEST / "initramfs-init", folder / "init")
    (folder / "init").chmod(0o755)
    run(["sh", "-c", f"find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 | gzip -9n > '{path}'"], folder=folder)
