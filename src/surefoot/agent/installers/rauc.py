# SPDX-License-Identifier: Apache-2.0
"""RAUC bundles: downloaded and verified by the agent, installed by RAUC, and read back by the agent.

- RAUC is handed a bundle only once all of it is what both repositories list. RAUC verifies its own signature besides.
- What it did is not taken on its word: it must have installed into the slot that was meant, say a digest of what it wrote, and
  that must be what lies on the device. Only then is it noted which bundle that came from.
- What runs is the noted bundle when the slot's bytes have, read anew, the noted digest, and RAUC's own status says the same. A
  root file system that is mounted writable changes its bytes: then RAUC's status alone must do (``Check.STATUS``).
- Who may start a slot, and which is first, is the agent's to say: RAUC must not activate what it installs.

A slot without a note was filled in the factory: its image is what its bytes are.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol

from surefoot.agent.boot.rauc import by_slot
from surefoot.agent.boot.raucbus import RaucSlot
from surefoot.agent.clock import Clock
from surefoot.agent.installers.files import pieces
from surefoot.agent.installers.port import whole_slot_s
from surefoot.agent.installers.staging import Staging
from surefoot.agent.storage import File, Storage, read_file, replace_file
from surefoot.model.digest import Digest, digest_of, from_hex
from surefoot.model.errors import DigestError, FormatError, InstallerError
from surefoot.model.record import Record, Size, from_json, to_json
from surefoot.model.slot import SlotName

_LOG = logging.getLogger("surefoot.agent")


class Check(StrEnum):
    """What says that a slot is as it was installed: its bytes, or RAUC's status alone."""

    BYTES = "bytes"
    STATUS = "status"


class Rauc(Protocol):
    """What is asked of RAUC; ``surefoot.agent.boot.raucbus.RaucBus`` is the real one. Each verb raises ``BootError``."""

    def call(self, verb: str, signature: str = "", body: tuple[object, ...] = ()) -> tuple[object, ...]:
        """Call a method of its D-Bus interface."""
        ...

    def slots(self) -> list[RaucSlot]:
        """Return the status of every slot."""
        ...

    def install(self, bundle: str, clock: Clock, within_s: float, progress: Callable[[int, str], None]) -> str:
        """Install a bundle, wait for the end of it, and return what went wrong."""
        ...


class Bundled(Record, frozen=True, kw_only=True):
    """What was installed into a slot: a bundle of ``size`` bytes with the digest ``image``, and what RAUC wrote of it."""

    image: Digest
    size: Size
    content: Digest
    content_size: Size


