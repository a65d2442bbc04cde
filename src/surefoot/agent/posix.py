# SPDX-License-Identifier: Apache-2.0
"""The agent's edge to the operating system: a real folder as its storage, and the system's clocks.

- Nothing is followed: a symbolic link anywhere below the root is refused, so that nobody who can write there can send the
  agent's writes elsewhere.
- Files are 0600 and folders 0700, whatever the umask allows beyond that.
- A folder made on the way is synced into its parent at once; names of files are durable after ``sync_folder`` only.
"""

import errno
import fcntl
import os
import stat
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from surefoot.agent.storage import parts_of
from surefoot.model.errors import ConflictError, DeviceError, SpaceError

_FILE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY
_FULL = {errno.ENOSPC, errno.EDQUOT}
_LINK = {errno.ELOOP, errno.ENOTDIR}


class PosixFile:
    """An open file of a ``PosixStorage``."""

    def __init__(self, path: str, descriptor: int) -> None:
        """Take over ``descriptor``; ``path`` is only for messages."""
        self._path = path
        self._descriptor = descriptor

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end of the file."""
        pieces: list[bytes] = []
        with _explained(self._path, "read"):
            while size > 0 and (piece := os.pread(self._descriptor, size, offset)):
                pieces.append(piece)
                offset += len(piece)
                size -= len(piece)
        return b"".join(pieces)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of ``data`` at ``offset``; ``SpaceError`` when the disk or the quota is full."""
        rest = memoryview(data)
        with _explained(self._path, "written"):
            while rest:
                written = os.pwrite(self._descriptor, rest, offset)
                offset += written
                rest = rest[written:]

    def truncate(self, size: int) -> None:
        """Cut or grow the file to ``size`` bytes."""
        with _explained(self._path, "truncated"):
            os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        """Return the file's length in bytes."""
        with _explained(self._path, "measured"):
            # A block device has a length too, and fstat does not say it.
            return os.lseek(self._descriptor, 0, os.SEEK_END)

    def mode(self) -> int:
        """Return what kind of file it is, as ``stat`` says it."""
        return os.fstat(self._descriptor).st_mode

    def sync(self) -> None:
        """Return once the file's bytes and length survive a power cut."""
        with _explained(self._path, "synced"):
            os.fsync(self._descriptor)
            # What is read back comes from the medium then, and a download does not push the device's own work out of memory.
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file."""
        self.close()


class PosixStorage:
    """A real folder as the agent's storage.

    Every call but those of an open file raises ``FileNotFoundError`` for what is not there, ``SpaceError`` for a full disk,
    and ``DeviceError`` for a path that leaves the root, a symbolic link, and whatever else the system refuses.
    """

    def __init__(self, root: Path) -> None:
        """Keep everything below ``root``, which must exist and may itself be reached through a link."""
        self._root = root

    def path(self, path: str) -> Path:
        """Return where ``path`` lies in the file system, for another program that is to read it."""
        return self._root.resolve().joinpath(*parts_of(path))

    def hold(self, path: str) -> None:
        """Keep other processes from holding the file ``path`` (made if there is none) for as long as this storage is used.

        Raises:
            ConflictError: Another process holds it.
            DeviceError: It cannot be made.
        """
        with _explained(path, "opened"), self._folder(path, create=True) as (folder, name):
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"Another agent works in {self._root}.", hint="Stop it first.") from error

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> PosixFile:
        """Open a regular file, making it and its folders when ``create`` is true."""
        flags = _FILE | (os.O_CREAT if create else 0) | (os.O_RDWR if writable else os.O_RDONLY)
        with _explained(path, "opened"), self._folder(path, create=create) as (folder, name):
            descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        file = PosixFile(path, descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise DeviceError(f"{path} is not a regular file.", hint="Remove it, or name another path in agent.toml.")
        return file

    def exists(self, path: str) -> bool:
        """Say whether there is a regular file at ``path``; ``DeviceError`` when a symbolic link is."""
        try:
            with _explained(path, "found"), self._folder(path) as (folder, name):
                mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISLNK(mode):
            raise _is_link(path)
        return stat.S_ISREG(mode)

    def names(self, folder: str) -> list[str]:
        """Return the names of the regular files in ``folder``, sorted; none when there is no such folder."""
        try:
            with _explained(folder, "listed"), self._folder(f"{folder}/.names") as (descriptor, _), os.scandir(descriptor) as entries:
                return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, replacing what had it; the folder of ``target`` must exist."""
        with _explained(source, "renamed"), self._folder(source) as (old, old_name), self._folder(target) as (new, new_name):
            os.rename(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens when there is none."""
        try:
            with _explained(path, "removed"), self._folder(path) as (folder, name):
                os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return

    def sync_folder(self, path: str) -> None:
        """Return once the names of the folder that holds ``path`` survive a power cut."""
        with _explained(path, "synced into its folder"), self._folder(path) as (folder, _):
            os.fsync(folder)

    @contextmanager
    def _folder(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        *folders, name = parts_of(path)
        # The root is the operator's choice and may be a link; nothing below it may.
        descriptor = os.open(self._root, _FOLDER & ~os.O_NOFOLLOW)
        try:
            for folder in folders:
                inner = _enter(descriptor, folder, create=create)
                os.close(descriptor)
                descriptor = inner
            yield descriptor, name
        finally:
            os.close(descriptor)


def open_device(path: Path) -> PosixFile:
    """Open a block device, or a regular file in its place, for reading and writing; links may lead to it.

    Raises:
        FileNotFoundError: There is none.
        DeviceError: It is something else, is read-only, or may not be opened.
    """
    with _explained(str(path), "opened"):
        file = PosixFile(str(path), os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    mode = file.mode()
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        file.close()
        raise DeviceError(f"{path} is neither a block device nor a file.", hint="Name another in agent.toml.")
    return file


class PosixLink:
    """A symbolic link, changed in one rename."""

    def __init__(self, path: Path) -> None:
        """Use the link ``path``, whose folder must exist."""
        self._path = path

    def read(self) -> str | None:
        """Return where it leads, or ``None`` when there is none; ``DeviceError`` when something else is in its place."""
        try:
            with _explained(str(self._path), "read"):
                return str(self._path.readlink())
        except FileNotFoundError:
            return None

    def point(self, target: str) -> None:
        """Let it lead to ``target``: before or after, never between, and durable on return; ``DeviceError`` when that fails."""
        draft = self._path.with_name(f"{self._path.name}.new")
        with _explained(str(self._path), "changed"):
            draft.unlink(missing_ok=True)
            draft.symlink_to(target)
            draft.rename(self._path)
            folder = os.open(self._path.parent, _FOLDER & ~os.O_NOFOLLOW)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class SystemClock:
    """The clocks of the machine."""

    def monotonic(self) -> float:
        """Return seconds since some fixed instant of this boot."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)

    def set(self, now: datetime) -> None:
        """Set the wall clock of the whole machine; ``DeviceError`` without the capability CAP_SYS_TIME."""
        try:
            time.clock_settime(time.CLOCK_REALTIME, now.timestamp())
        except OSError as error:
            raise DeviceError(f"The clock cannot be set: {error.strerror}.", hint="Give the agent CAP_SYS_TIME.") from error

    def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; at once when they are not positive."""
        if seconds > 0:
            time.sleep(seconds)


def _enter(parent: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    os.mkdir(name, 0o700, dir_fd=parent)
    os.fsync(parent)
    return os.open(name, _FOLDER, dir_fd=parent)


@contextmanager
def _explained(path: str, done: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise SpaceError(f"{path} cannot be {done}: no space is left.", hint="Free some space on the data partition.") from error
        if error.errno in _LINK:
            raise _is_link(path) from error
        if error.errno == errno.EROFS:
            raise DeviceError(f"{path} cannot be {done}: the data partition is read-only.", hint=_READ_ONLY) from error
        hint = _NOT_OURS if error.errno == errno.EACCES else "Check the device's disk."
        raise DeviceError(f"{path} cannot be {done}: {error.strerror}.", hint=hint) from error


_NOT_OURS = "Run this as root, as the agent: all its files are root's."
_READ_ONLY = "Mount it for writing; if it turned read-only by itself, its file system is damaged: see the kernel's log."


def _is_link(path: str) -> DeviceError:
    return DeviceError(f"{path} is, or goes through, a symbolic link or a file.", hint="Put the real folder or file in its place.")
