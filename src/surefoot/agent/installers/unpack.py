# SPDX-License-Identifier: Apache-2.0
"""What an archive may put into a tree: the rules, and the reader that holds it to them.

An archive is a plain tar (ustar, GNU or pax). It is signed, and yet it is taken for nothing but data:

- Files, folders and symbolic links; no hard links, devices or pipes, nothing set-user-id, set-group-id or sticky.
- Relative paths without ``..``, each once; a folder comes before what lies in it, or is made with mode 0755.
- A link leads to a relative path in the tree: ``..`` only at its beginning, and not above the tree.
- At most ``MOST_ENTRIES`` entries, ``capacity_bytes`` bytes in all, and no header of more than ``MOST_HEADER_BYTES``.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from typing import IO, cast

from surefoot.agent.installers.tree import Entry, Kind, Tree, line_of, tree_digest
from surefoot.agent.storage import File
from surefoot.model.digest import Digest
from surefoot.model.errors import ArchiveError, SpaceError

MOST_ENTRIES = 20_000
MOST_HEADER_BYTES = 1024 * 1024
MOST_PATH = 1024
FOLDER_MODE = 0o755

_PIECE_BYTES = 64 * 1024
_MODES = 0o777
_KINDS = {tarfile.REGTYPE: Kind.FILE, tarfile.AREGTYPE: Kind.FILE, tarfile.DIRTYPE: Kind.FOLDER, tarfile.SYMTYPE: Kind.LINK}


def unpack(file: File, tree: Tree, capacity_bytes: int, most_entries: int = MOST_ENTRIES) -> Digest:
    """Unpack a tar into an empty tree, and return the digest that the tree must have then.

    Raises:
        ArchiveError: It is no tar, something in it is not allowed, or it has too many entries; the tree holds what came before.
        SpaceError: Its content is larger than ``capacity_bytes``, or there is no room.
        DeviceError: The tree cannot be written.
    """
    lines: dict[str, str] = {}
    total = 0
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", _Reader(file)), mode="r:", encoding="utf-8", errors="strict") as tar:
            for member in tar:
                entry = entry_of(member)
                total += member.size if entry.kind is Kind.FILE else 0
                if total > capacity_bytes:
                    raise SpaceError(f"The archive's content is larger than {capacity_bytes} bytes.", hint="Order a smaller one.")
                _add_folders(tree, entry.path, lines)
                if entry.path in lines:
                    raise _refused(entry.path, "is there twice")
                if len(lines) >= most_entries:
                    raise ArchiveError(f"The archive has more than {most_entries} entries.", hint=_PACK)
                sha256 = hashlib.sha256()
                tree.add(entry, _hashed(tar.extractfile(member) if entry.kind is Kind.FILE else None, sha256))
                lines[entry.path] = line_of(entry, sha256.hexdigest() if entry.kind is Kind.FILE else "")
                # What ``tarfile`` remembers of each entry would grow with the archive.
                tar.members = []  # type: ignore[attr-defined]  # typeshed leaves it out
            end = tar.offset
    except (tarfile.TarError, UnicodeDecodeError, ValueError, EOFError) as error:
        raise ArchiveError(f"The image is no tar that can be read: {error}.", hint=_PACK) from error
    # ``tarfile`` takes a header that it cannot read for the end.
    if file.read_at(end, tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ArchiveError(f"The archive is damaged or cut off at byte {end}.", hint=_PACK)
    if not lines:
        raise ArchiveError("The archive is empty.", hint=_PACK)
    tree.sync()
    return tree_digest(lines)


def entry_of(member: tarfile.TarInfo) -> Entry:
    """Return the entry that a member of a tar makes; ``ArchiveError`` when that is not allowed."""
    path = member.name.removeprefix("./").removesuffix("/")
    if len(path) > MOST_PATH or any(part in {"", ".", ".."} or "\0" in part for part in path.split("/")):
        raise _refused(member.name, "has a path that leaves the tree or is no path")
    kind = _KINDS.get(member.type)
    if kind is None or member.issparse():
        raise _refused(path, "is neither a file, a folder nor a symbolic link")
    if kind is Kind.LINK:
        return Entry(path=path, kind=kind, target=_target(path, member.linkname))
    if member.mode & ~_MODES:
        raise _refused(path, "is set-user-id, set-group-id or sticky")
    return Entry(path=path, kind=kind, mode=member.mode)


def _target(path: str, target: str) -> str:
    parts = target.split("/")
    ups = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    if not target or "\0" in target or len(target) > MOST_PATH or target.startswith("/"):
        raise _refused(path, "is a link to no relative path")
    # Behind a name there is no "..": what that would leave depends on where the name leads.
    if ups > path.count("/") or ".." in parts[ups:]:
        raise _refused(path, "is a link that leads out of the tree")
    return target


def _add_folders(tree: Tree, path: str, lines: dict[str, str]) -> None:
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        folder = Entry(path="/".join(parts[:depth]), kind=Kind.FOLDER, mode=FOLDER_MODE)
        if folder.path not in lines:
            tree.add(folder)
            lines[folder.path] = line_of(folder)


def _hashed(source: IO[bytes] | None, sha256: "hashlib._Hash") -> Iterator[bytes]:
    while source is not None and (piece := source.read(_PIECE_BYTES)):
        sha256.update(piece)
        yield piece


def _refused(path: str, why: str) -> ArchiveError:
    return ArchiveError(f"{path!r:.200} in the archive {why}.", hint=_PACK)


_PACK = "Pack it with 'tar --format=posix', from relative paths, with '--hard-dereference'."


class _Reader:
    """A file of which never much is read at once: a header says itself how long it is."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_HEADER_BYTES:
            raise ArchiveError(f"The archive has a header of more than {MOST_HEADER_BYTES} bytes.", hint=_PACK)
        data = self._file.read_at(self._at, size)
        self._at += len(data)
        return data

    def seek(self, at: int) -> int:
        self._at = at
        return at

    def tell(self) -> int:
        return self._at
