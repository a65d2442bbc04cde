# SPDX-License-Identifier: Apache-2.0
"""A bootloader whose state is one small file, for simulated boards and demos.

The file is replaced in one rename, so a power cut leaves the old state or the new one, whole. One copy is enough: only a
failing chip can make it unreadable, and then nobody knows which slot was verified.
"""

import zlib

from surefoot.agent.boot.state import BootState
from surefoot.agent.boot.store import StoredBootControl, start
from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.errors import BootError, DeviceError, FormatError
from surefoot.model.record import Record, from_json, to_json
from surefoot.model.slot import SlotName

DEFAULT_PATH = "boot.json"


class FileStore:
    """A ``StateStore`` in one file of the agent's storage."""

    def __init__(self, storage: Storage, path: str = DEFAULT_PATH) -> None:
        """Keep the state at ``path``."""
        self._storage = storage
        self._path = path

    def read(self) -> BootState:
        """Return the state; ``BootError`` when there is none or it is damaged."""
        return load(self._storage, self._path)

    def write(self, state: BootState) -> None:
        """Write the state durably and in one rename; ``BootError`` when that fails, and the old one still stands."""
        save(self._storage, state, self._path)


def file_control(storage: Storage, path: str = DEFAULT_PATH) -> StoredBootControl:
    """Return the agent's side of the state at ``path``."""
    return StoredBootControl(FileStore(storage, path))


def boot(storage: Storage, path: str = DEFAULT_PATH) -> SlotName:
    """Be the bootloader once: read the state, choose a slot, remember that it was started, and return it.

    Raises:
        BootError: The state cannot be read or written; nothing may be started.
    """
    return start(FileStore(storage, path))


def load(storage: Storage, path: str = DEFAULT_PATH) -> BootState:
    """Return the state that lies at ``path``; ``BootError`` when there is none or it is damaged."""
    try:
        data = read_file(storage, path)
    except DeviceError as error:
        raise BootError(f"The bootloader's state {path} cannot be read. {error.message}", hint=error.hint) from error
    if data is None:
        raise BootError(f"There is no bootloader state at {path}.", hint=_REFLASH)
    return _decode(data, path)


def save(storage: Storage, state: BootState, path: str = DEFAULT_PATH) -> None:
    """Make ``state`` what the bootloader finds, durably and in one rename; nothing is written when it already is.

    Raises:
        BootError: The state cannot be written; the old one still stands.
    """
    data = to_json(_Sealed(crc32=_seal(state), state=state))
    try:
        if read_file(storage, path) != data:
            replace_file(storage, path, data)
    except DeviceError as error:
        raise BootError(f"The bootloader's state {path} cannot be written. {error.message}", hint=error.hint) from error


_REFLASH = "Flash the board again."


class _Sealed(Record, frozen=True, kw_only=True):
    crc32: str
    state: BootState


def _seal(state: BootState) -> str:
    return f"{zlib.crc32(to_json(state)):08x}"


def _decode(data: bytes, path: str) -> BootState:
    try:
        sealed = from_json(data, _Sealed, what=path)
    except FormatError as error:
        raise BootError(f"The bootloader's state is damaged: {error.message}", hint=_REFLASH) from error
    if sealed.crc32 != _seal(sealed.state):
        raise BootError(f"The bootloader's state {path} is damaged: its checksum is wrong.", hint=_REFLASH)
    return sealed.state
