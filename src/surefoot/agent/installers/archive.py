# SPDX-License-Identifier: Apache-2.0
"""Archives: an application as a tree of files for each slot, unpacked beside the one that runs.

- The download waits in a file of its own, and is unpacked only once all of it is verified.
- What was unpacked is noted only when every byte and name of it is durable: the digest of the image, and that of the tree that
  it makes. The note lies with the agent's own files, where the application cannot write.
- A slot holds an image when its tree has, read back, the digest that was noted with that image. One changed byte, name or mode,
  one file more or fewer, and it does not.
- The other slot's tree is left alone: it is what there is to go back to.
"""

from collections.abc import Mapping

from surefoot.agent.installers.port import whole_slot_s
from surefoot.agent.installers.staging import Staging
from surefoot.agent.installers.tree import Tree, digest_on
from surefoot.agent.installers.unpack import unpack
from surefoot.agent.storage import File, Storage, read_file, replace_file
from surefoot.model.digest import Digest
from surefoot.model.errors import DigestError, FormatError
from surefoot.model.record import Record, Size, from_json, to_json
from surefoot.model.slot import SlotName


class Unpacked(Record, frozen=True, kw_only=True):
    """What was unpacked into a slot: an image of ``size`` bytes with the digest ``image``, which makes a tree with the digest ``tree``."""

    image: Digest
    size: Size
    tree: Digest


class SlotTrees:
    """The installer of archives: a tree for each slot."""

    def __init__(self, storage: Storage, staging: Staging, trees: Mapping[SlotName, Tree], notes: str) -> None:
        """Unpack from ``staging`` into ``trees``, and keep a note of each in the folder ``notes`` of ``storage``."""
        self._storage = storage
        self._staging = staging
        self._trees = dict(trees)
        self._notes = notes

    @property
    def capacity_bytes(self) -> int:
        """How large an archive may be, and what is in it."""
        return self._staging.capacity_bytes

    def writer(self, slot: SlotName) -> File:  # noqa: ARG002  # one file serves both
        """Return the open file that a download waits in."""
        return self._staging.file()

    def install(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Unpack what was downloaded into the slot's tree, unless it holds that already.

        Raises:
            DigestError: What was downloaded is not what was signed.
            ArchiveError: It is no archive, or something in it is not allowed.
            DeviceError: The tree cannot be written; ``SpaceError`` when there is no room.
        """
        if not self._holds(slot, size, digest):
            file = self._staging.verified(size, digest)
            if self._storage.exists(self._note(slot)):
                # The note goes first: a tree that is being changed is nobody's.
                self._storage.remove(self._note(slot))
                self._storage.sync_folder(self._note(slot))
            self._trees[slot].clear()
            tree = unpack(file, self._trees[slot], self.capacity_bytes)
            replace_file(self._storage, self._note(slot), to_json(Unpacked(image=digest, size=size, tree=tree)))
        self._staging.empty()

    def verify(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Read the tree back and compare it with what the signed image makes; ``DigestError`` when it is another."""
        if not self._holds(slot, size, digest):
            raise DigestError(f"The tree of slot {slot} is not what the signed {digest} makes.", hint="Download it again.")

    def running_digest(self, slot: SlotName, size: int) -> Digest:
        """Return the digest of the image that makes the tree of ``slot``; that of the tree when no image noted there does."""
        note, found = self._read(slot), digest_on(self._trees[slot])
        return note.image if note is not None and (note.size, note.tree) == (size, found) else found

    def install_s(self, size: int) -> float:
        """Implement ``Installer``."""
        return whole_slot_s(size)

    def read_s(self, size: int) -> float:
        """Implement ``Installer``."""
        return whole_slot_s(size)

    def close(self) -> None:
        """Give the descriptor back."""
        self._staging.close()

    def _holds(self, slot: SlotName, size: int, digest: Digest) -> bool:
        note = self._read(slot)
        if note is None or (note.image, note.size) != (digest, size):
            return False
        return digest_on(self._trees[slot]) == note.tree

    def _read(self, slot: SlotName) -> Unpacked | None:
        data = read_file(self._storage, self._note(slot))
        try:
            return None if data is None else from_json(data, Unpacked, what=self._note(slot))
        except FormatError:
            # Nobody knows what that tree is: it is unpacked again.
            return None

    def _note(self, slot: SlotName) -> str:
        return f"{self._notes}/{slot}.json"
