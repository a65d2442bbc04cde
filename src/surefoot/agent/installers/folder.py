# SPDX-License-Identifier: Apache-2.0
"""Trees in a real folder. No symbolic link is followed on the way to anything, so that nothing lands outside of the tree."""

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from surefoot.agent.installers.tree import Entry, Kind
from surefoot.model.errors import DeviceError, SpaceError

_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_OLD_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_PIECE_BYTES = 64 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EMLINK}
_MODE = 0o755


class FolderTree:
    """A tree in the folder ``root``, whose parent must exist."""

    def __init__(self, root: Path) -> None:
        """Use ``root``; nothing is made yet."""
        self._root = root

    def clear(self) -> None:
        """Make it an empty folder that everybody may enter, durably."""
        with _explained(self._root, "emptied"):
            if self._root.is_symlink() or self._root.is_file():
                self._root.unlink()
            elif self._root.exists():
                shutil.rmtree(self._root)
            self._root.mkdir()
            self._root.chmod(_MODE)
            for folder in (self._root, self._root.parent):
                _sync_folder(folder)

    def add(self, entry: Entry, content: Iterable[bytes] = ()) -> None:
        """Make an entry, with exactly its mode; ``DeviceError`` when it is there already or its folder is not."""
        with _explained(self._root / entry.path, "made"), self._parent(entry.path) as (folder, name):
            match entry.kind:
                case Kind.FOLDER:
                    os.mkdir(name, dir_fd=folder)
                    # ``mkdir`` heeds the umask.
                    os.chmod(name, entry.mode, dir_fd=folder)
                case Kind.LINK:
                    os.symlink(entry.target, name, dir_fd=folder)
                case Kind.FILE:
                    _write(os.open(name, _NEW_FILE, 0o600, dir_fd=folder), entry.mode, content)
                case Kind.OTHER:
                    raise OSError(errno.EINVAL, "neither file, folder nor link")

    def sync(self) -> None:
        """Return once every name in the tree survives a power cut."""
        with _explained(self._root, "synced"):
            for _, _, _, folder in os.fwalk(self._root, topdown=False, onerror=_raise):
                os.fsync(folder)
            _sync_folder(self._root.parent)

    def entries(self) -> Iterator[Entry]:
        """Yield all that is there; nothing when there is no such folder."""
        with _explained(self._root, "read"):
            if not self._root.is_dir():
                return
            for path, folders, files, folder in os.fwalk(self._root, onerror=_raise):
                for name in (*folders, *files):
                    yield _entry(str((Path(path) / name).relative_to(self._root)), name, folder)

    def content(self, path: str) -> Iterator[bytes]:
        """Yield the content of a file; what the system has cached of it is dropped first."""
        with _explained(self._root / path, "read"), self._parent(path) as (folder, name):
            descriptor = os.open(name, _OLD_FILE, dir_fd=folder)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                while piece := os.read(descriptor, _PIECE_BYTES):
                    yield piece
            finally:
                os.close(descriptor)

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        *folders, name = path.split("/")
        descriptor = os.open(self._root, _FOLDER)
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor, name
        finally:
            os.close(descriptor)


def _write(descriptor: int, mode: int, content: Iterable[bytes]) -> None:
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for piece in content:
            rest = memoryview(piece)
            while rest:
                rest = rest[file.write(rest) :]
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)


def _entry(path: str, name: str, folder: int) -> Entry:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        return Entry(path=path, kind=Kind.LINK, target=os.readlink(name, dir_fd=folder))
    if stat.S_ISDIR(found.st_mode):
        return Entry(path=path, kind=Kind.FOLDER, mode=mode)
    return Entry(path=path, kind=Kind.FILE if stat.S_ISREG(found.st_mode) else Kind.OTHER, mode=mode)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, _FOLDER & ~os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def _explained(path: Path, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise SpaceError(f"{path} cannot be {done}: no space is left.", hint="Free some space there.") from error
        raise DeviceError(f"{path} cannot be {done}: {error.strerror}.", hint="Look at the disk, and who changes that folder.") from error
