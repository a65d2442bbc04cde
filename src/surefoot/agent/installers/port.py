# SPDX-License-Identifier: Apache-2.0
"""The installer port: what the downloader and the runner ask of whatever fills a slot.

- A slot is bad at the bootloader before any verb that may write it is called (``surefoot.agent.install.prepare``).
- Every verb may be performed again after a power cut, ``install`` also when it had come to its end.
- What cannot be opened, written or read raises ``DeviceError`` of the kind that says why.
"""

from typing import Protocol

from surefoot.agent.storage import File
from surefoot.model.digest import Digest
from surefoot.model.slot import SlotName

_SLOT_S, _SLOWEST_BYTES_PER_S = 300.0, 500_000


def whole_slot_s(size: int) -> float:
    """Return how long it may take to fill or to read a slot with ``size`` bytes, on the slowest flash there is, in seconds."""
    return _SLOT_S + size / _SLOWEST_BYTES_PER_S


class Installer(Protocol):
    """Fills slots, and says what lies in them."""

    @property
    def capacity_bytes(self) -> int:
        """How large an image may be."""
        ...

    def writer(self, slot: SlotName) -> File:
        """Return the open file that a download for ``slot`` is written to; it belongs to the installer."""
        ...

    def install(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Make of the downloaded bytes what ``slot`` will run, durably; nothing is done where that is there already.

        Raises:
            DigestError: What was downloaded has not this length or digest.
            DeviceError: The slot cannot be filled.
        """
        ...

    def install_s(self, size: int) -> float:
        """Return how long ``install`` may take for an image of ``size`` bytes, in seconds; who takes longer hangs."""
        ...

    def verify(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Read ``slot`` back, from the medium as far as the system allows, and compare all of it with what was signed.

        Raises:
            DigestError: What lies there is something else.
            DeviceError: The slot cannot be read.
        """
        ...

    def running_digest(self, slot: SlotName, size: int) -> Digest:
        """Return the digest of the image of ``size`` bytes that lies in ``slot``; another one when anything of it was changed."""
        ...

    def read_s(self, size: int) -> float:
        """Return how long ``verify`` and ``running_digest`` may take each, likewise."""
        ...

    def close(self) -> None:
        """Give all descriptors back; the next use opens them anew."""
        ...
