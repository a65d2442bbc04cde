# SPDX-License-Identifier: Apache-2.0
"""Metadata that people put into the server's folder, taken into the database; and what the server made of it, put beside it.

The database is the truth, so that a release and its metadata are published in one transaction. A file in ``metadata/`` with a
higher version than the database's (a fresh repository, a new root) is taken in at start.
"""

from collections.abc import Mapping
from pathlib import Path

from surefoot.model.errors import InvalidInput, StoreError
from surefoot.server.durable import write_durably
from surefoot.server.services.ports import Ledger
from surefoot.trust.repository import versions

_REPOSITORIES = ("image", "director")


def read_folder(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return the files of both repositories in ``metadata/``, by repository and un-versioned name.

    Raises:
        InvalidInput: There are no repositories yet.
        StoreError: A file cannot be read.
    """
    missing = [name for name in _REPOSITORIES if not (folder / name / "root.json").is_file()]
    if missing:
        raise InvalidInput(
            f"There is no {folder / missing[0] / 'root.json'}.", hint=f"Run 'surefoot trust init' for {folder.parent} first."
        )
    try:
        return {name: {file.name: file.read_bytes() for file in sorted((folder / name).glob("*.json"))} for name in _REPOSITORIES}
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror}.", hint="Check the server's data folder.") from error


def take_in(ledger: Ledger, found: Mapping[str, Mapping[str, bytes]]) -> None:
    """Store the files that are newer than the stored ones.

    Raises:
        MetadataError: A file is no metadata.
    """
    for repository, files in found.items():
        current = {name: data for name, data in files.items() if not name.endswith(".root.json")}
        numbers = versions(current)
        known = ledger.metadata(repository).versions
        fresh = {name: data for name, data in current.items() if numbers[name] > known.get(name, 0)}
        ledger.put_metadata(repository, fresh, numbers)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put the image repository's files as stored back into ``metadata/image``, for the tools that read them there.

    Raises:
        StoreError: They cannot be written; the database has them all the same.
    """
    for name, data in files.items():
        path = folder / "image" / name
        try:
            if not path.exists() or path.read_bytes() != data:
                write_durably(path, data, 0o644)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}.", hint="Check the server's data folder.") from error
