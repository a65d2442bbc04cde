# SPDX-License-Identifier: Apache-2.0
"""The layout of a bundle: what its files are called, and that nothing else is in it."""

import re
from collections.abc import Mapping
from pathlib import Path

from surefoot.model.digest import Digest, hex_of
from surefoot.model.errors import ManifestError

INDEX = "release.json"
SBOM = "sbom.cdx.json"
PROVENANCE = "provenance.json"
SIGNED = "signed/"
MAX_METADATA_BYTES = 64 << 20
"""Longest file of a bundle that is not an image."""

MAX_FILES = 10_000

_KNOWN = re.compile(
    r"release\.json|sbom\.cdx\.json|provenance\.json|manifest-[a-z0-9._-]{3,}\.json|images/[0-9a-f]{64}"
    r"|signed(/[A-Za-z0-9_][A-Za-z0-9._+-]*)+"
)


def manifest_file(hardware: str, variant: str) -> str:
    """Return the name of the manifest of one hardware in one variant."""
    return f"manifest-{hardware}-{variant}.json"


def image_file(digest: Digest) -> str:
    """Return the name of the image with this digest."""
    return f"images/{hex_of(digest)}"


def check_names(path: Path, sizes: Mapping[str, int]) -> None:
    """Refuse what does not belong in a bundle.

    Args:
        path: The bundle, for messages.
        sizes: The length of every file by its name.

    Raises:
        ManifestError: A name is unknown, a file too long, or there are too many.
    """
    if len(sizes) > MAX_FILES:
        raise ManifestError(f"{path} has more than {MAX_FILES} files.", hint="Is it a bundle?")
    for name, size in sizes.items():
        if _KNOWN.fullmatch(name) is None:
            raise ManifestError(f"{path}: the file {name!r} does not belong in a bundle.", hint="Remove it, or build the bundle again.")
        if size > MAX_METADATA_BYTES and not name.startswith("images/"):
            raise ManifestError(f"{path}: the file {name} is larger than {MAX_METADATA_BYTES} bytes.", hint="Is it a bundle?")
