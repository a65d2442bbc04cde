# SPDX-License-Identifier: Apache-2.0
"""Trees of files: what an archive is unpacked into, and the one digest that says whether anything in one was changed."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from surefoot.model.digest import Digest, digest_of


class Kind(StrEnum):
    """What an entry of a tree is; ``OTHER`` is a device, a pipe or a socket, which no archive makes."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a tree.

    Attributes:
        path: Where it is, relative to the tree, with ``/`` between its parts.
        kind: What it is.
        mode: Its permission bits; 0 for links, which have none.
        target: Where a link leads.
    """

    path: str
    kind: Kind
    mode: int = 0
    target: str = ""


class Tree(Protocol):
    """One folder with all that lies below it. Nothing in it is followed."""

    def clear(self) -> None:
        """Make it an empty folder, whatever was there, durably."""
        ...

    def add(self, entry: Entry, content: Iterable[bytes] = ()) -> None:
        """Make an entry that is not there yet, in a folder that is; a file's content is durable on return, its name is not.

        Raises:
            DeviceError: The entry cannot be made; ``SpaceError`` when there is no room.
        """
        ...

    def sync(self) -> None:
        """Return once every name in the tree survives a power cut."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield all that is there, in any order; nothing when there is no such folder."""
        ...

    def content(self, path: str) -> Iterator[bytes]:
        """Yield the content of a file, from the medium as far as the system allows."""
        ...


def tree_digest(lines: Mapping[str, str]) -> Digest:
    """Return the digest of a tree from the line of each of its paths."""
    # The first line is there so that no image can have the digest of a tree.
    return digest_of([b"tree\n", *(line.encode() for _, line in sorted(lines.items()))])


def line_of(entry: Entry, content_sha256: str = "") -> str:
    """Return one line that says all of an entry that counts: not its times, and not who owns it."""
    return json.dumps([entry.path, entry.kind, entry.mode, entry.target, content_sha256]) + "\n"


def digest_on(tree: Tree) -> Digest:
    """Read all of a tree, and return its digest."""
    lines = {entry.path: line_of(entry, _sha256(tree, entry)) for entry in tree.entries()}
    return tree_digest(lines)


def _sha256(tree: Tree, entry: Entry) -> str:
    if entry.kind is not Kind.FILE:
        return ""
    sha256 = hashlib.sha256()
    for piece in tree.content(entry.path):
        sha256.update(piece)
    return sha256.hexdigest()
