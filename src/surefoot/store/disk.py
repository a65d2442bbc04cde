# SPDX-License-Identifier: Apache-2.0
"""Blobs in a folder: ``ab/<62 hex>``, drafts in ``drafts/``, changed ones in ``quarantine/``.

A blob appears by one rename after its bytes are on the disk, so a crash leaves either all of it or none.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp

from surefoot.model.digest import Digest, digest_of, from_hex, hex_of
from surefoot.model.errors import DigestError, StoreError, UnknownError

_PIECE_BYTES = 1 << 20


class DiskBlobs:
    """A ``BlobStore`` in one folder of a POSIX file system.

    Drafts that a crash left behind are removed when the store is opened; one process at a time may own the folder.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store in ``folder``, making it when there is none."""
        self._folder = folder
        with _store_errors("opened"):
            for name in ("drafts", "quarantine"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            for left_over in (folder / "drafts").iterdir():
                left_over.unlink()

    def size(self, digest: Digest) -> int | None:
        """Return a blob's length in bytes, or ``None`` when it is not there."""
        with _store_errors("read"):
            try:
                return self._path(digest).stat().st_size
            except FileNotFoundError:
                return None

    def read(self, digest: Digest) -> bytes:
        """Return a whole blob, verified; a changed one is quarantined."""
        with _store_errors("read"), self._open(digest) as descriptor:
            data = b"".join(_pieces(descriptor))
        self._judge(digest, digest_of(data))
        return data

    def read_range(self, digest: Digest, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; not hashed again."""
        with _store_errors("read"), self._open(digest) as descriptor:
            return os.pread(descriptor, size, offset)

    def verify(self, digest: Digest) -> None:
        """Hash a blob again, piece by piece; a changed one is quarantined."""
        with _store_errors("read"), self._open(digest) as descriptor:
            found = digest_of(_pieces(descriptor))
        self._judge(digest, found)

    def draft(self, digest: Digest) -> "DiskDraft":
        """Start writing the blob with this digest."""
        return DiskDraft(self._folder / "drafts", self._path(digest), digest)

    def _path(self, digest: Digest) -> Path:
        digits = hex_of(digest)
        return self._folder / digits[:2] / digits[2:]

    @contextmanager
    def _open(self, digest: Digest) -> Iterator[int]:
        try:
            descriptor = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError as error:
            raise UnknownError(f"There is no blob {digest}.") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _judge(self, digest: Digest, found: Digest) -> None:
        if found == digest:
            return
        with _store_errors("quarantined"):
            self._path(digest).replace(self._folder / "quarantine" / hex_of(digest))
        raise DigestError(f"Blob {digest} was changed in the store; it is now in quarantine.", hint="Publish its release again.")


class DiskDraft:
    """A ``Draft`` in the ``drafts`` folder of its store."""

    def __init__(self, drafts: Path, target: Path, digest: Digest) -> None:
        """Make an empty temporary file that ``commit`` moves to ``target``."""
        with _store_errors("written"):
            self._descriptor, name = mkstemp(dir=drafts)
        self._file = Path(name)
        self._target = target
        self._digest = digest
        self._sha256 = hashlib.sha256()
        self._is_open = True

    def append(self, piece: bytes) -> None:
        """Add bytes at the end."""
        with self._discarded_on_failure(), _store_errors("written"):
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._sha256.update(piece)

    def commit(self) -> None:
        """Make the draft the blob it was opened for; durable on return."""
        with self._discarded_on_failure():
            if from_hex(self._sha256.hexdigest()) != self._digest:
                raise DigestError(f"The bytes sent do not have the digest {self._digest}.", hint="Send the file again, whole.")
            with _store_errors("written"):
                self._publish()
        self.discard()

    def discard(self) -> None:
        """Forget the draft; nothing happens when it has already ended."""
        if self._is_open:
            self._is_open = False
            os.close(self._descriptor)
            self._file.unlink(missing_ok=True)

    def _publish(self) -> None:
        os.fchmod(self._descriptor, 0o644)
        os.fsync(self._descriptor)
        self._target.parent.mkdir(exist_ok=True)
        # A link, not a rename: it fails when the name is taken, so what is there is never replaced.
        with contextlib.suppress(FileExistsError):
            os.link(self._file, self._target)
        for folder in (self._target.parent, self._target.parent.parent):
            _sync_folder(folder)

    @contextmanager
    def _discarded_on_failure(self) -> Iterator[None]:
        try:
            yield
        except (StoreError, DigestError):
            self.discard()
            raise


@contextmanager
def _store_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"A blob could not be {what}: {error.strerror}.", hint="Check the disk of the server's data folder.") from error


def _pieces(descriptor: int) -> Iterator[bytes]:
    while piece := os.read(descriptor, _PIECE_BYTES):
        yield piece


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
