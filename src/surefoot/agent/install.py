# SPDX-License-Identifier: Apache-2.0
"""Slots as files, and the order in which a bootloader is told of an installation.

- A slot is verified in the file that lies under its name when it is verified, where the bootloader will look for it, and not
  in the one that was written: the two may be others by then.
- A slot is made bad before its first byte changes, and on trial only after its bytes are verified and durable.
- A slot becomes primary after it is on trial, and another one becomes primary before it is bad: at no step does the
  bootloader find a primary that it cannot start.
- Every step may be performed again.
"""

from collections.abc import Iterator, Mapping

from surefoot.agent.boot.control import BootControl
from surefoot.agent.storage import File, Storage
from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import BootError, DigestError
from surefoot.model.slot import SlotName, SlotState

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
        return digest_of(_pieces(self.writer(slot), size))

    def close(self) -> None:
        """Give all descriptors back; the next use opens them anew."""
        for file in self._files.values():
            file.close()
        self._files.clear()


def prepare(boot: BootControl, slot: SlotName, running: SlotName) -> None:
    """Tell the bootloader that ``slot`` is about to be overwritten while ``running`` runs.

    Raises:
        BootError: ``slot`` is the running one, or the bootloader's state cannot be changed.
    """
    if slot is running:
        raise BootError(f"Slot {slot} is running and cannot be overwritten.", hint="Install into the other slot.")
    if boot.get_primary() is slot:
        boot.set_primary(running)
    boot.set_state(slot, SlotState.BAD)


def activate(boot: BootControl, slot: SlotName) -> None:
    """Let the next boot try ``slot``, whose bytes are verified and durable."""
    boot.set_state(slot, SlotState.TRYING)
    boot.set_primary(slot)


def commit(boot: BootControl, slot: SlotName) -> None:
    """Keep ``slot`` for good."""
    boot.set_state(slot, SlotState.GOOD)


def keep(boot: BootControl, running: SlotName) -> None:
    """Tell a bootloader that counts every start that the kept slot, which runs, has started well; nothing changes for others.

    A slot on trial, or one that was given up, is left as it is.
    """
    if boot.get_state(running) is SlotState.GOOD:
        boot.set_state(running, SlotState.GOOD)


def revert(boot: BootControl, from_: SlotName, to: SlotName) -> None:
    """Let the next boot start ``to``, and never ``from_`` again.

    Raises:
        BootError: ``to`` is bad: leaving ``from_`` would leave the board without a slot to start.
    """
    if boot.get_state(to) is SlotState.BAD:
        raise BootError(f"Slot {to} is bad: there is nothing to go back to from slot {from_}.", hint="Install a good release.")
    boot.set_primary(to)
    boot.set_state(from_, SlotState.BAD)


_AGAIN = "Download it again."


def _pieces(file: File, size: int) -> Iterator[bytes]:
    offset = 0
    while offset < size and (piece := file.read_at(offset, min(_PIECE_BYTES, size - offset))):
        yield piece
        offset += len(piece)
