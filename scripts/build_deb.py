# SPDX-License-Identifier: Apache-2.0
"""``build_deb.py --out DIR``: the agent as a Debian package, with the locked wheels of its dependencies inside.

- Content: our wheel (``make wheel``) and the wheels of ``requirements/agent.lock``, by hash, unpacked as they are; the unit, a conffile,
  and the pages that an integrator needs.
- The same sources and ``SOURCE_DATE_EPOCH`` (else the last commit's time) give the same bytes, whoever builds, wherever and when.
- A package for another architecture or Python is put together the same way: nothing of it is run here.
"""

import argparse
import gzip
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
PACKAGING = ROOT / "packaging"
NAME = "surefoot-agent"
SITE = Path("usr/lib") / NAME
PAGES = Path("usr/share/doc") / NAME
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's architectures that all wheels are there for, and what wheels call them."""

PYTHON = "3.11"
"""The Python that the package runs on unless told otherwise: Debian 12's. Compiled wheels are for one."""

_LIBC = 36  # Debian 12 has glibc 2.36
_SHIPPED = {
    PAGES / "board.md": ROOT / "docs" / "board.md",
    PAGES / "formats.md": ROOT / "docs" / "formats.md",
    PAGES / "errors.md": ROOT / "docs" / "errors.md",
    PAGES / "examples" / "boot.cmd": ROOT / "integration" / "uboot" / "boot.cmd",
    PAGES / "examples" / "grub.cfg": ROOT / "integration" / "grub" / "grub.cfg",
    PAGES / "examples" / "openssl.cnf": ROOT / "integration" / "tpm2" / "openssl.cnf",
    Path("usr/share/lintian/overrides") / NAME: PACKAGING / "debian" / "lintian-overrides",
    Path("etc/surefoot/agent.toml"): PACKAGING / "debian" / "agent.toml",
    Path("lib/systemd/system/surefoot-agent.service"): PACKAGING / "systemd" / "surefoot-agent.service",
}
_SCRIPTS = ("postinst", "prerm", "postrm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a package is for: Debian's name of the processor, and the version of Python, ``MAJOR.MINOR``."""

    arch: str
    python: str


def main() -> int:
    """Build the package into a folder and say its name."""
    parser = argparse.ArgumentParser(description="Build the agent's Debian package.")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "dist", help="where the package and, unless --wheel says otherwise, our wheel is"
    )
    parser.add_argument("--wheel", type=Path, help="our wheel")
    parser.add_argument("--arch", choices=MACHINES, default=_own_arch(), help="Debian's name of the board's processor")
    parser.add_argument("--python", default=PYTHON, help="the board's Python")
    arguments = parser.parse_args()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _said("git", "-C", str(ROOT), "log", "-1", "--format=%ct"))
    wheel = arguments.wheel or next(arguments.out.glob("surefoot-*.whl"), None)
    if wheel is None:
        sys.stderr.write(f"There is no wheel in {arguments.out}: run 'make wheel' first.\n")
        return 2
    target = Target(arch=arguments.arch, python=arguments.python)
    with TemporaryDirectory() as name:
        wheels = [wheel, *fetch(Path(name) / "wheels", target)]
        package = build(Path(name) / "tree", wheels, target, epoch, arguments.out)
    sys.stdout.write(f"{package}\n")
    return 0


def fetch(folder: Path, target: Target) -> list[Path]:
    """Return the wheels that the lock names for the board, each with its hash; ``CalledProcessError`` when one is not to be had."""
    machine = MACHINES[target.arch]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(_LIBC, 16, -1)] + [f"manylinux2014_{machine}"]
    kind = ["--implementation", "cp", "--python-version", target.python, "--only-binary", ":all:", *(f"--platform={tag}" for tag in tags)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "download", "--no-deps", "--require-hashes"]
    subprocess.run([*pip, *kind, "-r", str(ROOT / "requirements" / "agent.lock"), "-d", str(folder)], check=True)
    return sorted(folder.glob("*.whl"))


