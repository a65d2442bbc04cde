# SPDX-License-Identifier: Apache-2.0
"""A file that a download waits in, for installers that make something else of it than a copy.

It holds one image at a time, whichever slot that is for, and is emptied once the image is installed.
"""

from surefoot.agent.installers.files import pieces
from surefoot.agent.storage import File, Storage
from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import DigestError

PATH = "slots/staging.img"


class Staging:
    """The file, made when it is first written to and kept open until it is given back.

    Attributes:
        capacity_bytes: How large an image may be.
    """

    def __init__(self, storage: Storage, capacity_bytes: int, path: str = PATH) -> None:
        """Use ``path`` in ``storage``; nothing is opened yet."""
        self.capacity_bytes = capacity_bytes
        self._storage = storage
        self._path = path
        self._file: File | None = None

    def file(self) -> File:
        """Return the open file; it belongs to this object."""
        if self._file is None:
            is_new = not self._storage.exists(self._path)
            self._file = self._storage.open(self._path, create=True)
            if is_new:
                self._storage.sync_folder(self._path)
        return self._file

    def verified(self, size: int, digest: Digest) -> File:
        """Return the file under its name once all of it is what was signed; what is read of it afterwards is what was verified.

        Raises:
            DigestError: Its length or its bytes are others.
        """
        self.close()
        file = self.file()
        found_bytes = file.size()
        if found_bytes != size:
            raise DigestError(f"The download has {found_bytes} bytes and not the {size} that were signed.", hint=_AGAIN)
        found = digest_of(pieces(file, size))
        if found != digest:
            raise DigestError(f"The download has {found} and not the signed {digest}.", hint=_AGAIN)
        return file

    def empty(self) -> None:
        """Give the room back."""
        file = self.file()
        if file.size():
            file.truncate(0)
            file.sync()

    def close(self) -> None:
        """Give the descriptor back; the next use opens the file anew."""
        if self._file is not None:
            self._file.close()
            self._file = None


_AGAIN = "Download it again."
