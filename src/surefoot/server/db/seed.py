# SPDX-License-Identifier: Apache-2.0
"""The folder of metadata beside the database: read at the start, and kept as the database is.

The database is the truth, so that a release and its metadata are published in one transaction. What people put into ``metadata/``
(a fresh repository, a new root) is taken in at start by ``surefoot.server.services.trust_folder``.
"""

from collections.abc import Mapping
from pathlib import Path

from surefoot.model.errors import InvalidInput, StoreError
from surefoot.server.durable import write_durably

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
