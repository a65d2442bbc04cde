# SPDX-License-Identifier: Apache-2.0
"""The blob store port: immutable files addressed by their SHA-256.

- Write once: a digest that is there is never written again.
- A draft becomes a blob only when its bytes have the digest it was opened for; otherwise nothing is left behind.
- Reading a blob whole verifies it; ranges are served as they lie, ``verify`` is the way to check them.
- A blob found changed is put aside (quarantined): from then on it is not there, and may be written again.
"""

from typing import Protocol

from surefoot.model.digest import Digest


class Draft(Protocol):
    """A blob being written; ends with ``commit`` or ``discard``."""

    def append(self, piece: bytes) -> None:
        """Add bytes at the end.

        Raises:
            StoreError: The store is full or failed; the draft is gone.
        """
        ...

    def commit(self) -> None:
        """Make the draft the blob it was opened for; durable on return.

        Raises:
            DigestError: The bytes have another digest; the draft is gone.
            StoreError: The store is full or failed; the draft is gone.
        """
        ...

    def discard(self) -> None:
        """Forget the draft; nothing happens when it has already ended."""
        ...


class BlobStore(Protocol):
    """Blobs by digest, as the module's rules say. Every verb raises ``StoreError`` when the store itself fails."""

    def size(self, digest: Digest) -> int | None:
        """Return a blob's length in bytes, or ``None`` when it is not there."""
        ...

    def read(self, digest: Digest) -> bytes:
        """Return a whole blob, verified.

        Raises:
            UnknownError: It is not there.
            DigestError: It was changed; it is now quarantined.
        """
        ...

    def read_range(self, digest: Digest, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``, fewer only at the end; not hashed again.

        Raises:
            UnknownError: It is not there.
        """
        ...

    def verify(self, digest: Digest) -> None:
        """Hash a blob again, piece by piece; raises as ``read`` does."""
        ...

    def draft(self, digest: Digest) -> Draft:
        """Start writing the blob with this digest."""
        ...
