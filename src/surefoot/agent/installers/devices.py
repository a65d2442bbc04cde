# SPDX-License-Identifier: Apache-2.0
"""Slots as block devices: a raw image from the first sector on.

- A device is never made, grown or cut. An image may be shorter than it; what lies behind the image means nothing.
- What is mounted, held, read-only, missing, or the running system is refused before a byte is written, and the kernel keeps
  everybody else from mounting the device while it is written.
- The slot that runs is opened for reading only, by whatever verb.
- An image is read back through the descriptor that wrote it, after the system was told to forget what it has cached of it,
  and only while the slot's name still leads to that device.
"""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from surefoot.agent.installers.block import BlockFacts, facts_of, refusal
from surefoot.agent.installers.files import pieces
from surefoot.agent.installers.port import whole_slot_s
from surefoot.agent.posix import PosixFile
from surefoot.agent.storage import File
from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import DeviceError, DigestError, SlotBusyError, SlotMissingError, SlotReadOnlyError, SpaceError, WrongSlotError
from surefoot.model.slot import SlotName

HEAD_BYTES = 4096
"""How much is overwritten of an image that is thrown away: no loader takes what is left for a system."""

READ = os.O_RDONLY | os.O_CLOEXEC
WRITE = os.O_RDWR | os.O_CLOEXEC | os.O_EXCL
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


