# SPDX-License-Identifier: Apache-2.0
"""A two-copy state block: where the loader can read and write sectors, and has nothing better to remember by.

- Two copies of 4 KiB lie at fixed offsets of a block device or file. Each is what U-Boot's ``env export -c`` writes: CRC-32
  of the rest (little-endian), then ``name=value`` strings, each ended by a zero byte, then zeros.
- ``BOOT_SEQ``, a hexadecimal number, says which copy is newer. A change overwrites the *older* copy, whole, and syncs: a
  power cut leaves the newer copy as it was, and the torn one has a wrong CRC.
- A copy that rots is taken for a torn one: the state goes back by one change. The order of changes in
  ``surefoot.agent.install`` is safe against that.
- Two copies with one number and different content, or a copy with a right CRC that makes no sense, raise ``BootError``:
  no cut leaves that behind.

``integration/uboot/boot.cmd`` is the loader's side for U-Boot.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from surefoot.agent.boot.state import BootState
from surefoot.agent.boot.variables import from_variables, to_variables
from surefoot.agent.storage import File
from surefoot.model.errors import BootError, DeviceError

COPY_BYTES = 4096
"""Length of a copy."""

SEQUENCE = "BOOT_SEQ"

MOST = 0x7FFF_FFFF
"""The highest sequence number: U-Boot's ``test`` compares signed numbers. One change a minute takes 4,000 years to get there."""

_CRC_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One copy with a right CRC; ``sequence`` is 0 or more."""

    sequence: int
    state: BootState


class BlockStore:
    """A ``StateStore`` in two copies."""

    def __init__(self, open_file: Callable[[], File], offsets: tuple[int, int], where: str) -> None:
        """Keep the state in the file that ``open_file`` opens, at two offsets in bytes; ``where`` is its name for messages."""
        self._open = open_file
        self._offsets = offsets
        self._where = where

    def read(self) -> BootState:
        """Return the newer copy's state; ``BootError`` when no copy can be read."""
        with _explained(self._where, "read"), self._open() as file:
            return self._newest(file)[1].state

    def write(self, state: BootState) -> None:
        """Overwrite the older copy and sync it; ``BootError`` when that fails, and the newer copy still stands."""
        with _explained(self._where, "written"), self._open() as file:
            newest, copy = self._newest(file)
            if copy.sequence >= MOST:
                raise BootError(f"The state block {self._where} has been changed too often.", hint="Write a new one.")
            file.write_at(self._offsets[1 - newest], encode(Copy(sequence=copy.sequence + 1, state=state)))
            file.sync()

    def _newest(self, file: File) -> tuple[int, Copy]:
        copies = [(decode(file.read_at(offset, COPY_BYTES), self._where), index) for index, offset in enumerate(self._offsets)]
        readable = [(index, copy) for copy, index in copies if copy is not None]
        if not readable:
            raise BootError(f"Neither copy of the state block {self._where} can be read.", hint=_NO_COPY)
        newest = max(readable, key=lambda one: one[1].sequence)
        if any(copy.sequence == newest[1].sequence and copy.state != newest[1].state for _, copy in readable):
            raise BootError(f"Both copies of the state block {self._where} have one number and say different things.", hint=_FOREIGN)
        return newest


def encode(copy: Copy) -> bytes:
    """Return the ``COPY_BYTES`` of a copy; they are the same for the same copy."""
    variables = {**to_variables(copy.state), SEQUENCE: f"{copy.sequence:x}"}
    text = b"".join(f"{name}={variables[name]}".encode() + b"\0" for name in sorted(variables)) + b"\0"
    data = text.ljust(COPY_BYTES - _CRC_BYTES, b"\0")
    return zlib.crc32(data).to_bytes(_CRC_BYTES, "little") + data


def decode(data: bytes, where: str) -> Copy | None:
    """Return the copy in ``data``, or ``None`` when it is torn: too short, or with a wrong CRC.

    Raises:
        BootError: Its CRC is right, and yet it makes no sense.
    """
    if len(data) != COPY_BYTES or int.from_bytes(data[:_CRC_BYTES], "little") != zlib.crc32(data[_CRC_BYTES:]):
        return None
    text, _, _ = data[_CRC_BYTES:].partition(b"\0\0")
    variables = dict(line.decode("utf-8", "replace").partition("=")[::2] for line in text.split(b"\0"))
    try:
        sequence = int(variables.get(SEQUENCE, ""), 16)
    except ValueError:
        sequence = -1
    if not 0 <= sequence <= MOST:
        raise BootError(f"The state block {where} says {SEQUENCE}={variables.get(SEQUENCE, '')!r:.40}.", hint=_FOREIGN)
    return Copy(sequence=sequence, state=from_variables(variables, f"The state block {where}"))


_NO_COPY = "Write the first one as docs/formats.md says, in 'Bootloaders'; flash a board anew that had one, and see what else writes there."
_FOREIGN = "Something else writes there. Check the offsets in agent.toml, then write the block anew."


@contextmanager
def _explained(where: str, done: str) -> Iterator[None]:
    try:
        yield
    except BootError:
        raise
    except FileNotFoundError as error:
        raise BootError(f"There is no state block {where}.", hint="Name the right device in agent.toml.") from error
    except DeviceError as error:
        raise BootError(f"The state block {where} cannot be {done}. {error.message}", hint=error.hint) from error