def build(tree: Path, wheels: list[Path], target: Target, epoch: int, out: Path) -> Path:
    """Put the package together in a new folder ``tree`` and write it to ``out``; returns its path.

    Raises:
        ValueError: A wheel is not of the form that can be unpacked as it is.
        CalledProcessError: ``dpkg-deb`` fails.
    """
    for each in wheels:
        _unpack(each, tree / SITE)
    for place, source in _SHIPPED.items():
        _write(tree / place, source.read_bytes())
    for drop_in in (PACKAGING / "systemd" / "drop-ins").iterdir():
        _write(tree / PAGES / "examples" / "drop-ins" / drop_in.name, drop_in.read_bytes())
    _write(tree / "usr/bin/surefoot", (PACKAGING / "debian" / "surefoot").read_bytes(), 0o755)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    _write(tree / "usr/share/man/man1/surefoot.1.gz", _packed((PACKAGING / "debian" / "surefoot.1").read_bytes()))
    _write(tree / PAGES / "copyright", _copyright(wheels).encode())
    _write(tree / PAGES / "changelog.gz", _packed(_changelog(version, epoch).encode()))
    # Enrolment, which comes before the service first runs, finds it.
    _make(tree / "var/lib/surefoot", 0o700)
    _control(tree, version, target, wheels)
    out.mkdir(parents=True, exist_ok=True)
    package = out / f"{NAME}_{version}_{target.arch}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--threads-max=1", "--build", str(tree), str(package)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch)})
    return package


def _unpack(wheel: Path, site: Path) -> None:
    with ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            parts = Path(name).parts
            if name.startswith("/") or ".." in parts or parts[0].endswith(".data"):
                raise ValueError(f"{wheel.name} has {name}, which has no place in a folder of modules.")
            if not name.endswith("/"):
                _write(site / name, archive.read(name))


def _control(tree: Path, version: str, target: Target, wheels: list[Path]) -> None:
    major, minor = target.python.split(".")
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    sums = "".join(f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(tree)}\n" for path in files)
    words = {
        "VERSION": version,
        "ARCH": target.arch,
        "SIZE": str(sum(-(-path.stat().st_size // 1024) for path in files)),
        "LIBC": f"2.{_libc(wheels)}",
        "PYTHON": target.python,
        "NEXT_PYTHON": f"{major}.{int(minor) + 1}",
    }
    _write(tree / "DEBIAN/control", _filled("control.in", words).encode())
    _write(tree / "DEBIAN/conffiles", b"/etc/surefoot/agent.toml\n")
    _write(tree / "DEBIAN/md5sums", sums.encode())
    for script in _SCRIPTS:
        _write(tree / "DEBIAN" / script, (PACKAGING / "debian" / script).read_bytes(), 0o755)


def _libc(wheels: list[Path]) -> int:
    """Return the newest glibc, as the minor number of 2.x, that any wheel needs at least."""
    needed = [[int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", wheel.name)] for wheel in wheels]
    return max(min(minors) for minors in needed if minors)


def _copyright(wheels: list[Path]) -> str:
    bundled = "\n".join(" - {} {}".format(*wheel.name.split("-")[:2]) for wheel in wheels if not wheel.name.startswith("surefoot-"))
    return _filled("copyright.in", {"BUNDLED": bundled})


def _changelog(version: str, epoch: int) -> str:
    when = format_datetime(datetime.fromtimestamp(epoch, UTC))
    return f"{NAME} ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md of the project.\n\n -- {_maintainer()}  {when}\n"


def _maintainer() -> str:
    control = (PACKAGING / "debian" / "control.in").read_text()
    return next(line for line in control.splitlines() if line.startswith("Maintainer: ")).partition(": ")[2]


def _filled(template: str, words: dict[str, str]) -> str:
    text = (PACKAGING / "debian" / template).read_text()
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _packed(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    _make(path.parent, 0o755)
    path.write_bytes(data)
    path.chmod(mode)


def _make(folder: Path, mode: int) -> None:
    if folder.exists():
        return
    _make(folder.parent, 0o755)
    folder.mkdir()
    folder.chmod(mode)


def _own_arch() -> str:
    arch = _said("dpkg", "--print-architecture")
    return arch if arch in MACHINES else "amd64"


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
