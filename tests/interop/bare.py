# SPDX-License-Identifier: Apache-2.0
"""The bare dependency set: what ``requirements/agent.lock`` names, and an interpreter that can import that and no more."""

import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement

from tests.interop.programs import SOURCES

LOCK = SOURCES / "requirements" / "agent.lock"
INTERPRETER = (sys.executable, "-S")
"""Python that knows nothing but its standard library and what ``PYTHONPATH`` names."""


def locked() -> dict[str, str]:
    """Return name and version of every distribution that an agent on this interpreter needs, by the lock file."""
    lines = [line.rstrip("\\ ") for line in LOCK.read_text().splitlines() if line and not line[0].isspace()]
    wanted = [Requirement(line) for line in lines if not line.startswith("#")]
    return {each.name: str(each.specifier).removeprefix("==") for each in wanted if each.marker is None or each.marker.evaluate()}


def link_bare(folder: Path) -> Path:
    """Fill a new folder with links to the locked distributions as they are installed here, and to our own sources.

    Nothing is fetched: this is the bare install as far as imports can tell.
    """
    folder.mkdir()
    for name in locked():
        _link_all(distribution(name), folder)
    own = distribution("surefoot")
    for info in {Path(str(own.locate_file(file.parts[0]))) for file in own.files or () if file.parts[0].endswith(".dist-info")}:
        (folder / info.name).symlink_to(info)
    (folder / "surefoot").symlink_to(SOURCES / "src" / "surefoot")
    return folder


def built_wheel() -> Path:
    """Return the wheel in ``dist/``, which must have been built from the sources as they are."""
    wheels = list((SOURCES / "dist").glob("surefoot-*.whl"))
    assert len(wheels) == 1, f"There are {len(wheels)} wheels in dist/: run 'make wheel' first."
    with ZipFile(wheels[0]) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if name.startswith("surefoot/")}
    sources = {str(path.relative_to(SOURCES / "src")): path.read_bytes() for path in shipped_files()}
    differing = sorted(name for name in packed.keys() | sources.keys() if packed.get(name) != sources.get(name))
    assert not differing, f"{wheels[0].name} was built from other sources: run 'make wheel' first."
    return wheels[0]


def shipped_files() -> Iterator[Path]:
    """Give every file of ours that a wheel holds."""
    package = SOURCES / "src" / "surefoot"
    # The console's assets are packed as they are bundled, in ui/static.
    unbundled = package / "server" / "ui" / "assets"
    for path in package.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and unbundled not in path.parents:
            yield path


def _link_all(installed: Distribution, folder: Path) -> None:
    for first in sorted({file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}):
        (folder / first).symlink_to(str(installed.locate_file(first)))
