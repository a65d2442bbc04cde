# SPDX-License-Identifier: Apache-2.0
"""The storage port: every byte the agent keeps goes through these calls, so that every one of them can lose power.

What a power cut leaves behind (the contract both implementations keep):

- Bytes written but not synced may be there, be gone, or be there in part (in 512-byte sectors).
- A rename, removal or creation may be undone until ``sync_folder`` of its folder returns.
- A rename is atomic: before or after, never between.

Paths are relative, with ``/`` between their parts, and never leave the storage's root.
"""

from types import TracebackType
from typing import Protocol, Self

from surefoot.model.errors import DeviceError


class File(Protocol):
    """An open file; closing it does not sync it."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end of the file."""
        ...

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of ``data`` at ``offset``, growing the file if needed; ``SpaceError`` when the disk is full."""
        ...

    def truncate(self, size: int) -> None:
        """Cut or grow the file to ``size`` bytes."""
        ...

    def size(self) -> int:
        """Return the file's length in bytes."""
        ...

    def sync(self) -> None:
        """Return once the file's bytes and length survive a power cut."""
        ...

    def close(self) -> None:
        """Give the descriptor back."""
        ...

    def __enter__(self) -> Self:
        """Return the file itself."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file."""
        ...


class Storage(Protocol):
    """A folder that survives power cuts as the module's rules say."""

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> File:
        """Open a file for reading, and for writing too unless that is not asked for.

        Args:
            path: Where it is.
            create: Make an empty file (and its folders) when there is none.
            writable: Whether it will be written; what will not can be opened where nothing may be written.

        Raises:
            FileNotFoundError: There is no such file and ``create`` is false.
            SpaceError: There is no room for a new file.
        """
        ...

    def exists(self, path: str) -> bool:
        """Say whether there is a file at ``path``."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in ``folder``, sorted, without those of folders; none when there is no such folder."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, replacing what had it; atomic, durable after ``sync_folder``."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens when there is none."""
        ...

    def sync_folder(self, path: str) -> None:
        """Return once the names of the folder that holds ``path`` survive a power cut."""
        ...


def parts_of(path: str) -> list[str]:
    """Return the folders and the name of a storage path, in order.

    Raises:
        DeviceError: The path is empty, absolute, or could leave the root.
    """
    parts = path.split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise DeviceError(f"The path {path!r} leaves the agent's storage.", hint="Write it relative to the storage root, without '..'.")
    return parts


def read_file(storage: Storage, path: str) -> bytes | None:
    """Return all of a file, or ``None`` when there is none."""
    if not storage.exists(path):
        return None
    with storage.open(path, writable=False) as file:
        return file.read_at(0, file.size())


def replace_file(storage: Storage, path: str, data: bytes) -> None:
    """Make ``data`` the content of ``path``: a power cut leaves either the old content or the new, whole.

    Raises:
        SpaceError: There is no room; the old content is untouched.
    """
    draft = f"{path}.new"
    with storage.open(draft, create=True) as file:
        file.truncate(0)
        file.write_at(0, data)
        file.sync()
    storage.rename(draft, path)
    storage.sync_folder(path)
