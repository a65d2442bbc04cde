# SPDX-License-Identifier: Apache-2.0
"""``size.py [--write]``: how large everything is that a bare install puts onto a device, and why it is there.

Sizes are of the files as installed here, without compiled Python; ``--write`` puts the table into ``docs/board.md``.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "board.md"
BEGIN, END = "<!-- Drawn by `make size`. -->", "<!-- Up to here. -->"

AGENT = frozenset({"agent", "cli", "model", "schedule", "trust", "__init__.py", "__main__.py", "py.typed"})
"""What of our own package an agent imports."""

WHY = {
    "cffi": ("`cryptography` reaches its library through it", "its compiler's part; only `_cffi_backend` is loaded"),
    "cryptography": ("keys, certificates, signatures; it carries its own OpenSSL", "nothing: it is one library"),
    "msgspec": ("reads and writes every file and message, strictly", "nothing"),
    "pycparser": ("`cffi` asks for it", "all of it: the agent never loads it"),
    "securesystemslib": ("which key signed what, for `tuf`", "signers of HSMs and key services, test vectors"),
    "semver": ("versions and their order", "nothing"),
    "tuf": ("the signed metadata, as the standard has it", "its own client"),
    "tzdata": ("time zones of maintenance windows", "all of it, where `/usr/share/zoneinfo` is there and kept up to date"),
    "urllib3": ("HTTPS", "what it has for browsers and proxies"),
}
"""Of each distribution: what it is there for, and what of it a small system could do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing that is installed; ``version`` is empty for what has none of its own."""

    name: str
    version: str
    size_bytes: int
    why: str
    spare: str


def parts() -> Iterator[Part]:
    """Give everything that a bare install brings onto this kind of machine, our own package first."""
    own = ROOT / "src" / "surefoot"
    yield Part(
        name="surefoot",
        version=distribution("surefoot").version,
        size_bytes=_size(own, lambda part: part in AGENT),
        why="the agent, its parts and its command",
        spare="nothing",
    )
    yield Part(
        name="surefoot, the rest",
        version="",
        size_bytes=_size(own, lambda part: part not in AGENT),
        why="server, simulator, console: one distribution for all, and never loaded by an agent",
        spare="all of it",
    )
    for name in names():
        found = distribution(name)
        files = [Path(str(found.locate_file(file))) for file in found.files or () if "__pycache__" not in file.parts]
        why, spare = WHY[name]
        yield Part(
            name=name, version=found.version, size_bytes=sum(file.stat().st_size for file in files if file.exists()), why=why, spare=spare
        )


def names() -> list[str]:
    """Return the distributions of the lock that this interpreter needs, sorted."""
    lines = (ROOT / "requirements" / "agent.lock").read_text().splitlines()
    wanted = [Requirement(line.rstrip("\\ ")) for line in lines if line and not line[0].isspace() and not line.startswith("#")]
    return sorted(each.name for each in wanted if each.marker is None or each.marker.evaluate())


def table(found: list[Part]) -> str:
    """Return the parts as a table in Markdown, with their sum."""
    rows = [f"| {part.name} | {part.version} | {_mb(part.size_bytes)} | {part.why} | {part.spare} |" for part in found]
    total = f"| **together** | | **{_mb(sum(part.size_bytes for part in found))}** | | |"
    return "\n".join(
        ["| what | version | MB | why it is there | what of it a board could do without |", "| --- | --- | --- | --- | --- |", *rows, total]
    )


def main() -> int:
    """Print the table, or write it into the page."""
    found = table(list(parts()))
    if sys.argv[1:] == ["--write"]:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{found}\n\n{END}{after}")
    else:
        sys.stdout.write(f"{found}\n")
    return 0


def _size(folder: Path, is_meant: Callable[[str], bool]) -> int:
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts and "assets" not in path.parts]
    return sum(path.stat().st_size for path in files if is_meant(path.relative_to(folder).parts[0]))


def _mb(size: int) -> str:
    return f"{size / 1_000_000:.1f}"


if __name__ == "__main__":
    sys.exit(main())
