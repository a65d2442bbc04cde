# SPDX-License-Identifier: Apache-2.0
"""Digests: ``sha256:`` and 64 lower-case hex digits, the address of every blob."""

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, NewType

from msgspec import Meta

from surefoot.model.errors import FormatError

PATTERN = r"\Asha256:[0-9a-f]{64}\Z"
_PREFIX = "sha256:"
_DIGEST = re.compile(PATTERN)

Digest = NewType("Digest", Annotated[str, Meta(pattern=PATTERN, description="'sha256:' and 64 lower-case hex digits")])


def digest_of(data: bytes | Iterable[bytes]) -> Digest:
    """Return the digest of ``data``, given whole or in pieces."""
    sha256 = hashlib.sha256()
    for piece in (data,) if isinstance(data, bytes) else data:
        sha256.update(piece)
    return from_hex(sha256.hexdigest())


def parse(text: str) -> Digest:
    """Return ``text`` as a digest.

    Raises:
        FormatError: Not ``sha256:`` followed by 64 lower-case hex digits.
    """
    if _DIGEST.match(text) is None:
        raise FormatError(f"{text[:80]!r} is not a digest.", hint="Write 'sha256:' and 64 lower-case hex digits.")
    return Digest(text)


def from_hex(hex_digits: str) -> Digest:
    """Return the digest with these 64 hex digits; ``FormatError`` if they are not."""
    return parse(_PREFIX + hex_digits)


def hex_of(digest: Digest) -> str:
    """Return the 64 hex digits, as TUF metadata and file names use them."""
    return digest.removeprefix(_PREFIX)
