# SPDX-License-Identifier: Apache-2.0
"""A tree on simulated flash: each entry is one file, whose first line says what the entry is."""

import json
from collections.abc import Iterable, Iterator

from surefoot.agent.installers.tree import Entry, Kind
from surefoot.agent.storage import Storage
from surefoot.model.errors import DeviceError


class FlashTree:
    """A ``Tree`` below a folder of a flat storage; names are flattened, so that one folder holds them all."""

    def __init__(self, storage: Storage, root: str) -> None:
        self._storage = storage
        self._root = root

    def clear(self) -> None:
        for name in self._storage.names(self._root):
            self._storage.remove(f"{self._root}/{name}")
        self._storage.sync_folder(f"{self._root}/any")

    def add(self, entry: Entry, content: Iterable[bytes] = ()) -> None:
        path = self._path(entry.path)
        if self._storage.exists(path):
            raise DeviceError(f"{path} is there already.")
        with self._storage.open(path, create=True) as file:
            head = json.dumps([entry.kind, entry.mode, entry.target]).encode() + b"\n"
            file.write_at(0, head)
            at = len(head)
            for piece in content:
                file.write_at(at, piece)
                at += len(piece)
            file.sync()

    def sync(self) -> None:
        self._storage.sync_folder(f"{self._root}/any")

    def entries(self) -> Iterator[Entry]:
        for name in self._storage.names(self._root):
            head = self._read(name).partition(b"\n")[0]
            try:
                kind, mode, target = json.loads(head)
            except ValueError:
                kind, mode, target = Kind.OTHER, 0, head.decode("latin-1")
            yield Entry(path=name.replace("+", "/"), kind=Kind(kind), mode=mode, target=target)

    def content(self, path: str) -> Iterator[bytes]:
        yield self._read(path.replace("/", "+")).partition(b"\n")[2]

    def _read(self, name: str) -> bytes:
        with self._storage.open(f"{self._root}/{name}") as file:
            return file.read_at(0, file.size())

    def _path(self, path: str) -> str:
        return f"{self._root}/{path.replace('/', '+')}"


class FlashLink:
    """A ``Link`` on a flat storage: a small file that is replaced whole."""

    def __init__(self, storage: Storage, path: str = "current") -> None:
        self._storage = storage
        self._path = path

    def read(self) -> str | None:
        if not self._storage.exists(self._path):
            return None
        with self._storage.open(self._path) as file:
            return file.read_at(0, file.size()).decode()

    def point(self, target: str) -> None:
        draft = f"{self._path}.new"
        # As a real link has its target from the moment it is made, so has this: it is synced before it gets its name.
        with self._storage.open(draft, create=True) as file:
            file.truncate(0)
            file.write_at(0, target.encode())
            file.sync()
        self._storage.rename(draft, self._path)
        self._storage.sync_folder(self._path)
