# SPDX-License-Identifier: Apache-2.0
"""Archives with one form: the same files give the same bytes, and a file that is not of that form is not read.

The form is POSIX ustar without compression: regular files only, in the order of their names, mode 0644 (0755 for programs),
owner and group 0, time 0, then the end mark and zeros up to a multiple of 10,240 bytes. ``tar -xf`` reads it.
"""

import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from surefoot.model.errors import FormatError

MAX_FILE_BYTES = 8 * 1024**3 - 1
"""What the size field of a ustar header can say."""

PIECE_BYTES = 1 << 20
"""How much of a file is held in memory at a time."""

_FILE_MODE = 0o644
_PROGRAM_MODE = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of an archive.

    Attributes:
        name: At most 100 bytes of UTF-8.
        size: In bytes.
        offset: Where its content begins in the archive.
        is_program: Whether it may be executed.
    """

    name: str
    size: int
    offset: int = 0
    is_program: bool = False


def write_archive(archive: BinaryIO, members: Iterable[Member], pieces: Callable[[Member], Iterable[bytes]]) -> None:
    """Write an archive.

    Args:
        archive: Where to, from its beginning.
        members: What to put in; sorted here.
        pieces: Gives the content of a member, piece by piece.

    Raises:
        FormatError: A name or size does not fit a header, or a content is not as long as its member says.
    """
    end = 0
    for member in sorted(members, key=lambda member: member.name):
        archive.write(_header(member))
        written = sum(archive.write(piece) for piece in pieces(member))
        if written != member.size:
            raise FormatError(
                f"'{member.name}' was {member.size} bytes long and then {written}.", hint="Let nothing change it, and try again."
            )
        archive.write(bytes(-written % tarfile.BLOCKSIZE))
        end += tarfile.BLOCKSIZE + _padded(written)
    archive.write(_end_mark(end))


def read_members(archive: BinaryIO, *, file: str) -> Iterator[Member]:
    """Yield the members of an archive, without their content.

    Args:
        archive: An archive, seekable.
        file: Its name, for messages.

    Raises:
        FormatError: The file is not exactly of the one form; names the byte.
    """
    end, last = 0, ""
    while any(block := _read(archive, end, tarfile.BLOCKSIZE)):
        member = _parse_header(block, end, file)
        padding = _read(archive, member.offset + member.size, -member.size % tarfile.BLOCKSIZE)
        if member.name <= last or len(padding) != -member.size % tarfile.BLOCKSIZE or any(padding):
            raise _misformed(file, end)
        yield member
        end, last = member.offset + _padded(member.size), member.name
    if _read(archive, end, 2 * tarfile.RECORDSIZE) != _end_mark(end):
        raise _misformed(file, end)


def _header(member: Member) -> bytes:
    info = tarfile.TarInfo(member.name)
    info.size, info.mode = member.size, _PROGRAM_MODE if member.is_program else _FILE_MODE
    if len(member.name.encode()) > tarfile.LENGTH_NAME or member.size > MAX_FILE_BYTES:
        raise FormatError(f"'{member.name[:200]}' does not fit an archive.", hint="Names have at most 100 bytes, files less than 8 GiB.")
    return info.tobuf(tarfile.USTAR_FORMAT, encoding="utf-8", errors="strict")


def _padded(size: int) -> int:
    return size + -size % tarfile.BLOCKSIZE


def _end_mark(end: int) -> bytes:
    return bytes(2 * tarfile.BLOCKSIZE + -(end + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)


def _read(archive: BinaryIO, offset: int, size: int) -> bytes:
    archive.seek(offset)
    return archive.read(size)


def _parse_header(block: bytes, offset: int, file: str) -> Member:
    try:
        info = tarfile.TarInfo.frombuf(block, encoding="utf-8", errors="strict")
        member = Member(name=info.name, size=info.size, offset=offset + tarfile.BLOCKSIZE, is_program=info.mode == _PROGRAM_MODE)
        # What we would not have written we do not read: links, owners, times, extensions, other spellings of a number.
        if member.size >= 0 and _header(member) == block:
            return member
    except (tarfile.HeaderError, UnicodeDecodeError, FormatError) as error:
        raise _misformed(file, offset) from error
    raise _misformed(file, offset)


def _misformed(file: str, offset: int) -> FormatError:
    return FormatError(f"{file} is not an archive as surefoot writes it: see byte {offset}.", hint="Build or fetch it again.")
