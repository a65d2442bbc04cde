# SPDX-License-Identifier: Apache-2.0
"""The metadata a device has verified, one file per repository, so that a whole set becomes trusted in one rename."""

from collections.abc import Collection, Mapping
from typing import Literal

from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.errors import DeviceError, FormatError
from surefoot.model.record import from_json, to_json

Repository = Literal["director", "image"]


class TrustedStore:
    """Verified metadata by repository and file name.

    What is stored was verified by the caller and is given back byte for byte; nothing here judges it.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        """Keep one JSON file per repository in ``folder``."""
        self._storage = storage
        self._folder = folder

    def load(self, repository: Repository) -> dict[str, bytes]:
        """Return the files of ``repository`` by name; none when nothing was ever trusted.

        Raises:
            DeviceError: The file is damaged. It must not be taken for an empty one: that would forget which versions were
                seen, and let old metadata in again.
        """
        path = self._path(repository)
        data = read_file(self._storage, path)
        if data is None:
            return {}
        try:
            texts = from_json(data, dict[str, str], what=path)
        except FormatError as error:
            raise DeviceError(f"The trusted metadata is damaged: {error.message}", hint="Enrol the device again.") from error
        return {name: text.encode() for name, text in texts.items()}

    def save(self, repository: Repository, files: Mapping[str, bytes]) -> None:
        """Replace the files of ``repository`` by ``files``, durably and all at once; nothing is written when they are equal.

        Raises:
            SpaceError: There is no room; what was trusted before still is.
        """
        data = to_json({name: content.decode() for name, content in files.items()})
        path = self._path(repository)
        if read_file(self._storage, path) != data:
            replace_file(self._storage, path, data)

    def drop(self, repository: Repository, names: Collection[str]) -> None:
        """Keep the files of ``repository`` but for these, likewise; ``SpaceError`` when there is no room to write the rest."""
        self.save(repository, {name: data for name, data in self.load(repository).items() if name not in names})

    def _path(self, repository: Repository) -> str:
        return f"{self._folder}/{repository}.json"