class DeviceFile:
    """A block device as an open file: its length is fixed, and to empty it is to overwrite its head.

    Attributes:
        is_still_at_its_path: Says whether the path leads to this device, and not to one that has taken its place.
    """

    def __init__(self, path: Path, file: File, is_there: Callable[[], bool]) -> None:
        """Take over ``file``, which was opened at ``path``; ``is_there`` says whether the path still leads to it."""
        self._path = path
        self._file = file
        self.is_still_at_its_path = is_there

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end of the device."""
        return self._file.read_at(offset, size)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of ``data`` at ``offset``; ``SpaceError`` when it would reach over the end."""
        if offset + len(data) > self.size():
            raise SpaceError(f"{self._path} holds {self.size()} bytes.", hint="Order a release that fits this device.")
        self._file.write_at(offset, data)

    def truncate(self, size: int) -> None:
        """Overwrite the head when ``size`` is 0; else nothing: what lies behind an image means nothing."""
        if size == 0:
            self._file.write_at(0, bytes(min(HEAD_BYTES, self.size())))

    def size(self) -> int:
        """Return the device's length in bytes."""
        return self._file.size()

    def sync(self) -> None:
        """Return once the device's bytes survive a power cut, and the system has forgotten what it cached of them."""
        self._file.sync()

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the device itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the device."""
        self.close()


class SlotDevices:
    """The block devices behind the slots; the one that is written stays open, and held, until it is verified."""

    def __init__(
        self,
        paths: Mapping[SlotName, Path],
        running: SlotName,
        capacity_bytes: int | None = None,
        *,
        look: Callable[[Path], BlockFacts] = facts_of,
        open_: Callable[[Path, int], DeviceFile] | None = None,
    ) -> None:
        """Use ``paths``; no device is opened yet.

        Args:
            paths: The device of each slot, or links to them.
            running: The slot that runs.
            capacity_bytes: How large an image may be at most; nothing leaves that to the devices.
            look: What the system says of a path.
            open_: Opens a path with the flags ``READ`` or ``WRITE``; ``open_block`` where nothing else is given.
        """
        self._paths = dict(paths)
        self._running = running
        self._most_bytes = capacity_bytes
        self._look = look
        self._open = open_ or open_block
        self._written: dict[SlotName, DeviceFile] = {}

    @property
    def capacity_bytes(self) -> int:
        """How large an image may be: as long as the slot to write, or as agent.toml says if that is less.

        A device that cannot be measured is as large as any: why it cannot be opened is said when it is to be written.
        """
        most = [] if self._most_bytes is None else [self._most_bytes]
        try:
            with self._reader(self._running.other) as file:
                return min([file.size(), *most])
        except DeviceError:
            return min([2**63 - 1, *most])

    def writer(self, slot: SlotName) -> File:
        """Return the open device of ``slot``, which nobody else can mount while it is open; it belongs to this object.

        Raises:
            SlotMissingError: There is none.
            SlotBusyError: It is mounted, or used by something else.
            SlotReadOnlyError: It cannot be written.
            WrongSlotError: It is no block device, or it is what runs.
        """
        if slot is self._running:
            raise WrongSlotError(f"Slot {slot} is running and cannot be written.", hint="Install into the other slot.")
        if slot not in self._written:
            self._written[slot] = self._open_to_write(self._paths[slot])
        return self._written[slot]

    def install(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Do nothing: what was downloaded lies in the slot."""

    def verify(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Read ``slot`` back and compare the image with what was signed; the device is given back.

        A slot that does not run must not be in use either: what else uses it may change it behind the agent's back.

        Raises:
            DigestError: The bytes are others, or the device is shorter than the image.
            WrongSlotError: The slot's name leads to another device than the one that was written.
            DeviceError: It cannot be read.
        """
        if slot is not self._running:
            self.writer(slot)
        with self._written.pop(slot, None) or self._reader(slot) as file:
            if not file.is_still_at_its_path():
                raise WrongSlotError(f"{self._paths[slot]} is another device than the one that was written.", hint=_MOVED)
            found = digest_of(pieces(file, size))
        if found != digest:
            raise DigestError(f"Slot {slot} holds {found} and not the signed {digest}.", hint="Download it again.")

    def running_digest(self, slot: SlotName, size: int) -> Digest:
        """Return the digest of the first ``size`` bytes of ``slot``, or of all there is when it holds fewer."""
        with self._reader(slot) as file:
            return digest_of(pieces(file, size))

    def install_s(self, size: int) -> float:
        """Implement ``Installer``."""
        return whole_slot_s(size)

    def read_s(self, size: int) -> float:
        """Implement ``Installer``."""
        return whole_slot_s(size)

    def close(self) -> None:
        """Give all descriptors back; the next use opens them anew."""
        for file in self._written.values():
            file.close()
        self._written.clear()

    def _open_to_write(self, path: Path) -> DeviceFile:
        refused = refusal(path, self._look(path))
        if refused is not None:
            raise refused
        return self._open(path, WRITE)

    def _reader(self, slot: SlotName) -> DeviceFile:
        return self._open(self._paths[slot], READ)


def open_to_read(path: Path) -> DeviceFile:
    """Open a device to be read, whoever else uses it, and let the system forget what it has cached of it.

    Raises:
        SlotMissingError: There is none.
        DeviceError: It cannot be opened.
    """
    return open_block(path, READ)


_MOVED = "Let nothing rename devices while an update runs; name the slots by partition label or UUID."


def open_block(path: Path, flags: int) -> DeviceFile:
    """Open a device with the flags of ``open(2)``; what is read of it comes from the medium, and not from what is cached.

    Raises:
        SlotMissingError: There is none.
        SlotBusyError: It is mounted or held, and ``flags`` ask for it alone.
        SlotReadOnlyError: It cannot be opened for writing.
        DeviceError: It cannot be opened.
    """
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOMEDIUM}:
            raise SlotMissingError(f"There is no device {path}.", hint="Name the slot's device in agent.toml.") from error
        if error.errno == errno.EBUSY:
            raise SlotBusyError(f"{path} is used by something else.", hint="See 'lsblk' and 'mount', and take it out of there.") from error
        if error.errno in _READ_ONLY:
            raise SlotReadOnlyError(f"{path} cannot be written: {error.strerror}.", hint="Look at its write protection.") from error
        raise DeviceError(f"{path} cannot be opened: {error.strerror}.", hint="Check the device's disk.") from error
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return DeviceFile(path, PosixFile(str(path), descriptor), lambda: _leads_to(path, descriptor))


def _leads_to(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_rdev == os.fstat(descriptor).st_rdev
    except OSError:
        return False
