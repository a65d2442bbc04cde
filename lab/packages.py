# SPDX-License-Identifier: Apache-2.0
"""What the board's system is made of: Debian packages and Python wheels for arm64, fetched once and unpacked, never run here.

apt works in folders of its own, with the sources and keys of this machine: nothing is installed, and this machine learns of no
other architecture. The wheels are those of ``requirements/agent.lock``, by their hashes.
"""

import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from lab.tools import LabError, run

ROOT = Path(__file__).parents[1]
PYTHON = "3.11"
"""The interpreter in the board's system: Debian 12's."""

_KERNEL = "linux-image-cloud-arm64"
_PACKAGES = (
    "busybox-static",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    f"libpython{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libssl3",
    "libuuid1",
    f"python{PYTHON}-minimal",
    "zlib1g",
)


def fetch_system(cache: Path) -> tuple[Path, str]:
    """Return the folder of the unpacked packages below ``cache``, and the kernel's version; fetched if they are not there.

    Raises:
        LabError: apt finds them not; the lab needs a Debian 12 with package sources.
    """
    root, version_file = cache / "system", cache / "kernel-version"
    if root.is_dir() and version_file.exists():
        return root, version_file.read_text()
    apt = _apt(cache / "apt")
    run([*apt("apt-get"), "update", "-qq"])
    depends = run([*apt("apt-cache"), "depends", _KERNEL])
    found = re.search(r"linux-image-(\d\S+)", depends)
    if found is None:
        raise LabError(f"{_KERNEL} names no kernel; the lab needs the package sources of Debian 12.")
    debs, fresh = cache / "debs", cache / "system.new"
    for folder in (debs, fresh):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    run([*apt("apt-get"), "download", "-qq", found.group(), *_PACKAGES], folder=debs)
    for package in sorted(debs.iterdir()):
        run(["dpkg", "-x", package, fresh])
    run(["depmod", "-b", fresh, found.group(1)])
    fresh.rename(root)
    version_file.write_text(found.group(1))
    return root, found.group(1)


def fetch_agent(cache: Path, wheel: Path) -> Path:
    """Return a folder below ``cache`` with the locked dependencies for arm64 and our own ``wheel``, as an interpreter imports them."""
    lock = ROOT / "requirements" / "agent.lock"
    wheels = cache / "wheels"
    if not (wheels / "agent.lock").exists() or (wheels / "agent.lock").read_bytes() != lock.read_bytes():
        shutil.rmtree(wheels, ignore_errors=True)
        platforms = [word for tag in ("2014", "_2_28", "_2_34") for word in ("--platform", f"manylinux{tag}_aarch64")]
        run([*_PIP, "download", *platforms, *_TARGET, "--require-hashes", "-r", lock, "-d", wheels])
        shutil.copy(lock, wheels / "agent.lock")
    site = cache / "site"
    shutil.rmtree(site, ignore_errors=True)
    for each in (*sorted(wheels.glob("*.whl")), wheel):
        with zipfile.ZipFile(each) as archive:
            archive.extractall(site)
    return site


_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
_TARGET = ("--python-version", PYTHON, "--implementation", "cp", "--only-binary=:all:", "--no-deps")


def _apt(folder: Path) -> Callable[[str], list[str]]:
    for name in ("lists/partial", "cache/archives/partial", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Log": folder / "log",
    }
    words = [f"-o{name}={value}" for name, value in options.items()]
    return lambda program: [program, *words]
