# SPDX-License-Identifier: Apache-2.0
"""The bare dependency set: what ``requirements/agent.lock`` names, and an interpreter that can import that and no more."""

import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

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


def _link_all(installed: Distribution, folder: Path) -> None:
    for first in sorted({file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}):
        (folder / first).symlink_to(str(installed.locate_file(first)))
