# SPDX-License-Identifier: Apache-2.0
"""Slots as files: a raw image in a file of the agent's storage.

A slot is verified in the file that lies under its name when it is verified, where the bootloader will look for it, and not
in the one that was written: the two may be others by then.
"""

from collections.abc import Iterator, Mapping

from surefoot.agent.installers.port import whole_slot_s
from surefoot.agent.storage import File, Storage
from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import DigestError
from surefoot.model.slot import SlotName

_PIECE_BYTES = 64 * 1024


class SlotFiles:
    """The files behind the slots, each kept open until it is verified.

    Attributes:
        capacity_bytes: How large an image may be.
    """

    def __init__(self, storage: Storage, paths: Mapping[SlotName, str], capacity_bytes: int) -> None:
        """Use ``paths`` in ``storage``; no file is opened yet."""
        self.capacity_bytes = capacity_bytes
        self._storage = storage
        self._paths = dict(paths)
        self._files: dict[SlotName, File] = {}

    def writer(self, slot: SlotName) -> File:
        """Return the open file of ``slot``, made durably if there was none; it stays open and belongs to this object."""
        if slot not in self._files:
            path = self._paths[slot]
            is_new = not self._storage.exists(path)
            self._files[slot] = self._storage.open(path, create=True)
            if is_new:
                self._storage.sync_folder(path)
        return self._files[slot]

    def install(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Do nothing: what was downloaded lies in the slot."""

    def verify(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Read ``slot`` back and compare all of it with what was signed.

        Raises:
            DigestError: Its length or its bytes are others.
        """
        if slot in self._files:
            self._files.pop(slot).close()
        found_bytes = self.writer(slot).size()
        if found_bytes != size:
            raise DigestError(f"Slot {slot} holds {found_bytes} bytes and not the {size} that were signed.", hint=_AGAIN)
        found = self.running_digest(slot, size)
        if found != digest:
            raise DigestError(f"Slot {slot} holds {found} and not the signed {digest}.", hint=_AGAIN)

    def running_digest(self, slot: SlotName, size: int) -> Digest:
        """Return the digest of the first ``size`` bytes of ``slot``, or of all there is when it holds fewer."""
        return digest_of(pieces(self.writer(slot), size))

    def install_s(self, size: int) -> float:
        """Implement ``Installer``."""
        return whole_slot_s(size)

    def read_s(self, size: int) -> float:
        """Implement ``Installer``."""
        return whole_slot_s(size)

    def close(self) -> None:
        """Give all descriptors back; the next use opens them anew."""
        for file in self._files.values():
            file.close()
        self._files.clear()


def pieces(file: File, size: int) -> Iterator[bytes]:
    """Yield the first ``size`` bytes of ``file``, or all there are, a little at a time."""
    offset = 0
    while offset < size and (piece := file.read_at(offset, min(_PIECE_BYTES, size - offset))):
        yield piece
        offset += len(piece)


_AGAIN = "Download it again."
