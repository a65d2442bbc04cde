# SPDX-License-Identifier: Apache-2.0
"""The Merkle tree hash of a list of entries (RFC 9162 §2.1.1, with SHA-256): one hash that stands for all of them in order."""

from collections.abc import Sequence
from hashlib import sha256

_LEAF, _NODE = b"\x00", b"\x01"


def tree_hash(entries: Sequence[bytes]) -> bytes:
    """Return the tree hash of ``entries``; of none, the hash of nothing.

    Every full subtree is folded as soon as it is whole, so that it takes no more room than the tree is high.
    """
    peaks: list[tuple[int, bytes]] = []
    for entry in entries:
        size, node = 1, sha256(_LEAF + entry).digest()
        while peaks and peaks[-1][0] == size:
            node = sha256(_NODE + peaks.pop()[1] + node).digest()
            size *= 2
        peaks.append((size, node))
    if not peaks:
        return sha256().digest()
    _, root = peaks.pop()
    while peaks:
        root = sha256(_NODE + peaks.pop()[1] + root).digest()
    return root