class RaucInstaller:
    """The installer of bundles."""

    def __init__(
        self,
        rauc: Rauc,
        names: Mapping[SlotName, str],
        storage: Storage,
        staging: Staging,
        open_slot: Callable[[str], AbstractContextManager[File]],
        *,
        bundle: str,
        notes: str,
        clock: Clock,
        within_s: float,
        check: Check = Check.BYTES,
    ) -> None:
        """Install what ``staging`` holds.

        Args:
            rauc: RAUC.
            names: The ``bootname`` of each slot in its ``system.conf``.
            storage: Where a note of each slot is kept, in the folder ``notes``.
            staging: Where the download waits.
            open_slot: Opens a device that RAUC names, to be read.
            bundle: The path of the staging file, as RAUC sees it.
            notes: A folder of ``storage``.
            clock: Counts the seconds.
            within_s: How long one installation may take.
            check: What says that a slot is as it was installed.
        """
        self._rauc = rauc
        self._names = dict(names)
        self._storage = storage
        self._staging = staging
        self._open_slot = open_slot
        self._bundle = bundle
        self._notes = notes
        self._clock = clock
        self._within_s = within_s
        self._check = check

    @property
    def capacity_bytes(self) -> int:
        """How large a bundle may be."""
        return self._staging.capacity_bytes

    def writer(self, slot: SlotName) -> File:  # noqa: ARG002  # one file serves both
        """Return the open file that a download waits in."""
        return self._staging.file()

    def install(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Let RAUC install what was downloaded, unless the slot holds that already.

        Raises:
            DigestError: What was downloaded is not what was signed.
            InstallerError: RAUC failed, took too long, installed elsewhere, or activated what it installed.
            BootError: RAUC cannot be reached.
            DeviceError: The download or the note cannot be read or written.
        """
        if not self._holds(slot, size, digest):
            self._staging.verified(size, digest)
            # RAUC takes no bundle that another program has open.
            self._staging.close()
            if self._storage.exists(self._note(slot)):
                self._storage.remove(self._note(slot))
                self._storage.sync_folder(self._note(slot))
            wrote = self._install(slot)
            note = Bundled(image=digest, size=size, content=from_hex(wrote.sha256), content_size=wrote.size)
            replace_file(self._storage, self._note(slot), to_json(note))
        self._staging.empty()

    def verify(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Read the slot back and compare it with what RAUC wrote of the signed bundle.

        Raises:
            DigestError: It holds something else; a slot from the factory: other bytes than the signed ones.
        """
        if self.running_digest(slot, size) != digest:
            if self._read(slot) is None:
                raise DigestError(f"Slot {slot} has no note of a bundle, and its bytes are not the signed {digest}.", hint=_WRITABLE)
            raise DigestError(f"Slot {slot} does not hold what RAUC wrote of the signed {digest}.", hint="Download it again.")

    def running_digest(self, slot: SlotName, size: int) -> Digest:
        """Return the digest of the bundle that the slot's content came from; that of the content when that is not what was noted."""
        note, status = self._read(slot), self._status(slot)
        if note is None:
            return self._content(status.device, size)
        found = note.content if self._check is Check.STATUS else self._content(status.device, note.content_size)
        if status.sha256 != note.content.removeprefix("sha256:") or status.status != "ok":
            # RAUC has written there since, or has begun to: what is noted is not what it knows of.
            return found
        return note.image if (found, size) == (note.content, note.size) else found

    def install_s(self, size: int) -> float:
        """Implement ``Installer``: the bundle is read, RAUC installs it, and what it wrote is read back."""
        return self._within_s + whole_slot_s(size)

    def read_s(self, size: int) -> float:
        """Implement ``Installer``."""
        return whole_slot_s(size)

    def close(self) -> None:
        """Give the descriptor back."""
        self._staging.close()

    def _holds(self, slot: SlotName, size: int, digest: Digest) -> bool:
        note = self._read(slot)
        return note is not None and note.image == digest and self.running_digest(slot, size) == digest

    def _install(self, slot: SlotName) -> RaucSlot:
        before = self._status(slot)
        failed = self._rauc.install(self._bundle, self._clock, self._within_s, _log)
        if failed:
            raise InstallerError(f"RAUC did not install the bundle: {failed:.300}.", hint=_LOOK)
        wrote = self._status(slot)
        if wrote.count == before.count or wrote.status != "ok" or len(wrote.sha256) != _HEX or wrote.size == 0:
            raise InstallerError(f"RAUC installed something, and not into slot {slot} ({wrote.name}).", hint=_ELSEWHERE)
        if self._rauc.call("GetPrimary") == (wrote.name,):
            raise InstallerError(f"RAUC made slot {slot} primary, which is the agent's to do.", hint=_ACTIVATES)
        return wrote

    def _status(self, slot: SlotName) -> RaucSlot:
        return by_slot(self._rauc.slots(), self._names)[slot]

    def _content(self, device: str, size: int) -> Digest:
        with self._open_slot(device) as file:
            return digest_of(pieces(file, size))

    def _read(self, slot: SlotName) -> Bundled | None:
        data = read_file(self._storage, self._note(slot))
        try:
            return None if data is None else from_json(data, Bundled, what=self._note(slot))
        except FormatError:
            # Nobody knows what lies there: it is installed again.
            return None

    def _note(self, slot: SlotName) -> str:
        return f"{self._notes}/{slot}.json"


def _log(percent: int, what: str) -> None:
    _LOG.info("RAUC: %d %% %s", percent, what)


_HEX = 64
_WRITABLE = "Mount the root that leaves the factory read-only: a file system that was mounted writable has other bytes."
_LOOK = "Look at 'journalctl -u rauc' on the device: its log says more."
_ELSEWHERE = "Let RAUC and agent.toml mean the same slot: compare 'rauc status' with SUREFOOT_SLOT and install.names."
_ACTIVATES = "Set activate-installed=false in [system] of RAUC's system.conf."
